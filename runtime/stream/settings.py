"""How often a stream decides, how steadily, and what it refuses to judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..errors import InputError
from ..frontend_spec import FrontendSpec
from .defaults import HOP_MS, SMOOTHING_S
from .smoothing import Average, ExponentialAverage, MovingAverage, Thresholds


@dataclass(frozen=True)
class StreamSettings:
    """What a stream starts with; its thresholds and smoothing may be changed while it runs."""

    hop_ms: float = HOP_MS  # rounded to whole frames
    average: Literal["exponential", "moving"] = "exponential"
    smoothing_s: float = SMOOTHING_S  # time constant of the exponential, length of the moving average; 0 is none
    thresholds: Thresholds = field(default_factory=Thresholds)
    max_lost_share: float = 0.1  # a window of which more than this was lost is not judged

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_lost_share < 1.0:
            raise InputError(
                f"largest lost share of a window is {self.max_lost_share}, expected at least 0 and less than 1"
            )

    def hop_frames(self, spec: FrontendSpec) -> int:
        """Frames from one decision to the next, at least one; raises `InputError` for a hop that is not positive."""
        if not 0.0 < self.hop_ms <= 60_000.0:
            raise InputError(f"hop is {self.hop_ms} ms, expected more than 0 and at most 60000: set --hop-ms")
        return max(1, round(self.hop_ms / 1e3 / spec.hop_s))

    def running_average(self, step_s: float) -> Average:
        """A fresh average for probabilities that come every `step_s`."""
        kind = MovingAverage if self.average == "moving" else ExponentialAverage
        return kind(self.smoothing_s, step_s)
