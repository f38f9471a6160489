"""What the terminal shows: sound, the decision, a bar a scene, and how the machine and the source are."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from ..events.event import Event
from ..frontend_spec import FrontendSpec
from ..machine.state import MachineState, read_state
from ..stream.decision import Decision
from ..stream.meters import Meters
from .strip import LEAST_ROWS, ROWS, Strip

#: A wider terminal is not filled: every cell of the strip has to be sent each time.
MAX_WIDTH = 100

#: Time between two looks at the machine.
MACHINE_S = 5.0

_BORDER = 2  # lines, and with a space beside it also columns: half of what the panel takes on either side
_EIGHTHS = " ▏▎▍▌▋▊▉"


class Board:
    """An observer that keeps the latest of everything and draws it for any size of terminal."""

    def __init__(
        self,
        title: str,
        labels: tuple[str, ...],
        spec: FrontendSpec,
        read_machine: Callable[[], MachineState] = read_state,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read_machine` and `clock` (seconds) stand in for the machine's in tests."""
        self._title, self._labels, self._spec = title, labels, spec
        self._read_machine, self._clock = read_machine, clock
        self._strip = Strip(spec)
        self._decision: Decision | None = None
        self._meters: Meters | None = None
        self._away: Event | None = None
        self._throttled: Event | None = None
        self._machine: MachineState | None = None
        self._looked_s = float("-inf")

    def frames(self, frames: NDArray[np.float32]) -> None:
        """Take frames (n_mels, k) for the strip."""
        self._strip.push(frames)

    def decision(self, decision: Decision, meters: Meters) -> None:
        """Take the latest decision."""
        self._decision, self._meters = decision, meters

    def event(self, event: Event) -> None:
        """A source that is away stays so until it is back; the last throttling is remembered."""
        if event.kind in ("source_down", "source_up"):
            self._away = event if event.kind == "source_down" else None
        elif event.kind == "throttled":
            self._throttled = event

    def close(self) -> None:
        """Nothing is held."""

    def render(self, width: int, height: int, strip: bool = True) -> RenderableType:
        """The panel for a terminal of `width` columns and `height` lines, no larger than that; `strip` where wanted."""
        width = min(width, MAX_WIDTH)
        inside = max(1, width - 2 * _BORDER)
        foot = self._foot(inside)[: max(0, height - _BORDER - 1)]
        # What is needed comes first: the decision, the foot, the bars; then the strip, then air between them.
        room = height - _BORDER - 1 - len(foot)
        shown = self._shown(max(0, room))
        room -= len(shown)
        rows = min(ROWS, room) if strip and room >= LEAST_ROWS else 0
        air = [Text()] if room - rows >= 3 else []
        body: list[RenderableType] = [self._strip.picture(inside, rows), *air] if rows else []
        body += [headline(self._decision, self._away), *air]
        if shown and self._decision is not None:
            body += bars(self._decision, shown, inside, dim=self._away is not None)
        spec, seconds = self._spec, inside * self._strip.column_s
        about = f"{seconds:.0f} s of sound, {spec.fmin_hz:g} to {spec.fmax_hz:g} Hz" if rows else None
        return Panel(
            Group(*body, *air, *foot),
            title=Text(self._title, overflow="ellipsis"),
            title_align="left",
            subtitle=None if about is None else Text(about, style="dim"),
            subtitle_align="right",
            width=width,
        )

    def rows(self, width: int, height: int) -> int:
        """Rows of the strip in a terminal of that size once every scene has its bar; 0 where there is no room."""
        room = height - _BORDER - 1 - len(self._foot(min(width, MAX_WIDTH) - 2 * _BORDER)) - len(self._labels)
        return min(ROWS, room) if room >= LEAST_ROWS else 0

    def _shown(self, count: int) -> tuple[str, ...]:
        """The labels, or of more than `count` the likeliest, always in the same order."""
        if len(self._labels) <= count or self._decision is None:
            return self._labels[:count]
        chances = self._decision.probabilities
        likeliest = sorted(self._labels, key=lambda label: -chances[label])[:count]
        return tuple(label for label in self._labels if label in likeliest)

    def _foot(self, width: int) -> list[Text]:
        now = self._clock()
        if now - self._looked_s >= MACHINE_S:
            self._looked_s, self._machine = now, self._read_machine()
        parts = health(self._machine, self._throttled)
        if self._decision is not None and self._meters is not None:
            parts = [*figures(self._decision, self._meters), *parts]
        if self._away is not None:
            parts = [(f"source away: {self._away.data['reason']}", "bold red"), *parts]
        return packed(parts, width)


