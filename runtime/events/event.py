"""Events: what happened while listening, for programs that do not want every decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

#: "scene": another scene was decided on. "unsure": none is certain enough any more. "audio_lost": samples are missing.
#: "source_down", "source_up": the source stopped sending, sends again. "throttled": the machine slowed itself down.
Kind = Literal["started", "scene", "unsure", "audio_lost", "source_down", "source_up", "throttled", "stopped"]

SCHEMA = "tinyscene.event/1"


@dataclass(frozen=True)
class Event:
    """Something that happened at one moment of a stream."""

    kind: Kind
    t_s: float  # in the source's time, lost samples included
    at: str  # wall clock, UTC, ISO 8601 with milliseconds
    data: Mapping[str, Any] = field(default_factory=dict)  # of its kind, plain values only

    def to_dict(self) -> dict[str, Any]:
        """The event as one flat JSON object with its schema."""
        return {"schema": SCHEMA, "kind": self.kind, "t_s": self.t_s, "at": self.at, **self.data}


class Sink(Protocol):
    """Where events go. A sink never raises and never waits: what it cannot deliver it counts."""

    @property
    def name(self) -> str:
        """Where they go, for a person."""
        ...

    @property
    def undelivered(self) -> int:
        """Events that are lost, or that wait while the sink is out of order."""
        ...

    def emit(self, event: Event) -> None:
        """Take an event; returns at once."""
        ...

    def close(self) -> None:
        """Deliver what is left, for at most two seconds, and release what the sink holds."""
        ...
