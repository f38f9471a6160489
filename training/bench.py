"""Training speed for `tinyscene bench`: clips per second of the whole step, and of its parts.

One step is what a training does with a batch of 64: waveforms from the cache's int16, impulse responses on all of them,
roll, log-mel with its variations, Freq-MixStyle, forward, backward, Adam.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..runtime.bench import BenchContext, BenchRow
from .augment import DeviceImpulseResponses, freq_mixstyle, roll
from .batches import INT16_SCALE, step_generator
from .features import LogMel
from .models.build import build_model, frontend_for
from .predict import to_channels_last
from .trainer import keep_freed_memory

BATCH = 64
N_CLASSES = 10

#: (what the row is called, architecture, arguments) of the networks whose whole step is timed.
NETWORKS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("student, base 8", "cpm", {"base_channels": 8}),
    ("student, base 16", "cpm", {"base_channels": 16}),
    ("student, base 32", "cpm", {"base_channels": 32}),
    ("CP-ResNet, base 32", "cpr", {"base_channels": 32}),
)


@dataclass
class TrainingStep:
    """The stages of one training step on a fixed batch, each callable alone."""

    arch: str
    arguments: dict[str, Any]
    samples: Tensor  # (batch, n_samples) int16

    def __post_init__(self) -> None:
        spec = frontend_for(self.arch)
        self.generator = step_generator(0, 0, 0)
        self.features = LogMel(spec, fmax_jitter_hz=500.0, freq_mask=48)
        decay = np.exp(-np.arange(12_000) / 800.0)  # as long as a measured response, 0.4 s
        noise = np.random.default_rng(0).standard_normal((8, 12_000))
        self.responses = DeviceImpulseResponses(list((noise * decay).astype(np.float32)), spec.clip_samples)
        self.model = to_channels_last(build_model(self.arch, self.arguments, N_CLASSES))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.labels = torch.arange(len(self.samples)) % N_CLASSES

    def augment(self) -> Tensor:
        """Waveforms (batch, n_samples), convolved and rolled."""
        wave = self.samples.float().mul_(INT16_SCALE)
        everything = torch.ones(len(wave), dtype=torch.bool)
        wave = self.responses(wave, everything, 0.6, self.generator)
        return roll(wave, 4000, self.generator)

    def log_mel(self, wave: Tensor) -> Tensor:
        """Log-mels (batch, 1, n_mels, n_frames), varied and mixed."""
        mixed = freq_mixstyle(self.features(wave, self.generator), 1.0, 0.3, self.generator)
        return mixed.contiguous(memory_format=torch.channels_last)

    def network(self, log_mel: Tensor) -> Tensor:
        """Forward, backward and one step of the optimiser."""
        loss = F.cross_entropy(self.model(log_mel), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def whole(self) -> Tensor:
        """All of it."""
        return self.network(self.log_mel(self.augment()))


def rows(context: BenchContext) -> Iterator[BenchRow]:
    """Clips per second of training on this machine, on every core torch may use."""
    threads = torch.get_num_threads()
    cores = available_cores()
    torch.set_num_threads(cores)
    keep_freed_memory()
    samples = torch.from_numpy(np.clip(context.wave / INT16_SCALE, -32768, 32767).astype(np.int16)).repeat(BATCH, 1)
    try:
        for name, arch, arguments in NETWORKS:
            step = TrainingStep(arch, arguments, samples)
            wave = step.augment()
            log_mel = step.log_mel(wave)
            yield _rate(f"training, {name}", step.whole, context.seconds, f"batch {BATCH}, {cores} threads")
            yield _rate(
                f"network alone, {name}", partial(step.network, log_mel), context.seconds, "forward, backward, Adam"
            )
        yield _rate("augmentation alone", step.augment, context.seconds, "impulse responses, roll")
        for part in ("cpm", "cpr"):
            step = TrainingStep(part, {"base_channels": 8}, samples)
            note = f"{step.features.spec.n_frames()} frames a clip, jitter, mask, Freq-MixStyle"
            yield _rate(f"log-mel alone, {part}", partial(step.log_mel, wave), context.seconds, note)
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
