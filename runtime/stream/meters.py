"""What a stream costs and what it lost: latency of every stage, missed deadlines, load, memory, dropped samples."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..machine.usage import Load, Memory, load_between, read_memory, read_usage


@dataclass(frozen=True)
class Percentiles:
    """Latency of one stage in milliseconds; NaN throughout when nothing was measured."""

    count: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class Histogram:
    """Durations in logarithmic bins 1 % wide, from 0.1 us to 1,000 s: constant memory however long a stream runs.

    A percentile is right to half a bin (0.5 %); the count and the maximum are exact.
    """

    LOWEST_S = 1e-7
    HIGHEST_S = 1e3
    _WIDTH = math.log(1.01)

    def __init__(self) -> None:
        self._bins = np.zeros(1 + math.ceil(math.log(self.HIGHEST_S / self.LOWEST_S) / self._WIDTH), np.int64)
        self._max_s = 0.0

    def record(self, duration_s: float, count: int = 1) -> None:
        """Count a duration `count` times; one outside the range goes into the nearest bin."""
        position = int(math.log(max(duration_s, self.LOWEST_S) / self.LOWEST_S) / self._WIDTH)
        self._bins[min(position, len(self._bins) - 1)] += count
        self._max_s = max(self._max_s, duration_s)

    def percentiles(self) -> Percentiles:
        """The distribution so far: the smallest bins that 50, 90, 95 and 99 % of the durations do not exceed."""
        total = int(self._bins.sum())
        if not total:
            return Percentiles(0, math.nan, math.nan, math.nan, math.nan, math.nan)
        reached = np.cumsum(self._bins)
        values = []
        for percent in (50, 90, 95, 99):
            position = int(np.searchsorted(reached, math.ceil(total * percent / 100)))
            middle = self.LOWEST_S * math.exp((position + 0.5) * self._WIDTH)
            values.append(1e3 * min(middle, self._max_s))
        return Percentiles(total, values[0], values[1], values[2], values[3], 1e3 * self._max_s)


class Meters:
    """The meters of one stream.

    The first `warm_up` passes of each stage are kept apart, in `warm_up_ms`: they fill caches and make the engine
    prepare itself, and would be the maximum of everything. It may be set until the first of them.
    """

    #: In the order data flows. "features" is per frame, the last three per decision; "latency" is from the arrival of
    #: a window's last sample to its decision, queueing included.
    STAGES = ("resample", "features", "engine", "smoothing", "latency")

    def __init__(self, warm_up: int = 0, deadline_s: float = math.inf) -> None:
        """`deadline_s` is the time from one decision to the next: a decision that takes longer comes too late."""
        self.stages = {name: Histogram() for name in self.STAGES}
        self.warm_up_ms: dict[str, list[float]] = {name: [] for name in self.STAGES}
        self.deadline_s = deadline_s
        self.deadline_misses = 0
        self.dropped_samples = 0
        self.audio_s = 0.0
        self.busy_s = 0.0
        self.spent_s = dict.fromkeys(self.STAGES, 0.0)  # what `busy_s` is made of
        self.warm_up = warm_up
        self._began = read_usage()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Record how long the block takes as one pass of `stage`."""
        start = time.perf_counter()
        yield
        self.record(stage, time.perf_counter() - start)

    def record(self, stage: str, duration_s: float, count: int = 1) -> None:
        """Record `count` passes of `stage` that took `duration_s` in all."""
        self.busy_s += duration_s
        self.spent_s[stage] += duration_s
        if count:
            self._count(stage, duration_s / count, count)

    def record_latency(self, duration_s: float) -> None:
        """Record one decision's latency; unlike a stage's time it does not make the stream busier."""
        if self._count("latency", duration_s) and duration_s > self.deadline_s:
            self.deadline_misses += 1

    def _count(self, stage: str, duration_s: float, count: int = 1) -> bool:
        """Count what is past the warm-up; returns whether it was."""
        first = self.warm_up_ms[stage]
        if len(first) < self.warm_up:
            first.append(1e3 * duration_s)
            return False
        self.stages[stage].record(duration_s, count)
        return True

    @property
    def real_time_factor(self) -> float:
        """Processing time per second of audio: under 1 keeps up with a microphone; NaN before any audio."""
        return self.busy_s / self.audio_s if self.audio_s else math.nan

    def begin(self) -> None:
        """Count the process's load from now on: what it took to start is over."""
        self._began = read_usage()

    @property
    def load(self) -> Load:
        """What this process and all others took of the machine since `begin`, or since these meters were made."""
        return load_between(self._began, read_usage())

    @property
    def memory(self) -> Memory:
        """Resident memory of this process now, and its peak."""
        return read_memory()

    def summary(self) -> dict[str, dict[str, float]]:
        """Percentiles of each stage, as plain values by name."""
        return {name: vars(histogram.percentiles()) for name, histogram in self.stages.items()}
