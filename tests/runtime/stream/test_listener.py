"""Those who are told while a stream listens: in which order, whatever ends it, and whatever they do."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyscene.runtime.errors import InputError, UnavailableError
from tinyscene.runtime.events.event import Event
from tinyscene.runtime.frontend import log_mel
from tinyscene.runtime.frontend_spec import FrontendSpec
from tinyscene.runtime.machine.state import MachineState
from tinyscene.runtime.machine.throttle import Throttle
from tinyscene.runtime.machine.watch import MachineWatch
from tinyscene.runtime.sources.source import Block
from tinyscene.runtime.stream.decision import Decision
from tinyscene.runtime.stream.limit import up_to
from tinyscene.runtime.stream.listener import Listened, listen, watch
from tinyscene.runtime.stream.meters import Meters
from tinyscene.runtime.stream.observer import StopListening
from tinyscene.runtime.stream.smoothing import Thresholds
from tinyscene.runtime.stream.stream import SceneStream, StreamSettings

SPEC = FrontendSpec(
    sample_rate_hz=8000, clip_samples=4000, n_fft=256, win_length=200, hop_length=100, n_mels=16, fmax_hz=4000
)
WAVE = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
BLOCKS = [Block(WAVE[start : start + 160], 0.0) for start in range(0, len(WAVE), 160)]


class Sure:
    """Decides on the first scene in the first half of its windows, then on the second."""

    name = "sure"

    def __init__(self) -> None:
        self.windows = 0

    def logits(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        self.windows += 1
        return np.array([9.0, 0.0] if self.windows <= 15 else [0.0, 9.0], np.float32)

    def run_int8(self, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
        raise NotImplementedError


@dataclass
class Playing:
    """Blocks from memory; `error` is raised after them."""

    waiting: list[Block]
    error: BaseException | None = None
    losses: dict[str, int] = field(default_factory=dict)
    sample_rate_hz: int = 8000
    name: str = "playing"
    closed: bool = False

    def blocks(self) -> Generator[Block, None, None]:
        try:
            yield from self.waiting
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


class Told:
    """An observer, and a sink, that remembers."""

    name = "told"
    undelivered = 0

    def __init__(self, wrong: Callable[[], None] = lambda: None) -> None:
        self.heard: list[Any] = []
        self.frames_seen: list[NDArray[np.float32]] = []
        self._wrong = wrong

    def frames(self, frames: NDArray[np.float32]) -> None:
        self.frames_seen.append(frames)

    def decision(self, decision: Decision, meters: Meters) -> None:
        self.heard.append(decision)
        self._wrong()

    def event(self, event: Event) -> None:
        self.heard.append(event)

    emit = event

    def close(self) -> None:
        self.heard.append("closed")


def stream() -> SceneStream:
    return SceneStream(SPEC, ("a", "b"), Sure(), 8000, StreamSettings(hop_ms=50.0, smoothing_s=0.0))


def kinds(heard: list[Any]) -> list[str]:
    return [item.kind if isinstance(item, Event) else item if isinstance(item, str) else "-" for item in heard]


def test_the_iterator_gives_decisions_and_events_in_order() -> None:
    items = list(watch(Playing(BLOCKS), stream(), now=lambda: "now"))
    assert kinds(items) == ["-", "scene", *["-"] * 15, "scene", *["-"] * 15]
    change = items[17]
    assert change == Event("scene", items[16].t_s, "now", change.data)
    assert change.data == {"scene": "b", "previous": "a", "probability": pytest.approx(0.99988, abs=1e-5)}


def test_closing_the_iterator_releases_the_source() -> None:
    source = Playing(BLOCKS)
    running = watch(source, stream())
    next(running)
    assert not source.closed
    running.close()
    assert source.closed


def test_losses_and_absences_come_with_the_decisions() -> None:
    nothing = np.empty(0, np.float32)
    late = [Block(block.samples, 0.0, 12_000) for block in BLOCKS]
    source = Playing([*BLOCKS, Block(nothing, 0.0, 8000, "unplugged"), *late], losses={"down": 12_000})
    listened = stream()
    items = list(watch(source, listened))
    told = [(item.kind, round(item.t_s, 2)) for item in items if isinstance(item, Event) and item.kind != "scene"]
    assert told == [("source_down", 3.0), ("source_up", 3.52), ("audio_lost", 3.54)]
    assert listened.time_s == 5.5
    assert [item.t_s for item in items if isinstance(item, Decision)][-1] == 5.5


def test_a_machine_that_throttles_is_told() -> None:
    looked = threading.Event()
    states = iter([False, True])

    def read() -> MachineState:
        throttled = next(states, True)
        if throttled:
            looked.set()
        return MachineState(
            "now", None, None, 85.0, Throttle(throttled, False, False, False, throttled, False, False, False)
        )

    class Waiting(Playing):
        def blocks(self) -> Generator[Block, None, None]:
            yield from self.waiting[:50]
            assert looked.wait(10)
            deadline = time.monotonic() + 10
            while not told and time.monotonic() < deadline:
                yield Block(np.empty(0, np.float32), 0.0)
            yield from self.waiting[50:]

    told: list[Event] = []
    machine = functools.partial(MachineWatch, interval_s=0.001, read=read)
    for item in watch(Waiting(BLOCKS), stream(), machine_watch=machine):
        if isinstance(item, Event) and item.kind == "throttled":
            told.append(item)
    assert len(told) == 1
    assert told[0].data["temperature_c"] == 85.0
    assert any("voltage" in flag for flag in told[0].data["flags"])
    # The machine is looked at in a thread of its own, from the first block on, and not after the fiftieth.
    assert 0.0 <= told[0].t_s <= 1.0


def test_everyone_is_told_everything_between_started_and_stopped() -> None:
    observer, sink = Told(), Told()
    ended = listen(
        Playing(BLOCKS), stream(), [observer], [sink], about={"bundle": "b", "engine": "e"}, now=lambda: "now"
    )
    assert ended == Listened(decisions=31, interrupted=False, observer_errors=0)
    assert kinds(observer.heard) == ["started", "-", "scene", *["-"] * 15, "scene", *["-"] * 15, "stopped", "closed"]
    assert kinds(sink.heard) == ["started", "scene", "scene", "stopped", "closed"]
    assert sink.heard[0].data == {"source": "playing", "hop_ms": 50.0, "bundle": "b", "engine": "e"}
    assert sink.heard[-2].data == {"audio_s": 2.0, "decisions": 31, "dropped_samples": 0}
    assert sink.heard[-2].t_s == 2.0
    np.testing.assert_array_equal(np.concatenate(observer.frames_seen, axis=1), log_mel(WAVE, SPEC))


def test_where_nobody_wants_frames_none_are_copied() -> None:
    listened = stream()
    blind = Told()
    blind.wants_frames = False  # type: ignore[attr-defined]
    listen(Playing(BLOCKS), listened, [blind], [Told()])
    assert listened.on_frames is None
    assert blind.frames_seen == []
    assert kinds(blind.heard).count("-") == 31


@pytest.mark.parametrize("stop", [KeyboardInterrupt, StopListening])
def test_an_interruption_ends_in_good_order(stop: type[BaseException]) -> None:
    def interrupt() -> None:
        if len(observer.heard) > 10:
            raise stop

    observer, sink, source = Told(interrupt), Told(), Playing(BLOCKS)
    ended = listen(source, stream(), [observer], [sink])
    assert ended.interrupted
    assert source.closed
    assert kinds(sink.heard) == ["started", "scene", "stopped", "closed"]
    assert kinds(observer.heard)[-2:] == ["stopped", "closed"]
    assert sink.heard[-2].data["decisions"] == ended.decisions == len([k for k in kinds(observer.heard) if k == "-"])


@pytest.mark.parametrize("error", [UnavailableError("the microphone is gone"), KeyboardInterrupt()])
def test_a_source_that_fails_is_reported_after_everyone_was_told(error: BaseException) -> None:
    sink = Told()
    source = Playing(BLOCKS, error)
    if isinstance(error, KeyboardInterrupt):
        assert listen(source, stream(), [], [sink]).interrupted
    else:
        with pytest.raises(UnavailableError, match="is gone"):
            listen(source, stream(), [], [sink])
    assert kinds(sink.heard) == ["started", "scene", "scene", "stopped", "closed"]


def test_an_observer_that_fails_disturbs_nobody_and_is_logged_once() -> None:
    def wrong() -> None:
        raise ValueError("out of paper")

    failing, observer, logged = Told(wrong), Told(), list[str]()
    ended = listen(Playing(BLOCKS), stream(), [failing, observer], log=logged.append)
    assert (ended.decisions, ended.observer_errors, ended.interrupted) == (31, 31, False)
    assert kinds(observer.heard).count("-") == 31
    assert logged == ["told failed (ValueError: out of paper); listening goes on, this is said once"]
    assert kinds(failing.heard).count("-") == 31  # it may recover


def test_thresholds_and_smoothing_change_while_listening() -> None:
    """From a thread of their own; the next decision follows them."""
    listened = stream()
    running: Iterator[Decision] = (item for item in watch(Playing(BLOCKS), listened) if isinstance(item, Decision))
    assert next(running).scene == "a"

    def change() -> None:
        listened.thresholds = Thresholds(1.0, 1.0)
        listened.smoothing_s = 0.5

    changing = threading.Thread(target=change)
    changing.start()
    changing.join()
    assert next(running).state == "unsure"  # softmax of 9 to 0 is 0.9999
    for _ in range(13):
        next(running)
    # The sixteenth window is the first of the other scene: with a time constant of ten steps it weighs about a tenth.
    decision = next(running)
    assert 0.05 < decision.probabilities["b"] < 0.2
    assert (listened.thresholds, listened.smoothing_s) == (Thresholds(1.0, 1.0), 0.5)


def test_impossible_changes_are_refused_at_once() -> None:
    listened = stream()
    with pytest.raises(InputError, match="smoothing over -1 s"):
        listened.smoothing_s = -1
    with pytest.raises(InputError, match="expected Thresholds"):
        listened.thresholds = (0.5, 0.3)  # type: ignore[assignment]
    assert listened.smoothing_s == 0.0
    with pytest.raises(InputError, match="largest lost share"):
        StreamSettings(max_lost_share=1.0)


def test_a_duration_is_of_the_clock() -> None:
    """Lost samples count, so a microphone that is away does not keep the program from ending."""
    nothing = np.empty(0, np.float32)
    away = [Block(nothing, 0.0, 4000 * k, "away") for k in range(1, 100)]
    cut = list(up_to(Playing([*BLOCKS, *away]), 4.2))
    assert cut[-1].dropped == round(2.2 * 8000)
    assert sum(len(block.samples) for block in cut) == 16_000
    cut = list(up_to(Playing([BLOCKS[0], Block(BLOCKS[1].samples, 0.0, 100)]), 0.04))
    assert [(len(block.samples), block.dropped) for block in cut] == [(160, 0), (60, 100)]
    cut = list(up_to(Playing([BLOCKS[0], Block(BLOCKS[1].samples, 0.0, 1000)]), 0.04))
    assert [(len(block.samples), block.dropped) for block in cut] == [(160, 0), (0, 160)]
    for duration_s in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="duration is"):
            up_to(Playing([]), duration_s)
