"""What is new: events made of blocks and decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from ..events.event import Event, Kind
from ..sources.source import Block, Source
from .decision import Decision

#: A loss that goes on while audio comes is reported this often, in seconds of the stream.
LOSS_REPORT_S = 10.0


def utc_now() -> str:
    """The wall clock, UTC, ISO 8601 with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


class Changes:
    """Compares each block and each decision with what was before."""

    def __init__(self, source: Source, now: Callable[[], str] = utc_now) -> None:
        """Follow `source`; `now` gives the wall clock."""
        self._source, self._now = source, now
        self._down_since_s: float | None = None
        self._reported: Mapping[str, int] = {}  # losses by cause that events have told of
        self._told, self._told_s = 0, 0.0
        self._dropped = 0
        self._scene: str | None = None

    def event(self, kind: Kind, t_s: float, **data: Any) -> Event:
        """An event of now."""
        return Event(kind, t_s, self._now(), data)

    def block(self, block: Block, t_s: float) -> Iterator[Event]:
        """What a block tells, the stream having reached `t_s`."""
        if block.down is not None and self._down_since_s is None:
            self._down_since_s = t_s
            yield self.event("source_down", t_s, reason=block.down)
        elif block.down is None and self._down_since_s is not None:
            yield self.event("source_up", t_s, after_s=t_s - self._down_since_s)
            self._down_since_s = None
        # A loss is told once it is over: its size is then known.
        over = block.dropped == self._dropped or t_s - self._told_s >= LOSS_REPORT_S
        self._dropped = block.dropped
        if block.dropped > self._told and over and block.down is None:
            yield self._loss(block.dropped, t_s)

    def rest(self, t_s: float) -> Iterator[Event]:
        """The loss that no event has told of yet, at the end of the stream."""
        if self._dropped > self._told:
            yield self._loss(self._dropped, t_s)

    def decision(self, decision: Decision) -> Iterator[Event]:
        """What a decision changes."""
        previous, self._scene = self._scene, decision.scene
        if decision.scene == previous:
            return
        if decision.scene is None:
            yield self.event(
                "unsure", decision.t_s, previous=previous, top=decision.top, probability=decision.probability
            )
        else:
            yield self.event(
                "scene", decision.t_s, scene=decision.scene, previous=previous, probability=decision.probability
            )

    def _loss(self, dropped: int, t_s: float) -> Event:
        losses = dict(self._source.losses)
        grown = {cause: count - self._reported.get(cause, 0) for cause, count in losses.items()}
        causes = [cause for cause, count in sorted(grown.items(), key=lambda item: -item[1]) if count > 0]
        samples = dropped - self._told
        self._told, self._told_s, self._reported = dropped, t_s, losses
        return self.event(
            "audio_lost",
            t_s,
            samples=samples,
            duration_s=samples / self._source.sample_rate_hz,
            cause=" and ".join(causes) or "unknown",
            total_samples=dropped,
        )
