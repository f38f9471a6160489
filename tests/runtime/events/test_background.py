"""The queue before a sink: nothing waits for it, nothing is lost unseen."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from processes import poll_until

from tinyscene.runtime.events import background
from tinyscene.runtime.events.background import BackgroundSink, DeliveryError
from tinyscene.runtime.events.event import Event


def numbered(number: int, **data: Any) -> Event:
    return Event("scene", float(number), "2026-01-01T00:00:00.000Z", {"n": number, **data})


class Shelf:
    """A destination that delivers while `open` is set and fails for the reason `cause` otherwise."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.cause: Exception = DeliveryError("shut")
        self.delivered: list[int] = []
        self.tries = 0
        self.closed = False

    def deliver(self, event: Event) -> None:
        self.tries += 1
        if not self.open.is_set():
            raise self.cause
        if event.data.get("unwritable"):
            raise ValueError("no such thing")
        self.delivered.append(event.data["n"])

    def close(self) -> None:
        self.closed = True


def test_events_arrive_in_order_and_close_waits_for_them() -> None:
    shelf, lines = Shelf(), []
    shelf.open.set()
    sink = BackgroundSink("shelf", shelf, lines.append)
    for number in range(500):
        sink.emit(numbered(number))
    sink.close()
    assert shelf.delivered == list(range(500))
    assert (sink.undelivered, sink.waiting, lines, shelf.closed) == (0, 0, [], True)


def test_an_outage_keeps_the_newest_events_and_counts_the_others() -> None:
    shelf, lines = Shelf(), []
    sink = BackgroundSink("shelf", shelf, lines.append, capacity=10, first_retry_s=0.001, longest_retry_s=0.002)
    sink.emit(numbered(0))
    poll_until(lambda: shelf.tries > 3)  # the first is in the thread's hands now
    for number in range(1, 100):
        sink.emit(numbered(number))
    assert sink.waiting == 11
    assert sink.undelivered == 100  # none has arrived
    shelf.open.set()
    poll_until(lambda: not sink.waiting)
    assert shelf.delivered == [0, *range(90, 100)]
    assert sink.undelivered == 89
    sink.close()
    assert lines == [
        "shelf: shut; events wait, up to 10 of them",
        "shelf: events are delivered again, 89 were lost",
        "shelf: 89 events were not delivered",
    ]


def test_each_cause_of_an_outage_is_logged_once() -> None:
    shelf, lines = Shelf(), []
    sink = BackgroundSink("shelf", shelf, lines.append, first_retry_s=0.001, longest_retry_s=0.001)
    sink.emit(numbered(0))
    poll_until(lambda: shelf.tries > 20)
    shelf.cause = OSError(28, "No space left on device")
    tries = shelf.tries
    poll_until(lambda: shelf.tries > tries + 20)
    shelf.cause = DeliveryError("shut")
    tries = shelf.tries
    poll_until(lambda: shelf.tries > tries + 20)
    assert [line.split(";")[0] for line in lines] == ["shelf: shut", "shelf: [Errno 28] No space left on device"]
    shelf.open.set()
    sink.close()
    assert lines[2:] == ["shelf: events are delivered again"]
    assert sink.undelivered == 0


def test_an_event_that_cannot_be_written_is_lost_alone() -> None:
    shelf, lines = Shelf(), []
    shelf.open.set()
    sink = BackgroundSink("shelf", shelf, lines.append)
    for event in (numbered(0), numbered(1, unwritable=True), numbered(2)):
        sink.emit(event)
    sink.close()
    assert shelf.delivered == [0, 2]
    assert sink.undelivered == 1
    assert "ValueError('no such thing')" in lines[0]


def test_a_log_that_fails_stops_nothing() -> None:
    def broken(text: str) -> None:
        raise BrokenPipeError

    shelf = Shelf()
    sink = BackgroundSink("shelf", shelf, broken, first_retry_s=0.001)
    sink.emit(numbered(0))
    poll_until(lambda: shelf.tries > 1)
    shelf.open.set()
    sink.close()
    assert shelf.delivered == [0]


def test_a_retry_is_not_waited_for_when_the_destination_is_back() -> None:
    shelf = Shelf()
    sink = BackgroundSink("shelf", shelf, lambda text: None, first_retry_s=3600.0)
    sink.emit(numbered(0))
    poll_until(lambda: shelf.tries == 1)
    shelf.open.set()
    sink.retry()
    poll_until(lambda: shelf.delivered == [0])
    sink.close()


def test_closing_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "CLOSE_S", 0.2)
    shelf, lines = Shelf(), []
    sink = BackgroundSink("shelf", shelf, lines.append)
    for number in range(3):
        sink.emit(numbered(number))
    sink.close()
    assert sink.undelivered == 3
    assert lines[-1] == "shelf: 3 events were not delivered"
    assert shelf.closed
    sink.emit(numbered(3))  # too late, and counted
    sink.close()
    assert sink.undelivered == 4


def test_closing_does_not_wait_for_a_destination_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "CLOSE_S", 0.2)
    begun, release = threading.Event(), threading.Event()

    class Hanging(Shelf):
        def deliver(self, event: Event) -> None:
            begun.set()
            release.wait()

    sink = BackgroundSink("hanging", Hanging(), lambda text: None)
    sink.emit(numbered(0))
    assert begun.wait(10)
    sink.emit(numbered(1))
    sink.close()
    assert sink.undelivered == 2
    release.set()
