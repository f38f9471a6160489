"""What the thread that listens leaves for a thread that shows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..events.event import Event
from ..stream.decision import Decision
from ..stream.meters import Meters

#: Kept while nobody takes anything: pieces of about 50 ms of frames, and decisions and events together.
PIECES, SAYINGS = 512, 1024


@dataclass(frozen=True, eq=False)
class Mail:
    """What came since the last time, oldest first."""

    frames: list[NDArray[np.float32]]  # (n_mels, k) each
    said: list[Decision | Event]
    meters: Meters | None  # the stream's own, which go on changing


class Mailbox:
    """An observer that keeps the latest of what it is told until `take`; when it is full, the oldest goes.

    One thread fills it and another empties it. Neither ever waits for the other: appending to a bounded deque and
    taking from its other end are each one step of the interpreter.
    """

    def __init__(self) -> None:
        self._frames: deque[NDArray[np.float32]] = deque(maxlen=PIECES)
        self._said: deque[Decision | Event] = deque(maxlen=SAYINGS)
        self._meters: Meters | None = None

    def frames(self, frames: NDArray[np.float32]) -> None:
        """Keep frames (n_mels, k)."""
        self._frames.append(frames)

    def decision(self, decision: Decision, meters: Meters) -> None:
        """Keep a decision."""
        self._meters = meters
        self._said.append(decision)

    def event(self, event: Event) -> None:
        """Keep an event."""
        self._said.append(event)

    def take(self) -> Mail:
        """All that is there now."""
        return Mail(_emptied(self._frames), _emptied(self._said), self._meters)


def _emptied(waiting: deque) -> list:
    # At most as many as there are now: whoever fills the deque meanwhile must not keep us here.
    taken = []
    for _ in range(len(waiting)):
        try:
            taken.append(waiting.popleft())
        except IndexError:  # the other side never takes, but a cleared interpreter may
            break
    return taken
