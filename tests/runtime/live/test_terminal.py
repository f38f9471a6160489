"""The terminal view, drawn into memory and read as a person would."""

from __future__ import annotations

import io
import re
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tinyscene.runtime.events.event import Event
from tinyscene.runtime.frontend_spec import FrontendSpec
from tinyscene.runtime.live import board as view
from tinyscene.runtime.live.board import Board
from tinyscene.runtime.live.terminal import LiveView
from tinyscene.runtime.machine.state import MachineState
from tinyscene.runtime.machine.throttle import Throttle
from tinyscene.runtime.stream.decision import Decision
from tinyscene.runtime.stream.meters import Meters

LABELS = ("airport", "bus", "park")
TEN = tuple(f"scene_number_{number}" for number in range(10))
SPEC = FrontendSpec()
LOW = ("truecolor", 80, 15, False)
SOUND = np.zeros((SPEC.n_mels, 64), np.float32)


def decision(
    scene: str | None = "bus", dropped: int = 0, bus: float = 0.75, labels: tuple[str, ...] = LABELS
) -> Decision:
    return Decision(
        t_s=12.5,
        scene=scene,
        state="unsure" if scene is None else "held",
        top=labels[1],
        probability=bus,
        probabilities=dict.fromkeys(labels, 0.0) | {labels[0]: 1 - bus, labels[1]: bus},
        latency_ms=3.2,
        dropped_samples=dropped,
        level_dbfs=-31.4,
        lost_share=0.0,
    )


def meters() -> Meters:
    made = Meters()
    made.record_latency(0.0032)
    made.audio_s, made.busy_s = 10.0, 0.25
    return made


def machine(temperature_c: float | None = None, throttle: Throttle | None = None) -> MachineState:
    return MachineState("2026-01-01T00:00:00Z", None, None, temperature_c, throttle)


def board(state: MachineState | None = None, labels: tuple[str, ...] = LABELS) -> Board:
    return Board("bands - mic", labels, SPEC, lambda: state or machine())


