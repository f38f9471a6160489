"""Training as one writes it down at first: clip by clip until a batch is collated, then features of it in one piece.

What `bench_training` compares the pipeline with. Each clip's file is read, convolved by scipy and rolled on its own;
then come one STFT of the batch, a dense product with the mel matrix, and the rest of the same training step. Draws are
taken from a step's generator in the pipeline's order, so both compute the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from ..runtime.errors import require
from .bench import DIR_PROBABILITY, ROLL_SAMPLES, TrainingStep
from .data.cache import SAMPLE_RATE_HZ
from .features import LogMel, mask_band


class Item(NamedTuple):
    """What is drawn for one clip."""

    position: int
    response: int | None
    shift: int


class PlainClips(Dataset[Tensor]):
    """Clips one by one: file (resampled when need be), convolution, rotation; (n_samples,) float32."""

    def __init__(self, files: Sequence[Path], responses: Sequence[NDArray[np.float32]]) -> None:
        self.files = files
        self.responses = responses
        self.convolve: Callable[..., NDArray[np.float32]] = require("scipy.signal", "dev").convolve

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: Item) -> Tensor:
        wave, rate_hz = soundfile.read(self.files[item.position], dtype="float32")
        if rate_hz != SAMPLE_RATE_HZ:
            wave = soxr.resample(wave, rate_hz, SAMPLE_RATE_HZ)
        if item.response is not None:
            wave = self.convolve(wave, self.responses[item.response])[: len(wave)]
        return torch.from_numpy(np.roll(wave, item.shift))


def draw(positions: Sequence[int], responses: int, generator: Generator) -> list[Item]:
    """Draw what happens to each clip of a batch, as `DeviceImpulseResponses` and `roll` do."""
    n = len(positions)
    convolved = (torch.rand(n, generator=generator) < DIR_PROBABILITY).tolist()
    response = torch.randint(responses, (n,), generator=generator).tolist()
    shift = torch.randint(-ROLL_SAMPLES, ROLL_SAMPLES + 1, (n,), generator=generator).tolist()
    drawn = zip(positions, convolved, response, shift, strict=True)
    return [Item(position, index if chosen else None, offset) for position, chosen, index, offset in drawn]


def plain_loader(clips: PlainClips, batches: Sequence[Sequence[Item]], workers: int) -> DataLoader[Tensor]:
    """Collated batches (batch, n_samples) float32, made in this process or by `workers` others that stay."""
    return DataLoader(
        clips,
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def plain_log_mel(features: LogMel, wave: Tensor, generator: Generator) -> Tensor:
    """The log-mels (batch, 1, n_mels, n_frames) that `features` gives, by textbook steps on the whole batch."""
    spec = features.spec
    shift = features.fmax_jitter_hz * (2.0 * torch.rand((), generator=generator).item() - 1.0)
    mel = torch.from_numpy(spec.mel_matrix(fmax_hz=min(spec.fmax_hz + shift, spec.sample_rate_hz / 2)))
    emphasis = torch.tensor([[[-spec.preemphasis, 1.0]]], device=wave.device)
    emphasized = F.conv1d(wave[:, None], emphasis)[:, 0]
    spectrum = torch.stft(
        emphasized,
        spec.n_fft,
        spec.hop_length,
        spec.win_length,
        features.window,
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    log_mel = torch.log(mel.to(wave.device) @ spectrum.abs().square() + spec.log_offset)
    log_mel = ((log_mel + spec.norm_shift) / spec.norm_scale)[:, None]
    return mask_band(log_mel, 2, features.freq_mask, spec.norm_shift / spec.norm_scale, generator)


def plain_inputs(step: TrainingStep, wave: Tensor, generator: Generator) -> Tensor:
    """The network's inputs from collated waveforms."""
    with torch.no_grad():
        return step.mix(plain_log_mel(step.features, wave, generator), generator)
