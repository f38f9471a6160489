"""What was heard when: the last ten minutes as stretches of one scene each, and the last events."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..events.event import Event
from ..stream.decision import Decision

#: How far back a timeline reaches, in seconds.
WINDOW_S = 600.0

#: In place of a scene's index: none is certain enough; nothing is heard.
UNSURE, AWAY = -1, -2

#: Events that a list shows.
EVENTS = 60


class History:
    """Follows decisions and events, in the order in which they came."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._index = {label: position for position, label in enumerate(labels)}
        self.stretches: deque[tuple[float, int]] = deque()  # (start in the stream's time, scene's index or a state)
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS)
        self.now_s = 0.0
        self.latest: Decision | None = None
        self.down: str | None = None  # why nothing is heard
        self.ended = False
        self.last_loss: dict[str, Any] | None = None
        self.throttled: dict[str, Any] | None = None

    def add(self, said: Decision | Event) -> None:
        """Take in what was said next."""
        if isinstance(said, Decision):
            self.latest, self.down = said, None
            self._enter(said.t_s, UNSURE if said.scene is None else self._index[said.scene])
            return
        event = said.to_dict()
        self.events.append(event)
        if said.kind == "source_down":
            self.down = str(said.data["reason"])
            self._enter(said.t_s, AWAY)
        elif said.kind == "source_up":
            self.down = None
        elif said.kind == "audio_lost":
            self.last_loss = event
        elif said.kind == "throttled":
            self.throttled = event
        elif said.kind == "stopped":
            self.ended = True
        self.now_s = max(self.now_s, said.t_s)

    @property
    def held_s(self) -> float:
        """How long what is heard now has been heard."""
        return self.now_s - self.stretches[-1][0] if self.stretches else 0.0

    def _enter(self, t_s: float, state: int) -> None:
        self.now_s = max(self.now_s, t_s)
        if not self.stretches or self.stretches[-1][1] != state:
            self.stretches.append((t_s, state))
        while len(self.stretches) > 1 and self.stretches[1][0] < self.now_s - WINDOW_S:
            self.stretches.popleft()
