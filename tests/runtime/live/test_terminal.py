"""The terminal view, drawn into memory and read as a person would."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from tinyscene.runtime.live import terminal as view
from tinyscene.runtime.stream.decision import Decision
from tinyscene.runtime.stream.meters import Meters

LABELS = ("airport", "bus", "park")


def decision(scene: str | None = "bus", dropped: int = 0, bus: float = 0.75) -> Decision:
    return Decision(
        t_s=12.5,
        scene=scene,
        state="unsure" if scene is None else "held",
        top="bus",
        probability=bus,
        probabilities={"airport": 1 - bus, "bus": bus, "park": 0.0},
        latency_ms=3.2,
        dropped_samples=dropped,
        level_dbfs=-31.4,
        lost_share=0.0,
    )


def draw(*shown: Decision, width: int = 80) -> str:
    """What stands on the terminal after the decisions, without colours and cursor movements."""
    meters = Meters()
    meters.record_latency(0.0032)
    meters.audio_s, meters.busy_s = 10.0, 0.25
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, height=30, color_system=None)
    live = view.LiveView("bands - mic", LABELS, console)
    for each in shown:
        live.decision(each, meters)
    live.close()
    return re.split(r"(?=╭)", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()))[-1]


def test_shows_decision_bars_latency_load_and_level() -> None:
    text = draw(decision())
    assert re.search(r"bands - mic", text)
    assert re.search(r"│ bus   held at 12\.50 s", text)
    order = [re.search(rf"│ {label} .*{value}", text) for label, value in (("airport", "0.25"), ("bus", "0.75"))]
    assert all(order)
    assert re.search(r"level -31 dBFS +latency p50 3\.2 p99 3\.2 ms +load 2\.5 % +dropped 0", text)


@pytest.mark.parametrize("bus", [0.0, 0.01, 0.5, 0.75, 0.99, 1.0])
def test_bars_are_as_long_as_their_probabilities(bus: float) -> None:
    line = next(
        line for line in draw(decision(bus=bus)).splitlines() if line.startswith("│ bus  ") and "held" not in line
    )
    bar = re.sub(r"[^█▏▎▍▌▋▊▉]", "", line)
    eighths = sum(8 if cell == "█" else 1 + "▏▎▍▌▋▊▉".index(cell) for cell in bar)
    assert eighths == round(bus * 8 * view.BAR_WIDTH)


def test_an_unsure_decision_shows_the_likeliest_with_a_question_mark() -> None:
    assert re.search(r"│ bus\?   unsure at 12\.50 s", draw(decision(scene=None)))


def test_losses_are_shown() -> None:
    assert "dropped 12,345" in draw(decision(dropped=12_345))


def test_the_last_decision_is_left_standing_however_fast_they_came() -> None:
    assert "dropped 99" in draw(*(decision(dropped=n) for n in range(100)))


def test_a_narrow_terminal_is_not_a_crash() -> None:
    assert "bus" in draw(decision(), width=30)
