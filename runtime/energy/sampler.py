"""Meters that are asked again and again: a thread with a steady beat that knows what it missed and what it costs."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import TinysceneError, UnavailableError
from .meter import Kind, PowerTrace

#: A meter of which more readings than this share fail is not trusted.
MAX_FAILED = 0.2


class Sampler:
    """Calls `read` every `period_s` in a thread and keeps (time, value).

    A sample's time is the middle of its reading on `clock`. The beat is fixed: a reading that takes longer than the
    period makes the next ones late, those that are overtaken are counted as missed and never made up for in a burst.
    """

    def __init__(
        self,
        read: Callable[[], tuple[float, ...]],
        period_s: float,
        clock: Callable[[], float] = time.monotonic,
        runs_programs: bool = False,
    ) -> None:
        self._read, self._period_s, self._clock = read, period_s, clock
        self._children_s = _children_s if runs_programs else lambda: 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="energy meter", daemon=True)
        self._times: list[float] = []
        self._values: list[tuple[float, ...]] = []
        self._late: list[float] = []
        self._cpu_s = 0.0
        self.missed = 0
        self.failures: list[str] = []

    def start(self) -> None:
        """Take the first sample here, where its error is the caller's, then go on in the thread."""
        self._sample()
        self._thread.start()

    def stop(self) -> None:
        """Take the last sample and end; the results stand afterwards."""
        self._stop.set()
        self._thread.join()

    @property
    def t_s(self) -> NDArray[np.float64]:
        """(n,) seconds on `clock`."""
        return np.array(self._times, np.float64)

    @property
    def values(self) -> NDArray[np.float64]:
        """(n, width) what `read` returned."""
        return np.array(self._values, np.float64).reshape(len(self._values), -1)

    @property
    def jitter_ms(self) -> float | None:
        """95th percentile of how late a sample was taken; None for no sample that was due."""
        return float(np.percentile(self._late, 95)) * 1e3 if self._late else None

    @property
    def cpu_share(self) -> float | None:
        """Processor time of the readings, programs they started included, as a share of one core; None for no time."""
        elapsed = self._times[-1] - self._times[0] if self._times else 0.0
        return self._cpu_s / elapsed if elapsed > 0 else None

    def _run(self) -> None:
        thread_s, children_s = time.thread_time(), self._children_s()
        origin, beat = self._times[0], 1
        while not self._stop.wait(max(0.0, origin + beat * self._period_s - self._clock())):
            now = self._clock()
            overtaken = max(0, int((now - origin) / self._period_s) - beat)
            self.missed += overtaken
            beat += overtaken
            self._late.append(max(0.0, now - origin - beat * self._period_s))
            self._try()
            beat += 1
        self._try()
        self._cpu_s = time.thread_time() - thread_s + self._children_s() - children_s

    def _try(self) -> None:
        try:
            self._sample()
        except TinysceneError as error:
            self.missed += 1
            self.failures.append(str(error))

    def _sample(self) -> None:
        before = self._clock()
        value = self._read()
        self._times.append((before + self._clock()) / 2)
        self._values.append(value)


class SamplingMeter:
    """A live meter made of readings. `read` gives watts; a meter of another quantity overrides `trace`.

    `period_s` may be set between runs. Raises `UnavailableError` from `start` when the first reading fails and from
    `stop` when too many did.
    """

    live = True
    runs_programs = False  # whether a reading starts another program, whose processor time counts too

    def __init__(self, name: str, kind: Kind, covers: str, period_s: float) -> None:
        self.name, self.kind, self.covers, self.period_s = name, kind, covers, period_s
        self._sampler: Sampler | None = None

    def read(self) -> tuple[float, ...]:
        raise NotImplementedError

    def trace(self, sampler: Sampler) -> PowerTrace:
        """The trace of what was sampled: of watts, one value a reading."""
        return PowerTrace(sampler.t_s, sampler.values[:, 0], **self.about(sampler))  # type: ignore[arg-type]

    def about(self, sampler: Sampler) -> dict[str, object]:
        """What a trace says of its making."""
        failed = (
            f"{len(sampler.failures)} readings failed, the last: {sampler.failures[-1]}" if sampler.failures else None
        )
        return {
            "name": self.name,
            "kind": self.kind,
            "covers": self.covers,
            "period_s": self.period_s,
            "jitter_ms": sampler.jitter_ms,
            "missed": sampler.missed,
            "cpu_share": sampler.cpu_share,
            "warnings": (failed,) if failed else (),
        }

    def start(self) -> None:
        self._sampler = Sampler(self.read, self.period_s, runs_programs=self.runs_programs)
        self._sampler.start()

    def stop(self) -> PowerTrace:
        if self._sampler is None:
            raise RuntimeError("stop() of a meter that was not started")
        sampler, self._sampler = self._sampler, None
        sampler.stop()
        taken, failed = len(sampler.t_s), len(sampler.failures)
        if failed > MAX_FAILED * (taken + failed):
            raise UnavailableError(
                f"{self.name}: {failed} of {taken + failed} readings failed, expected {MAX_FAILED:.0%} at most; "
                f"the last: {sampler.failures[-1]}"
            )
        return self.trace(sampler)


def _children_s() -> float:
    """Processor seconds of programs that this process started and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
