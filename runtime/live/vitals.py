"""Latency, load, losses, memory, temperature and throttling, read about once a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..machine.state import MachineState
from ..machine.usage import load_between, read_memory, read_usage
from ..machine.watch import MachineWatch
from ..stream.meters import Meters

#: Between two readings, in seconds.
EVERY_S = 1.0


@dataclass(frozen=True)
class Vitals:
    """One reading; None where nothing is known."""

    latency_p50_ms: float | None  # from a sound's arrival to its decision
    latency_p90_ms: float | None
    latency_p99_ms: float | None
    latency_max_ms: float | None
    deadline_misses: int  # decisions that came later than a hop
    load_percent: float | None  # of one core, by this process with all its views, since the last reading
    memory_mib: float | None  # resident
    audio_s: float
    dropped_samples: int
    dropped_s: float
    temperature_c: float | None
    frequency_mhz: float | None
    governor: str | None
    throttled: tuple[str, ...]  # what holds the machine back now, in words


class VitalsReader:
    """Reads the vitals of one stream; the machine's own are read by a thread, as `vcgencmd` may take its time."""

    def __init__(
        self,
        sample_rate_hz: int,
        read_machine: Callable[[], MachineState] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Samples are counted at `sample_rate_hz`; `read_machine` stands in for the machine in tests."""
        self._watch = MachineWatch() if read_machine is None else MachineWatch(read=read_machine)
        self._watch.__enter__()
        self._sample_rate_hz, self._clock = sample_rate_hz, clock
        self._usage = read_usage()
        self._read_s = float("-inf")
        self._latest: Vitals | None = None

    def read(self, meters: Meters) -> Vitals:
        """The vitals, `EVERY_S` old at most."""
        now = self._clock()
        if self._latest is None or now - self._read_s >= EVERY_S:
            self._read_s, self._latest = now, self._now(meters)
        return self._latest

    def close(self) -> None:
        """Stop watching the machine."""
        self._watch.__exit__(None, None, None)

    def _now(self, meters: Meters) -> Vitals:
        latency, usage, machine = meters.stages["latency"].percentiles(), read_usage(), self._watch.latest
        load = load_between(self._usage, usage) if usage.wall_s - self._usage.wall_s > EVERY_S / 2 else None
        self._usage = usage
        rss_bytes = read_memory().rss_bytes
        return Vitals(
            latency_p50_ms=_known(latency.p50_ms),
            latency_p90_ms=_known(latency.p90_ms),
            latency_p99_ms=_known(latency.p99_ms),
            latency_max_ms=_known(latency.max_ms),
            deadline_misses=meters.deadline_misses,
            load_percent=None if load is None else 100.0 * load.cpu_share,
            memory_mib=None if rss_bytes is None else rss_bytes / 2**20,
            audio_s=meters.audio_s,
            dropped_samples=meters.dropped_samples,
            dropped_s=meters.dropped_samples / self._sample_rate_hz,
            temperature_c=None if machine is None else machine.temperature_c,
            frequency_mhz=None if machine is None else machine.frequency_mhz,
            governor=None if machine is None else machine.governor,
            throttled=() if machine is None or machine.throttle is None else machine.throttle.flags,
        )


def _known(value: float) -> float | None:
    return value if value == value else None  # NaN is the only value that differs from itself
