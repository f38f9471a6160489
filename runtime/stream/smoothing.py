"""From jumpy per-window logits to a steady decision: softmax, a running average, and hysteresis."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .defaults import ENTER, LEAVE

#: What a decision is: a scene just taken, the same scene kept, or none that is certain enough.
State = Literal["entered", "held", "unsure"]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities (n_classes,) of finite logits (n_classes,), in float64 so that they sum to 1."""
    powers = np.exp(logits.astype(np.float64) - float(logits.max()))
    probabilities: NDArray[np.float64] = powers / powers.sum()
    return probabilities


class Average(Protocol):
    """A running mean of probability vectors."""

    def update(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take in one vector (n_classes,) and return the mean so far."""
        ...

    def skip(self, steps: int) -> None:
        """Let `steps` windows pass that nothing is known about: what was known before counts that much less."""
        ...

    def retime(self, length_s: float) -> None:
        """Go on with another length of the average."""
        ...


class ExponentialAverage:
    """Exponential mean: a vector's weight falls to 1/e after `time_constant_s`; 0 s means no averaging.

    While the stream is younger than its time constant the weights are renormalised (as Adam does), so that the first
    window does not count for more than the others.
    """

    def __init__(self, time_constant_s: float, step_s: float) -> None:
        self._step_s = step_s
        self.retime(time_constant_s)
        self._sum: NDArray[np.float64] | None = None
        self._weight = 0.0

    def update(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take in one vector (n_classes,) and return the mean so far."""
        before = 0.0 if self._sum is None else self._keep * self._sum
        self._sum = before + (1.0 - self._keep) * probabilities
        self._weight = self._keep * self._weight + (1.0 - self._keep)
        return self._sum / self._weight

    def skip(self, steps: int) -> None:
        """Let `steps` windows pass that nothing is known about."""
        faded = self._keep**steps
        self._weight *= faded
        if self._weight < 1e-300:  # long ago: what is left of it would underflow
            self._sum, self._weight = None, 0.0
        elif self._sum is not None:
            self._sum = faded * self._sum

    def retime(self, length_s: float) -> None:
        """Go on with another time constant; raises `InputError` for one that cannot be."""
        check_smoothing(length_s)
        self._keep = math.exp(-self._step_s / length_s) if length_s > 0 else 0.0


class MovingAverage:
    """Plain mean over the vectors of the last `length_s`, at least one; windows that were skipped do not count."""

    def __init__(self, length_s: float, step_s: float) -> None:
        self._step_s = step_s
        self._recent: deque[NDArray[np.float64] | None] = deque()
        self.retime(length_s)

    def update(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take in one vector (n_classes,) and return the mean so far."""
        self._recent.append(probabilities)
        known = [vector for vector in self._recent if vector is not None]
        mean: NDArray[np.float64] = np.mean(known, axis=0)
        return mean

    def skip(self, steps: int) -> None:
        """Let `steps` windows pass that nothing is known about."""
        self._recent.extend([None] * min(steps, self._recent.maxlen or 0))

    def retime(self, length_s: float) -> None:
        """Go on with another length; raises `InputError` for one that cannot be."""
        check_smoothing(length_s)
        self._recent = deque(self._recent, maxlen=max(1, round(length_s / self._step_s)))


@dataclass(frozen=True)
class Thresholds:
    """A scene is taken at probability `enter` and given up under `leave`; 0 < leave <= enter <= 1."""

    enter: float = ENTER
    leave: float = LEAVE

    def __post_init__(self) -> None:
        if not 0.0 < self.leave <= self.enter <= 1.0:
            raise InputError(
                f"thresholds enter {self.enter} and leave {self.leave} do not fit: expected 0 < leave <= enter <= 1"
            )


class Hysteresis:
    """Keeps a scene until its probability falls under `leave`, or a likelier one reaches `enter`.

    So a decision that hovers around one threshold does not flicker, and silence between two scenes is "unsure"
    rather than a guess.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self.scene: int | None = None

    def update(self, probabilities: NDArray[np.float64]) -> State:
        """Take in averaged probabilities (n_classes,); `scene` is then the index of the scene decided on, or None."""
        best, before = int(probabilities.argmax()), self.scene
        if before is not None and probabilities[before] < self.thresholds.leave:
            self.scene = None
        likelier = self.scene is None or probabilities[best] > probabilities[self.scene]
        if likelier and probabilities[best] >= self.thresholds.enter:
            self.scene = best
        if self.scene is None:
            return "unsure"
        return "held" if self.scene == before else "entered"


def check_smoothing(length_s: float) -> None:
    """Raise `InputError` for a length of an average that cannot be."""
    if not (math.isfinite(length_s) and length_s >= 0.0):
        raise InputError(f"smoothing over {length_s} s is not possible: expected 0 s (none) or more")
