"""Training speed for `tinyscene bench`: clips per second of the whole step, and of its parts.

One step is what a training does with a batch of 64: waveforms from the cache's int16, impulse responses on clips of all
devices, roll, log-mel with its variations, Freq-MixStyle, forward, backward, Adam. `bench_training` compares it with a
training that handles clips one by one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor

from ..runtime.bench.rows import BenchContext, BenchRow
from .augment import DeviceImpulseResponses, freq_mixstyle, roll
from .batches import INT16_SCALE, step_generator
from .features import LogMel
from .models.build import build_model, frontend_for
from .predict import to_channels_last
from .trainer import keep_freed_memory

BATCH = 64
N_CLASSES = 10

#: Settings of the measured step.
DIR_PROBABILITY, ROLL_SAMPLES, FMAX_JITTER_HZ, FREQ_MASK, MIX_ALPHA = 0.6, 4000, 500.0, 48, 0.3

#: (what the row is called, architecture, arguments) of the networks whose whole step is timed.
NETWORKS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("student, base 8", "cpm", {"base_channels": 8}),
    ("student, base 16", "cpm", {"base_channels": 16}),
    ("student, base 32", "cpm", {"base_channels": 32}),
    ("CP-ResNet, base 32", "cpr", {"base_channels": 32}),
)


class TrainingStep:
    """The stages of one training step, each callable alone; draws come from the generator that is passed in."""

    def __init__(self, arch: str, arguments: dict[str, Any], device: torch.device | None = None) -> None:
        device = device or torch.device("cpu")
        spec = frontend_for(arch)
        self.features = LogMel(spec, FMAX_JITTER_HZ, FREQ_MASK).to(device)
        self.responses = DeviceImpulseResponses(generated_responses(), spec.clip_samples).to(device)
        torch.manual_seed(0)
        self.model = to_channels_last(build_model(arch, arguments, N_CLASSES)).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def convolve(self, samples: Tensor, generator: Generator) -> Tensor:
        """(batch, n_samples) int16 as float32 waveforms, some convolved."""
        wave = samples.float().mul_(INT16_SCALE)
        return self.responses(wave, torch.ones(len(wave), dtype=torch.bool), DIR_PROBABILITY, generator)

    def augment(self, samples: Tensor, generator: Generator) -> Tensor:
        """Waveforms (batch, n_samples) float32, convolved and rolled."""
        return roll(self.convolve(samples, generator), ROLL_SAMPLES, generator)

    def mix(self, log_mel: Tensor, generator: Generator) -> Tensor:
        """Log-mels with mixed statistics, as the network likes them in memory."""
        mixed = freq_mixstyle(log_mel, 1.0, MIX_ALPHA, generator)
        return mixed.contiguous(memory_format=torch.channels_last)

    def log_mel(self, wave: Tensor, generator: Generator) -> Tensor:
        """Log-mels (batch, 1, n_mels, n_frames), varied and mixed."""
        with torch.no_grad():
            return self.mix(self.features(wave, generator), generator)

    def network(self, log_mel: Tensor) -> Tensor:
        """Forward, backward and one step of the optimiser."""
        labels = torch.arange(len(log_mel), device=log_mel.device) % N_CLASSES
        loss = F.cross_entropy(self.model(log_mel), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def whole(self, samples: Tensor, generator: Generator) -> Tensor:
        """All of it."""
        return self.network(self.log_mel(self.augment(samples, generator), generator))


def generated_responses() -> list[NDArray[np.float32]]:
    """Eight decaying noises as long as measured impulse responses are, 0.4 s."""
    decay = np.exp(-np.arange(12_000) / 800.0)
    noise = np.random.default_rng(0).standard_normal((8, 12_000))
    return list((0.1 * noise * decay).astype(np.float32))


def rows(context: BenchContext) -> Iterator[BenchRow]:
    """Clips per second of training on this machine, on every core torch may use."""
    threads = torch.get_num_threads()
    cores = available_cores()
    torch.set_num_threads(cores)
    keep_freed_memory()
    generator = step_generator(0, 0, 0)
    samples = torch.from_numpy(np.clip(context.wave / INT16_SCALE, -32768, 32767).astype(np.int16)).repeat(BATCH, 1)
    try:
        for name, arch, arguments in NETWORKS:
            step = TrainingStep(arch, arguments)
            wave = step.augment(samples, generator)
            log_mel = step.log_mel(wave, generator)
            whole = partial(step.whole, samples, generator)
            yield _rate(f"training, {name}", whole, context.seconds, f"batch {BATCH}, {cores} threads")
            yield _rate(
                f"network alone, {name}", partial(step.network, log_mel), context.seconds, "forward, backward, Adam"
            )
        augment = partial(step.augment, samples, generator)
        yield _rate("augmentation alone", augment, context.seconds, "impulse responses, roll")
        for part in ("cpm", "cpr"):
            step = TrainingStep(part, {"base_channels": 8})
            note = f"{step.features.spec.n_frames()} frames a clip, jitter, mask, Freq-MixStyle"
            yield _rate(f"log-mel alone, {part}", partial(step.log_mel, wave, generator), context.seconds, note)
    finally:
        torch.set_num_threads(threads)


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _rate(name: str, run: Callable[[], object], seconds: float, note: str) -> BenchRow:
    """Clips per second by the fastest of at least three batches: what other programs take away is not counted."""
    run()  # first call: threads start, memory is mapped, kernels are chosen
    fastest = float("inf")
    stop = time.perf_counter() + seconds
    count = 0
    while count < 3 or time.perf_counter() < stop:
        start = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - start)
        count += 1
    return BenchRow(name, note=note, value=BATCH / fastest, unit="clips/s")
