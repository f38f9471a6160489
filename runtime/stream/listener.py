"""Listening: a source, a stream, and those who are told."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..events.event import Event, Sink
from ..machine.state import MachineState
from ..machine.watch import MachineWatch
from ..sources.source import Source
from .changes import Changes, utc_now
from .decision import Decision
from .limit import up_to
from .meters import Meters
from .observer import Observer, StopListening
from .stream import SceneStream


def watch(
    source: Source,
    stream: SceneStream,
    duration_s: float | None = None,
    now: Callable[[], str] = utc_now,
    machine_watch: Callable[..., AbstractContextManager[Any]] = MachineWatch,
) -> Generator[Decision | Event, None, None]:
    """Listen to `source` until it ends, or to `duration_s` seconds of it: every decision and every event as it comes.

    An event that a decision causes comes after it. `now` gives the wall clock of events, `machine_watch`
    makes, given `on_throttled`, what watches over the machine. Raises `InputError` when the source ends before
    it held one window, and whatever the source raises. Closing the iterator releases the source.
    """
    arrived_s = time.perf_counter()
    changes = Changes(source, now)
    throttled: deque[tuple[MachineState, tuple[str, ...]]] = deque(maxlen=16)
    with (
        closing(up_to(source, duration_s)) as blocks,
        machine_watch(on_throttled=lambda state, flags: throttled.append((state, flags))),
    ):
        for block in blocks:
            arrived_s = block.arrived_s
            for decision in stream.push(block):
                yield decision
                yield from changes.decision(decision)
            yield from changes.block(block, stream.time_s)
            while throttled:
                state, flags = throttled.popleft()
                yield changes.event("throttled", stream.time_s, flags=list(flags), temperature_c=state.temperature_c)
    for decision in stream.finish(arrived_s):
        yield decision
        yield from changes.decision(decision)
    yield from changes.rest(stream.time_s)


@dataclass(frozen=True)
class Listened:
    """How listening ended."""

    decisions: int
    interrupted: bool  # by Ctrl-C, the service manager or an observer
    observer_errors: int  # raised by observers and sinks, which should never


def listen(
    source: Source,
    stream: SceneStream,
    observers: Sequence[Observer] = (),
    sinks: Sequence[Sink] = (),
    duration_s: float | None = None,
    *,
    about: Mapping[str, str] | None = None,
    log: Callable[[str], None] = lambda text: None,
    now: Callable[[], str] = utc_now,
) -> Listened:
    """Listen as `watch` does and tell `observers` and `sinks`, until the source ends or `KeyboardInterrupt` is raised.

    `about` says what listens (bundle, engine) in the first event, "started"; the last one, "stopped", comes whatever
    ends the listening. An observer or sink that raises is reported to `log` once and still told what comes. All of them
    are closed at the end.
    """
    audience = _Audience(observers, sinks, log)
    stream.on_frames = audience.frames if audience.watchers else None
    count, interrupted = 0, False
    try:
        hop = {"source": source.name, "hop_ms": 1e3 * stream.hop_s}
        audience.event(Event("started", 0.0, now(), {**hop, **(about or {})}))
        stream.meters.begin()
        with closing(watch(source, stream, duration_s, now)) as items:
            for item in items:
                if isinstance(item, Decision):
                    count += 1
                    audience.decision(item, stream.meters)
                else:
                    audience.event(item)
    except (KeyboardInterrupt, StopListening):
        interrupted = True
    finally:
        meters = stream.meters
        data = {"audio_s": meters.audio_s, "decisions": count, "dropped_samples": meters.dropped_samples}
        audience.event(Event("stopped", stream.time_s, now(), data))
        audience.close()
    return Listened(count, interrupted, audience.errors)


class _Audience:
    """Observers and sinks, none of which can stop the others or the listening."""

    def __init__(self, observers: Sequence[Observer], sinks: Sequence[Sink], log: Callable[[str], None]) -> None:
        self.errors = 0
        self._observers, self._sinks, self._log = observers, sinks, log
        self._logged: set[int] = set()
        self.watchers = [observer for observer in observers if getattr(observer, "wants_frames", True)]

    def frames(self, frames: NDArray[np.float32]) -> None:
        for observer in self.watchers:
            self._tell(observer, observer.frames, frames)

    def decision(self, decision: Decision, meters: Meters) -> None:
        for observer in self._observers:
            self._tell(observer, observer.decision, decision, meters)

    def event(self, event: Event) -> None:
        for observer in self._observers:
            self._tell(observer, observer.event, event)
        for sink in self._sinks:
            self._tell(sink, sink.emit, event)

    def close(self) -> None:
        for observer in self._observers:
            self._tell(observer, observer.close)
        for sink in self._sinks:
            self._tell(sink, sink.close)

    def _tell(self, one: object, tell: Callable[..., Any], *what: Any) -> None:
        try:
            tell(*what)
        except Exception as error:
            self.errors += 1
            if id(one) not in self._logged:
                self._logged.add(id(one))
                name = getattr(one, "name", type(one).__name__)
                self._log(f"{name} failed ({type(error).__name__}: {error}); listening goes on, this is said once")
