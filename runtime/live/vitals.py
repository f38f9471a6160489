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

    p50_ms: float | None  # from a sound's arrival to its decision
    p99_ms: float | None
    max_ms: float | None
    late: int  # decisions that came later than a hop
    real_time_factor: float | None  # of the stream's own work
    cpu_share: float | None  # of one core, by this process with all its views, since the last reading
    rss_bytes: int | None
    dropped_samples: int
    dropped_s: float
    temperature_c: float | None
    throttle: tuple[str, ...] | None  # what holds the machine back now, in words


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
        throttle = None if machine is None else machine.throttle
        return Vitals(
            p50_ms=_known(latency.p50_ms),
            p99_ms=_known(latency.p99_ms),
            max_ms=_known(latency.max_ms),
            late=meters.deadline_misses,
            real_time_factor=_known(meters.real_time_factor),
            cpu_share=None if load is None else load.cpu_share,
            rss_bytes=read_memory().rss_bytes,
            dropped_samples=meters.dropped_samples,
            dropped_s=meters.dropped_samples / self._sample_rate_hz,
            temperature_c=None if machine is None else machine.temperature_c,
            throttle=None if throttle is None else throttle.flags,
        )


def _known(value: float) -> float | None:
    return value if value == value else None  # NaN is the only value that differs from itself
