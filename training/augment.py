"""Variations of a batch in training: when a clip starts, which microphone heard it, how its spectrum is coloured.

Every draw comes from the generator that is passed in, on the CPU, so that a batch is the same whatever the device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from ..runtime.audio import read_mono
from ..runtime.errors import InputError
from .data.corpus import AUDIO_SUFFIXES


def roll(wave: Tensor, max_shift: int, generator: Generator) -> Tensor:
    """Rotate each item by its own draw from [-max_shift, max_shift] samples; (batch, n) -> (batch, n)."""
    batch, n = wave.shape
    shift = torch.randint(-max_shift, max_shift + 1, (batch,), generator=generator)
    # A rotation is a window of the clip laid twice end to end, so one gather of whole rows does it.
    windows = torch.cat([wave, wave], dim=1).unfold(1, n, 1)
    return windows[torch.arange(batch, device=wave.device), ((-shift) % n).to(wave.device)]


def mix_clips(wave: Tensor, share: float, generator: Generator) -> Tensor:
    """Add a quieter other item to this share of items: (1 - a) * wave + a * other, a below 0.5; (batch, n) -> same.

    For teachers that hear the result too: what they answer to it is right by definition, which makes more clips of few
    (Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", arXiv 2106.05237).
    """
    batch = len(wave)
    other = torch.randperm(batch, generator=generator).to(wave.device)
    weight = 0.5 * torch.rand(batch, 1, generator=generator)
    weight = (weight * (torch.rand(batch, 1, generator=generator) < share)).to(wave.device)
    return wave * (1.0 - weight) + wave[other] * weight


def random_gain(wave: Tensor, gain_db: float, generator: Generator) -> Tensor:
    """Make each item louder or quieter by its own draw from [-gain_db, gain_db]; (batch, n) -> (batch, n)."""
    drawn_db = gain_db * (2.0 * torch.rand(len(wave), 1, generator=generator) - 1.0)
    return wave * (10.0 ** (drawn_db / 20.0)).to(wave.device)


class DeviceImpulseResponses:
    """Convolution of clips with measured microphone responses: clips of one device come to sound like many.

    Morocutti et al., "Device-Robust Acoustic Scene Classification via Impulse Response Augmentation" (arXiv
    2305.07499). Responses are (k, m) float32 at the clips' rate; convolved clips are cut to their length.
    """

    def __init__(self, responses: Sequence[NDArray[np.float32]], clip_samples: int) -> None:
        longest = min(max(len(response) for response in responses), clip_samples)
        # Long enough that nothing wraps around into the part that is kept.
        self.n_fft = fast_length(clip_samples + longest - 1)
        padded = np.zeros((len(responses), longest), dtype=np.float32)
        for row, response in zip(padded, responses, strict=True):
            row[: len(response)] = response[:longest]
        self.spectra = torch.fft.rfft(torch.from_numpy(padded), n=self.n_fft)

    def __len__(self) -> int:
        return len(self.spectra)

    def to(self, device: torch.device) -> DeviceImpulseResponses:
        """Move the responses to `device`; returns itself."""
        self.spectra = self.spectra.to(device)
        return self

    def __call__(self, wave: Tensor, eligible: Tensor, probability: float, generator: Generator) -> Tensor:
        """Convolve each `eligible` item ((batch,) bool) with probability `probability`, with a response of its own."""
        draws = torch.rand(len(wave), generator=generator)
        choice = torch.randint(len(self.spectra), (len(wave),), generator=generator)
        chosen = ((draws < probability) & eligible.cpu()).nonzero()[:, 0]
        if not len(chosen):
            return wave
        items = chosen.to(wave.device)
        spectrum = torch.fft.rfft(wave[items], n=self.n_fft)
        spectrum *= self.spectra[choice[chosen].to(self.spectra.device)]
        convolved = torch.fft.irfft(spectrum, n=self.n_fft)[:, : wave.shape[1]]
        return wave.index_copy(0, items, convolved)


def fast_length(n: int) -> int:
    """The smallest even length from `n` on that has no prime factors but 2, 3 and 5, which Fourier transforms like.

    The next power of two can be nearly twice as long, and takes nearly twice the time.
    """
    length = n + n % 2
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def read_impulse_responses(folder: Path, sample_rate_hz: int, clip_samples: int) -> DeviceImpulseResponses:
    """Read every recording in `folder` (any rate) as an impulse response; raises as `read_responses` does."""
    return DeviceImpulseResponses(list(read_responses(folder, sample_rate_hz).values()), clip_samples)


def read_responses(folder: Path, sample_rate_hz: int) -> dict[str, NDArray[np.float32]]:
    """The impulse responses in `folder` at `sample_rate_hz`, by name, with the level that their files have.

    They are resampled as recordings are: files of any rate that sample the same response become the same. Raises
    `InputError` when there is no folder, no recording in it, or one that is silent or cannot be read.
    """
    responses = {name: read_mono(path, sample_rate_hz) for name, path in _response_files(folder).items()}
    for name, response in responses.items():
        if not np.any(response):
            raise InputError(f"{folder / name} is silent, it cannot be an impulse response: take it out of {folder}")
    return responses


def responses_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of the impulse responses in `folder`, wherever it lies."""
    digest = hashlib.sha256()
    for name, path in _response_files(folder).items():
        digest.update(f"{name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _response_files(folder: Path) -> dict[str, Path]:
    """Recordings in `folder` by their names in it, in the order of these."""
    if not folder.is_dir():
        raise InputError(f"no folder of impulse responses at {folder}: check the path")
    found = [path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES]
    if not found:
        kinds = ", ".join(AUDIO_SUFFIXES)
        raise InputError(f"{folder} has no {kinds} files: give a folder of impulse responses, such as micirp/train")
    return dict(sorted((path.relative_to(folder).as_posix(), path) for path in found))


def convolved_devices(wanted: Sequence[str], devices: Sequence[str]) -> list[bool]:
    """Whether clips of each of `devices` may be convolved: those `wanted` by name, or all for "*"."""
    return ["*" in wanted or name in wanted for name in devices]


def check_devices(wanted: Sequence[str], training: Sequence[str]) -> None:
    """Raise `InputError` when clips of none of the devices in `training` may be convolved."""
    if not any(convolved_devices(wanted, training)):
        raise InputError(
            f"dir_devices is {', '.join(wanted)}, but the clips to train on are of {', '.join(training)}: "
            f"name some of these, as dir_devices={training[0]}, or all with dir_devices='*'"
        )


def freq_mixstyle(log_mel: Tensor, probability: float, alpha: float, generator: Generator) -> Tensor:
    """Mix the spectral colour of each item with another's, for the whole batch with probability `probability`.

    Freq-MixStyle (Kim et al., arXiv 2206.12513; Schmid et al.): mean and standard deviation of each frequency over
    channels and time are replaced by their mix with those of a permuted batch, with a weight from Beta(alpha, alpha)
    for each item; no gradient flows through the statistics. (batch, channels, freq, time) -> the same shape.
    """
    return _mix_statistics(log_mel, (1, 3), probability, alpha, generator)


def mixstyle(log_mel: Tensor, probability: float, alpha: float, generator: Generator) -> Tensor:
    """Mix each item's mean and deviation with another's, for the whole batch with probability `probability`.

    MixStyle (Zhou et al., arXiv 2104.02008): `freq_mixstyle` with the statistics of each channel over frequency and
    time, which for a log-mel of one channel are one mean and one deviation an item: level and contrast, not colour.
    """
    return _mix_statistics(log_mel, (2, 3), probability, alpha, generator)


def _mix_statistics(
    log_mel: Tensor, axes: tuple[int, int], probability: float, alpha: float, generator: Generator
) -> Tensor:
    if torch.rand((), generator=generator).item() >= probability:
        return log_mel
    partner = torch.randperm(len(log_mel), generator=generator).to(log_mel.device)
    weight = beta_weights(len(log_mel), alpha, generator).to(log_mel.device).view(-1, 1, 1, 1)
    # Not with `torch.var_mean`, which is ten times slower on a CPU.
    mean = log_mel.detach().mean(dim=axes, keepdim=True)
    centred = log_mel - mean
    with torch.no_grad():
        squares = torch.linalg.vector_norm(centred, dim=axes, keepdim=True).square()
        deviation = (squares / (log_mel[0].numel() // mean[0].numel() - 1) + 1e-6).sqrt()
        mixed_mean = weight * mean + (1 - weight) * mean[partner]
        mixed_deviation = weight * deviation + (1 - weight) * deviation[partner]
        scale = mixed_deviation / deviation
    return torch.addcmul(mixed_mean, centred, scale)


def beta_weights(n: int, alpha: float, generator: Generator) -> Tensor:
    """`n` draws from Beta(alpha, alpha), (n,) float32."""
    # torch draws from Beta with the global generator only, numpy with one of its own.
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, size=n).astype(np.float32))


@dataclass(frozen=True)
class Mixup:
    """How the items of a batch are mixed: item i keeps `weight[i]` of itself, the rest is item `partner[i]`.

    Zhang et al., "mixup" (arXiv 1710.09412), with a weight for each item instead of one a batch: as Freq-MixStyle's, it
    then depends on no batch size how many mixtures an epoch shows.
    """

    partner: Tensor  # (batch,) int64
    weight: Tensor  # (batch,) float32

    @classmethod
    def draw(cls, n: int, alpha: float, generator: Generator, device: torch.device) -> Mixup:
        """A permutation of `n` items and weights from Beta(alpha, alpha)."""
        partner = torch.randperm(n, generator=generator)
        return cls(partner.to(device), beta_weights(n, alpha, generator).to(device))

    def mix(self, own: Tensor, partners: Tensor) -> Tensor:
        """The weighted mean of what each item is and what its partner is, both (batch, ...): log-mels, or losses."""
        weight = self.weight.view(-1, *(1,) * (own.dim() - 1))
        return weight * own + (1 - weight) * partners

    def larger(self, values: Tensor) -> Tensor:
        """Of what each item and its partner are, (batch,), that of the one with the larger weight."""
        return values.where(self.weight >= 0.5, values[self.partner])
