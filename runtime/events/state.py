"""What is known at present, kept up to date by events: for a reader who comes late and wants no history."""

from __future__ import annotations

from typing import Any

from .event import Event

SCHEMA = "tinyscene.state/1"


class ListenerState:
    """The scene decided on, whether the source sends, and what was lost since the start."""

    def __init__(self, bundle_name: str) -> None:
        """Nothing is heard or decided yet."""
        self._fields: dict[str, Any] = {
            "schema": SCHEMA,
            "scene": None,  # decided on; None before the first decision and while unsure
            "unsure": False,
            "probability": None,  # of the scene when it was taken, of the likeliest one when it was given up
            "since": None,  # wall clock of that
            "listening": False,
            "reason": "not started",  # why it does not listen
            "dropped_samples": 0,
            "bundle": bundle_name,
            "source": None,
        }

    def update(self, event: Event) -> bool:
        """Take in an event; whether it changed anything. An event without an expected value changes what it can."""
        before = dict(self._fields)
        data, fields = event.data, self._fields
        if event.kind == "started":
            fields.update(listening=True, reason=None, source=data.get("source"))
        elif event.kind == "scene":
            fields.update(scene=data.get("scene"), unsure=False, probability=data.get("probability"), since=event.at)
        elif event.kind == "unsure":
            fields.update(scene=None, unsure=True, probability=data.get("probability"), since=event.at)
        elif event.kind == "audio_lost":
            fields["dropped_samples"] = data.get("total_samples", fields["dropped_samples"])
        elif event.kind == "source_down":
            fields.update(listening=False, reason=data.get("reason", "source down"))
        elif event.kind == "source_up":
            fields.update(listening=True, reason=None)
        elif event.kind == "stopped":
            dropped = data.get("dropped_samples", fields["dropped_samples"])
            fields.update(listening=False, reason="stopped", dropped_samples=dropped)
        return fields != before

    def to_dict(self) -> dict[str, Any]:
        """The state as one flat JSON object with its schema."""
        return dict(self._fields)
