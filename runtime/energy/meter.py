"""What a meter is, and the trace of power that it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

#: "measured": an instrument in the supply's path. "estimated": anything a chip's maker or a model works out.
Kind = Literal["measured", "estimated"]

#: What `PowerTrace.t_s` counts from: the computer's steady clock, 1970, or the log's own beginning.
Clock = Literal["monotonic", "unix", "log"]


@dataclass(frozen=True, eq=False)
class PowerTrace:
    """Power over time, linear between its samples.

    t_s: (n,) float64, seconds, never decreasing; power_w: (n,) float64. A meter that knows the mean over an interval
    and not the power at an instant gives each interval two samples of equal power, at its start and its end: the
    integral is then exact. Raises `InputError` when that is not so, or there are fewer than two samples.
    """

    t_s: NDArray[np.float64]
    power_w: NDArray[np.float64]
    name: str = "trace"
    kind: Kind = "estimated"
    covers: str = "not stated"
    clock: Clock = "monotonic"
    period_s: float | None = None  # asked for; None where the instrument decides
    jitter_ms: float | None = None  # 95th percentile of how late a sample was
    missed: int = 0  # samples that were due and not taken, or that were lost on the way
    cpu_share: float | None = None  # of one core, spent by reading; None where nothing on this machine reads
    warnings: tuple[str, ...] = ()
    _energy_j: NDArray[np.float64] = field(init=False, repr=False)  # (n,) from the first sample on

    def __post_init__(self) -> None:
        t, p = self.t_s, self.power_w
        if t.ndim != 1 or t.shape != p.shape or len(t) < 2:
            raise InputError(
                f"{self.name} gave times {t.shape} and powers {p.shape}, expected two samples or more of each: "
                "measure for longer, or check that the instrument was running"
            )
        if not (np.isfinite(t).all() and np.isfinite(p).all()):
            raise InputError(
                f"{self.name} gave a time or a power that is not a finite number: check its wiring and its log"
            )
        back = np.flatnonzero(np.diff(t) < 0)
        if len(back):
            raise InputError(
                f"{self.name}: time goes back from {t[back[0]]} to {t[back[0] + 1]} s at sample {int(back[0]) + 1}, "
                "expected times that never decrease"
            )
        steps = np.diff(t) * (p[1:] + p[:-1]) / 2
        object.__setattr__(self, "_energy_j", np.concatenate(([0.0], np.cumsum(steps))))

    @property
    def interval_s(self) -> float:
        """Median time between samples."""
        gaps = np.diff(self.t_s)
        return float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 0.0

    def energy_until(self, t_s: ArrayLike) -> NDArray[np.float64]:
        """Joules from the first sample to each of `t_s`, by the trapezoid rule; times outside the trace are clipped."""
        at = np.clip(np.asarray(t_s, np.float64), self.t_s[0], self.t_s[-1])
        left = np.clip(np.searchsorted(self.t_s, at, side="right") - 1, 0, len(self.t_s) - 2)
        span = self.t_s[left + 1] - self.t_s[left]
        part = np.divide(at - self.t_s[left], span, out=np.zeros_like(at), where=span > 0)
        here = self.power_w[left] + part * (self.power_w[left + 1] - self.power_w[left])
        return np.asarray(self._energy_j[left] + (self.power_w[left] + here) / 2 * (at - self.t_s[left]))

    def energy_j(self, start_s: float, end_s: float) -> float:
        """Joules between two times of the trace."""
        first, last = self.energy_until(np.array([start_s, end_s]))
        return float(last - first)


class Meter(Protocol):
    """Anything that can say how much power flowed between `start` and `stop`.

    `covers` says in words which part of the machine is seen. A meter that is not `live` is the log of an instrument
    that runs by itself: `stop` reads the log. `stop` raises `UnavailableError` or `InputError` when nothing came.
    """

    name: str
    kind: Kind
    covers: str
    live: bool

    def start(self) -> None: ...

    def stop(self) -> PowerTrace: ...


def step_trace(start_s: ArrayLike, end_s: ArrayLike, power_w: ArrayLike, **about: Any) -> PowerTrace:
    """A trace of mean powers `power_w` (n,) over intervals from `start_s` (n,) to `end_s` (n,); `about` the rest."""
    start, end, power = (np.asarray(values, np.float64).ravel() for values in (start_s, end_s, power_w))
    # Clocks of instruments jitter by some microseconds: an interval never begins before the one before it ended.
    times = np.maximum.accumulate(np.stack([start, end], axis=1).ravel())
    return PowerTrace(times, np.repeat(power, 2), **about)
