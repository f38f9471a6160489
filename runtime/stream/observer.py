"""Who watches a stream: every frame, every decision and every event, as they are made."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..events.event import Event
from .decision import Decision
from .meters import Meters


class StopListening(BaseException):
    """What an observer raises to end the listening in good order, as Ctrl-C does."""


class Observer(Protocol):
    """Something that watches. It is called from the thread that listens, so it returns at once: the audio waits.

    Any other error that it raises is counted, the first one is logged, and the listening goes on. One that has an
    attribute `wants_frames` that is False gets no frames; while nobody wants them, they are computed once a window.
    """

    def frames(self, frames: NDArray[np.float32]) -> None:
        """Take log-mel frames (n_mels, k) that were computed just now, the observer's to keep."""
        ...

    def decision(self, decision: Decision, meters: Meters) -> None:
        """Take a decision, and the meters as they stand."""
        ...

    def event(self, event: Event) -> None:
        """Take an event."""
        ...

    def close(self) -> None:
        """Release what the observer holds: nothing more comes."""
        ...
