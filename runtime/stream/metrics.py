"""How well a stream's decisions follow what was really there: right over time, unsure, flicker, time to recognise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

#: The decided scene's index while none is certain enough.
UNSURE = -1


@dataclass(frozen=True)
class Truth:
    """What was there: scene `scenes[i]` from `starts_s[i]` until the next start, the last one until `end_s`."""

    starts_s: tuple[float, ...]
    scenes: tuple[int, ...]
    end_s: float

    def __post_init__(self) -> None:
        if len(self.starts_s) != len(self.scenes) or not self.scenes:
            raise InputError(
                f"{len(self.starts_s)} starts for {len(self.scenes)} scenes: expected one each, at least 1"
            )
        if not np.all(np.diff([*self.starts_s, self.end_s]) > 0.0):
            raise InputError("starts of scenes must rise, and the end come after them")
        if min(self.scenes) < 0:
            raise InputError(f"true scene {min(self.scenes)} is none, expected an index of at least 0")
        if any(one == other for one, other in zip(self.scenes, self.scenes[1:], strict=False)):
            raise InputError("a scene follows itself: join the two stretches, nothing changes between them")

    def segments(self, times_s: NDArray[np.float64]) -> NDArray[np.intp]:
        """Of each time in `times_s` (n,), which stretch it lies in (n,); a change belongs to what it changes to."""
        found: NDArray[np.intp] = np.searchsorted(self.starts_s, times_s, side="right") - 1
        return found

    def at(self, times_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """The true scene (n,) at `times_s` (n,), which lie in the stream."""
        return np.asarray(self.scenes, np.int64)[self.segments(times_s)]


@dataclass(frozen=True)
class StreamScore:
    """How one series of decisions did; shares are of the decisions, which come at an even pace, so also of the time.

    A delay is the time from a true change to the first decision for the new scene. Changes that were never recognised
    before the next one count in its median and p90 as longer than any other: infinite where they reach that far. NaN
    where there was nothing to count.
    """

    decisions: int
    hours: float
    accuracy: float  # decided on the true scene
    unsure: float  # decided on none; the rest is wrong
    flickers: int
    changes: int
    delay_median_s: float
    delay_p90_s: float
    missed: float  # share of changes never recognised before the next

    @property
    def wrong(self) -> float:
        """Share decided on a scene that was not there."""
        return max(0.0, 1.0 - self.accuracy - self.unsure)

    @property
    def flicker_per_hour(self) -> float:
        """Changes of the shown scene that no true change explains."""
        return self.flickers / self.hours if self.hours else float("nan")


@dataclass(frozen=True, eq=False)
class Follow:
    """What happened in each of the truth's m stretches, before it is added up."""

    decisions: NDArray[np.int64]  # (m,)
    right: NDArray[np.int64]  # (m,)
    unsure: NDArray[np.int64]  # (m,)
    flickers: NDArray[np.int64]  # (m,)
    delays_s: NDArray[np.float64]  # (m,) inf: never recognised
    lengths_s: NDArray[np.float64]  # (m,)

    def score(self, stretches: Sequence[int] | None = None) -> StreamScore:
        """The score over all stretches, or over those with the given numbers; nothing changes to the first one."""
        chosen = np.arange(len(self.decisions)) if stretches is None else np.asarray(stretches, np.intp)
        delays = self.delays_s[chosen[chosen > 0]]
        decisions = int(self.decisions[chosen].sum())
        return StreamScore(
            decisions=decisions,
            hours=float(self.lengths_s[chosen].sum()) / 3600.0,
            accuracy=_share(int(self.right[chosen].sum()), decisions),
            unsure=_share(int(self.unsure[chosen].sum()), decisions),
            flickers=int(self.flickers[chosen].sum()),
            changes=len(delays),
            delay_median_s=_quantile(delays, 0.5),
            delay_p90_s=_quantile(delays, 0.9),
            missed=_share(int(np.isinf(delays).sum()), len(delays)),
        )


def follow(times_s: NDArray[np.float64], shown: NDArray[np.int64], truth: Truth) -> Follow:
    """How `shown` (n,), a scene or `UNSURE`, decided at the rising `times_s` (n,), follows `truth`.

    A true change explains two changes of what is shown: once to unsure, and once to the new scene, both at the latest
    when the new scene is recognised. Every other change is a flicker: through a wrong scene, away from the right one,
    and back to it. Before the first decision nothing is shown, as if unsure. Raises `InputError` for series of
    different lengths, times that do not rise or lie outside the truth.
    """
    if times_s.shape != shown.shape or times_s.ndim != 1:
        raise InputError(f"{times_s.shape} times for {shown.shape} decisions: expected one each")
    if not np.all(np.diff(times_s) > 0.0):
        raise InputError("decision times do not rise")
    if len(times_s) and not (truth.starts_s[0] <= times_s[0] and times_s[-1] <= truth.end_s):
        raise InputError(
            f"decisions from {times_s[0]:g} to {times_s[-1]:g} s do not lie within what is known of, "
            f"{truth.starts_s[0]:g} to {truth.end_s:g} s"
        )
    count = len(truth.scenes)
    segment = truth.segments(times_s)
    true = np.asarray(truth.scenes, np.int64)[segment]
    right = shown == true
    number = np.arange(len(shown))
    # The first right decision of each stretch, by its number; len(shown) where there is none.
    first = np.full(count, len(shown))
    np.minimum.at(first, segment[right], number[right])
    found = first < len(shown)
    delays = np.full(count, np.inf)
    delays[found] = times_s[first[found]] - np.asarray(truth.starts_s)[found]
    changed = shown != np.concatenate([[UNSURE], shown[:-1]])
    # The one step to unsure that a change explains lies before recognition.
    lapse = changed & (shown == UNSURE) & (number < first[segment])
    lapsed = np.bincount(segment[lapse], minlength=count) > 0
    # Recognition is a step only where the scene was not shown already when it began.
    stepped = np.zeros(count, bool)
    stepped[found] = changed[first[found]]
    return Follow(
        decisions=np.bincount(segment, minlength=count),
        right=np.bincount(segment[right], minlength=count),
        unsure=np.bincount(segment[shown == UNSURE], minlength=count),
        flickers=np.bincount(segment[changed], minlength=count) - lapsed - stepped,
        delays_s=delays,
        lengths_s=np.diff([*truth.starts_s, truth.end_s]),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _quantile(delays: NDArray[np.float64], share: float) -> float:
    """The shortest delay that at least `share` of all keep to, which an infinite one does not spoil."""
    return float(np.sort(delays)[int(np.ceil(share * len(delays))) - 1]) if len(delays) else float("nan")
