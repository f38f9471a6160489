"""Events made of blocks and decisions: what is told, when, and that the losses told add up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinyscene.runtime.events.event import Event
from tinyscene.runtime.sources.source import Block
from tinyscene.runtime.stream.changes import Changes, utc_now
from tinyscene.runtime.stream.decision import Decision

RATE = 8000
NOTHING = np.empty(0, np.float32)


@dataclass
class Losing:
    """What `Changes` reads of a source."""

    losses: dict[str, int] = field(default_factory=dict)
    sample_rate_hz: int = RATE
    name: str = "losing"

    def blocks(self) -> object:
        raise NotImplementedError


def told(source: Losing, story: list[tuple[float, Block]]) -> list[Event]:
    changes = Changes(source, lambda: "now")  # type: ignore[arg-type]
    return [event for t_s, block in story for event in changes.block(block, t_s)] + list(changes.rest(1e9))


def block(dropped: int = 0, down: str | None = None) -> Block:
    return Block(NOTHING, 0.0, dropped, down)


def decision(t_s: float, scene: str | None) -> Decision:
    return Decision(t_s, scene, "held" if scene else "unsure", "bus", 0.6, {"bus": 0.6}, 1.0, 0, -30.0)


def test_a_loss_is_told_once_it_is_over() -> None:
    source = Losing({"overrun": 160, "clock": 0})
    events = told(source, [(1.0, block()), (1.1, block(80)), (1.2, block(160)), (1.3, block(160)), (1.4, block(160))])
    (event,) = events
    assert (event.kind, event.t_s, event.at) == ("audio_lost", 1.3, "now")
    assert event.data == {"samples": 160, "duration_s": 0.02, "cause": "overrun", "total_samples": 160}


def test_a_loss_that_goes_on_is_told_every_ten_seconds() -> None:
    source = Losing({"clock": 10**9})
    story = [(0.02 * k, block(k)) for k in range(1, 3001)]  # a sample every 20 ms for a minute
    events = told(source, story)
    assert [round(event.t_s) for event in events] == [10, 20, 30, 40, 50, 60]
    assert sum(event.data["samples"] for event in events) == 3000


def test_both_causes_of_a_loss_are_named_the_larger_first() -> None:
    (event,) = told(Losing({"clock": 30, "overrun": 50, "down": 0}), [(1.0, block(80)), (1.1, block(80))])
    assert event.data["cause"] == "overrun and clock"


def test_a_source_that_does_not_say_why() -> None:
    (event,) = told(Losing(), [(1.0, block(80)), (1.1, block(80))])
    assert event.data["cause"] == "unknown"


def test_a_microphone_that_is_away_and_comes_back() -> None:
    source = Losing({"down": 40_000})
    away = [(1.0 + 0.5 * k, block(4000 * k, "unplugged")) for k in range(1, 10)]
    events = told(source, [(1.0, block()), *away, (6.0, block(40_000)), (6.02, block(40_000))])
    assert [(event.kind, event.t_s) for event in events] == [
        ("source_down", 1.5),
        ("source_up", 6.0),
        ("audio_lost", 6.02),
    ]
    assert events[0].data == {"reason": "unplugged"}
    assert events[1].data == {"after_s": 4.5}
    assert events[2].data["samples"] == 40_000


def test_what_is_lost_at_the_end_is_told_at_the_end() -> None:
    events = told(Losing({"down": 4000}), [(1.0, block(4000, "gone"))])
    assert [event.kind for event in events] == ["source_down", "audio_lost"]


@given(st.lists(st.tuples(st.integers(0, 500), st.booleans()), max_size=40))
def test_the_losses_told_add_up(steps: list[tuple[int, bool]]) -> None:
    dropped, story = 0, []
    for k, (lost, down) in enumerate(steps):
        dropped += lost
        story.append((0.5 * k, block(dropped, "away" if down else None)))
    events = told(Losing({"clock": dropped}), story)
    assert sum(event.data["samples"] for event in events if event.kind == "audio_lost") == dropped
    kinds = [event.kind for event in events if event.kind.startswith("source")]
    assert kinds == ["source_down", "source_up"] * (len(kinds) // 2) + ["source_down"] * (len(kinds) % 2)


def test_what_was_not_lost_after_all_is_no_event() -> None:
    events = told(Losing({"clock": 50}), [(1.0, block(80)), (1.1, block(80)), (1.2, block(50)), (1.3, block(90))])
    assert [event.data["total_samples"] for event in events] == [80, 90]


def test_scenes() -> None:
    changes = Changes(Losing(), lambda: "now")  # type: ignore[arg-type]
    story = [(1.0, None), (1.25, "bus"), (1.5, "bus"), (1.75, "park"), (2.0, None), (2.25, None), (2.5, "park")]
    events = [event for t_s, scene in story for event in changes.decision(decision(t_s, scene))]
    assert [(event.kind, event.t_s, dict(event.data)) for event in events] == [
        ("scene", 1.25, {"scene": "bus", "previous": None, "probability": 0.6}),
        ("scene", 1.75, {"scene": "park", "previous": "bus", "probability": 0.6}),
        ("unsure", 2.0, {"previous": "park", "top": "bus", "probability": 0.6}),
        ("scene", 2.5, {"scene": "park", "previous": None, "probability": 0.6}),
    ]


def test_the_wall_clock_is_utc_with_milliseconds() -> None:
    from datetime import datetime, timedelta, timezone

    moment = datetime.fromisoformat(utc_now())
    assert moment.utcoffset() == timedelta(0)
    assert abs(datetime.now(timezone.utc) - moment) < timedelta(minutes=1)
    assert len(utc_now()) == len("2026-01-01T00:00:00.000+00:00")