def headline(decision: Decision | None, away: Event | None) -> Text:
    """The scene decided on, or the likeliest one with a question mark; nothing of either while no sound comes."""
    if away is not None:
        line = Text.assemble(("no audio", "bold red"), (f"   since {away.t_s:.2f} s", "dim"))
    elif decision is None:
        line = Text("listening ...", "dim")
    elif decision.scene is None:
        line = Text.assemble((f"{decision.top}?", "bold yellow"), (f"   unsure at {decision.t_s:.2f} s", "dim"))
    else:
        line = Text.assemble((decision.scene, "bold green"), (f"   {decision.state} at {decision.t_s:.2f} s", "dim"))
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def bars(decision: Decision, labels: tuple[str, ...], width: int, dim: bool = False) -> list[Text]:
    """A line a scene: name, bar in eighths of a cell, probability; `width` columns in all."""
    names = min(max(map(cell_len, labels), default=0), width // 2)
    length = bar_length(names, width)
    lines = []
    for label in labels:
        probability = decision.probabilities[label]
        style = "dim" if dim else "green" if label == decision.scene else "cyan" if label == decision.top else "dim"
        eighths = round(probability * length * 8)
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        # A line is one text: a table would measure every cell ten times a second.
        line = f"{set_cell_size(label, names)} {bar:<{length}} {probability:4.2f}"
        lines.append(Text(line, style, no_wrap=True, overflow="crop"))
    return lines


def bar_length(names: int, width: int) -> int:
    """Cells of a certain scene's bar beside names of `names` cells."""
    return max(1, width - names - len(" " + " 0.00"))


def figures(decision: Decision, meters: Meters) -> list[tuple[str, str]]:
    """Level, latency, load and losses, each with its style; a loss is red."""
    latency = meters.stages["latency"].percentiles()
    return [
        (f"level {decision.level_dbfs:.0f} dBFS", "dim"),
        (f"latency p50 {latency.p50_ms:.1f} p99 {latency.p99_ms:.1f} ms", "dim"),
        (f"load {100 * meters.real_time_factor:.1f} %", "dim"),
        (f"dropped {decision.dropped_samples:,}", "bold red" if decision.dropped_samples else "dim"),
    ]


def health(machine: MachineState | None, throttled: Event | None) -> list[tuple[str, str]]:
    """The processor's temperature and what holds it back, where the machine tells."""
    parts = []
    if machine is not None and machine.temperature_c is not None:
        parts.append((f"{machine.temperature_c:.0f} °C", "dim"))
    if machine is not None and machine.throttle is not None and machine.throttle.flags:
        parts.append((f"held back: {', '.join(machine.throttle.flags)}", "bold red"))
    elif throttled is not None:
        parts.append((f"was held back at {throttled.t_s:.0f} s: {', '.join(throttled.data['flags'])}", "yellow"))
    return parts


def packed(parts: list[tuple[str, str]], width: int) -> list[Text]:
    """The parts on as few lines of `width` columns as they need, in their order; a part too long is cut."""
    lines: list[Text] = []
    for part in (Text(*part, no_wrap=True, overflow="ellipsis") for part in parts):
        if lines and lines[-1].cell_len + 3 + part.cell_len <= width:
            lines[-1].append("   ").append_text(part)
        else:
            lines.append(part)
    return lines