def lines(drawn: Board, width: int = 80, height: int = 29, strip: bool = True) -> list[str]:
    """What the board puts on a terminal, without colours."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(drawn.render(width, height, strip))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().splitlines()


def text(drawn: Board, width: int = 80, height: int = 29) -> str:
    return "\n".join(lines(drawn, width, height))


def shown(*decisions: Decision, state: MachineState | None = None) -> Board:
    made = board(state)
    for one in decisions:
        made.decision(one, meters())
    return made


def test_shows_decision_bars_latency_load_and_level() -> None:
    drawn = text(shown(decision()))
    assert "bands - mic" in drawn
    assert re.search(r"│ bus   held at 12\.50 s", drawn)
    order = [re.search(rf"│ {label} .*{value}", drawn) for label, value in (("airport", "0.25"), ("bus", "0.75"))]
    assert all(order)
    assert re.search(r"level -31 dBFS +latency p50 3\.2 p99 3\.2 ms +load 2\.5 % +dropped 0", drawn)


@pytest.mark.parametrize("bus", [0.0, 0.01, 0.5, 0.75, 0.99, 1.0])
@pytest.mark.parametrize("width", [40, 60, 80])
def test_bars_are_as_long_as_their_probabilities(bus: float, width: int) -> None:
    drawn = lines(shown(decision(bus=bus)), width)
    line = next(line for line in drawn if line.startswith("│ bus  ") and "held" not in line)
    bar = re.sub(r"[^█▏▎▍▌▋▊▉]", "", line)
    eighths = sum(8 if cell == "█" else 1 + "▏▎▍▌▋▊▉".index(cell) for cell in bar)
    # Two borders with a space each, the longest name, two spaces, a probability of four characters.
    assert eighths == round(bus * 8 * (width - 4 - len("airport") - 2 - 4))


def test_an_unsure_decision_shows_the_likeliest_with_a_question_mark() -> None:
    assert re.search(r"│ bus\?   unsure at 12\.50 s", text(shown(decision(scene=None))))


def test_losses_are_shown() -> None:
    assert "dropped 12,345" in text(shown(decision(dropped=12_345)))


def test_a_title_is_no_markup() -> None:
    made = Board("[red]x[/nothing]", LABELS, SPEC, machine)
    assert "[red]x[/nothing]" in text(made)


def test_a_source_that_is_away_is_told_until_it_is_back() -> None:
    made = shown(decision())
    made.event(Event("source_down", 13.0, "now", {"reason": "unplugged"}))
    drawn = text(made)
    assert re.search(r"│ no audio   since 13\.00 s", drawn)
    assert "source away: unplugged" in drawn
    assert "held at" not in drawn
    made.event(Event("source_up", 15.0, "now", {"after_s": 2.0}))
    assert "unplugged" not in text(made)
    assert "held at" in text(made)


def test_the_foot_tells_what_the_machine_tells() -> None:
    hot = machine(81.6, Throttle(under_voltage=True, throttled=True))
    assert re.search(r"82 °C[ │\n]+held back: under-voltage, throttled", text(shown(decision(), state=hot)))
    assert "°C" not in text(shown(decision()))
    past = shown(decision())
    past.event(Event("throttled", 9.0, "now", {"flags": ["throttled"], "temperature_c": None}))
    assert "was held back at 9 s: throttled" in text(past)


def test_the_machine_is_looked_at_every_five_seconds_at_most() -> None:
    now, looks = 100.0, []
    made = Board("t", LABELS, SPEC, lambda: looks.append(now) or machine(), lambda: now)
    for step in range(60):
        now = 100.0 + step / 4
        text(made)
    assert looks == [100.0, 105.0, 110.0]


@given(st.integers(10, 140), st.integers(3, 50), st.integers(1, 30), st.booleans(), st.booleans())
def test_it_keeps_to_the_terminal_and_never_loses_the_decision(
    width: int, height: int, scenes: int, away: bool, strip: bool
) -> None:
    labels = tuple(f"scene{number}" for number in range(max(2, scenes)))
    made = board(machine(70.0, Throttle(capped=True)), labels)
    made.frames(SOUND)
    made.decision(decision(labels[1], labels=labels), meters())
    if away:
        made.event(Event("source_down", 13.0, "now", {"reason": "unplugged " * 9}))
    drawn = lines(made, width, height, strip)
    assert len(drawn) <= height
    assert {len(line) for line in drawn} == {min(width, view.MAX_WIDTH)}
    assert ("no au" if away else "sce") in "".join(drawn)
    blocks = sum("▀" in line for line in drawn)
    assert blocks == 0 or (strip and view.LEAST_ROWS <= blocks <= view.ROWS)
    bars = sum(bool(re.search(r"[01]\.\d\d *│$", line)) for line in drawn)
    assert width < 20 or bars == len(labels) or not blocks  # no strip at the expense of bars


@pytest.mark.parametrize(
    ("width", "height", "rows"), [(80, 24, 8), (60, 24, 8), (30, 24, 7), (200, 60, 8), (80, 15, 0)]
)
def test_the_strip_takes_the_room_that_ten_scenes_leave(width: int, height: int, rows: int) -> None:
    made = board(labels=TEN)
    made.frames(SOUND)
    made.decision(decision(TEN[1], labels=TEN), meters())
    assert sum("▀" in line for line in lines(made, width, height - 1)) == rows


def test_too_many_scenes_leave_the_likeliest_in_their_order() -> None:
    made = board(labels=TEN)
    made.decision(decision(TEN[1], labels=TEN, bus=0.6), meters())
    drawn = "\n".join(lines(made, 80, 6))
    assert re.search(r"scene_number_0 .*0\.40 │\n│ scene_number_1 .*0\.60 │", drawn)
    assert "scene_number_2" not in drawn


def terminal(file: io.StringIO, colours: str | None = "truecolor", width: int = 80, height: int = 30) -> Console:
    return Console(file=file, force_terminal=True, width=width, height=height, color_system=colours)  # type: ignore[arg-type]


def left_standing(file: io.StringIO) -> str:
    return re.split(r"(?=╭)", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()))[-1]


@pytest.mark.parametrize(
    ("colours", "width", "height", "wanted"),
    [("truecolor", 80, 30, True), ("256", 60, 24, True), ("standard", 80, 30, False), (None, 80, 30, False), LOW],
)
def test_frames_are_wanted_where_there_is_room_and_colour(
    colours: str | None, width: int, height: int, wanted: bool
) -> None:
    file = io.StringIO()
    live = LiveView("t", TEN, SPEC, terminal(file, colours, width, height))
    assert live.wants_frames is wanted
    live.frames(SOUND)
    live.decision(decision(TEN[1], labels=TEN), meters())
    live.close()
    assert ("▀" in file.getvalue()) is wanted


def test_without_colour_there_is_no_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    live = LiveView("t", LABELS, SPEC, terminal(io.StringIO()))
    live.close()
    assert not live.wants_frames


def test_the_last_decision_is_left_standing_however_fast_they_came() -> None:
    file = io.StringIO()
    live = LiveView("bands - mic", LABELS, SPEC, terminal(file))
    for count in range(100):
        live.frames(SOUND)
        live.decision(decision(dropped=count), meters())
    live.close()
    assert "dropped 99" in left_standing(file)
    assert file.getvalue().count("bands - mic") < 100


class Stuck(io.StringIO):
    """A terminal that takes nothing between `hold` and `release`."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.reached = threading.Event(), threading.Event()
        self.open.set()

    def write(self, what: str) -> int:
        if not self.open.is_set():
            self.reached.set()
            self.open.wait()
        return super().write(what)


def test_a_terminal_that_takes_nothing_does_not_stop_who_listens() -> None:
    file = Stuck()
    live = LiveView("bands - mic", LABELS, SPEC, terminal(file))
    file.open.clear()
    live.decision(decision(), meters())
    assert file.reached.wait(60)
    for count in range(5000):  # would never end if drawing were waited for
        live.frames(SOUND)
        live.decision(decision(dropped=count), meters())
    file.open.set()
    live.close()
    assert "dropped 4,999" in left_standing(file)


class Gone(io.StringIO):
    """A terminal that is no more after `gone` is set."""

    gone = False

    def write(self, what: str) -> int:
        if self.gone:
            raise OSError(5, "Input/output error")
        return super().write(what)


def test_a_terminal_that_is_gone_ends_the_drawing_and_nothing_else() -> None:
    file = Gone()
    live = LiveView("bands - mic", LABELS, SPEC, terminal(file))
    file.gone = True
    live.decision(decision(), meters())
    live._thread.join(60)
    assert not live._thread.is_alive()
    live.decision(decision(), meters())
    live.close()
