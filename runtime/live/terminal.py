"""The live view in a terminal: the decision, a bar a scene, level, latency and what was lost."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..events.event import Event
from ..stream.decision import Decision
from ..stream.meters import Meters

#: Redraws a second at most; decisions may come faster than a terminal (over ssh) can take.
REFRESH_HZ = 10.0

BAR_WIDTH = 32
_EIGHTHS = " ▏▎▍▌▋▊▉"


class LiveView:
    """An observer that redraws one place of the terminal with the latest decision."""

    def __init__(self, title: str, labels: tuple[str, ...], console: Console | None = None) -> None:
        self._title, self._labels = title, labels
        self._live = Live(
            Panel(Text("listening ...", style="dim"), title=title, title_align="left"),
            console=console or Console(),
            auto_refresh=False,
        )
        self._drawn_s = float("-inf")
        self._latest: RenderableType | None = None
        self._live.start(refresh=True)

    def frames(self, frames: NDArray[np.float32]) -> None:
        """Not shown."""

    def event(self, event: Event) -> None:
        """A source that is away is shown until it is back."""
        if event.kind == "source_down":
            away = Text(f"no audio: {event.data['reason']}", style="bold red")
            self._live.update(Panel(away, title=self._title, title_align="left"), refresh=True)

    def close(self) -> None:
        """Leave the last decision on the screen."""
        if self._latest is not None:
            self._live.update(self._latest, refresh=True)
        self._live.stop()

    def decision(self, decision: Decision, meters: Meters) -> None:
        """Show `decision`, unless the last redraw was less than 1 / `REFRESH_HZ` s ago."""
        now = time.perf_counter()
        if now - self._drawn_s >= 1 / REFRESH_HZ:
            self._drawn_s = now
            self._latest = None
            self._live.update(self._render(decision, meters), refresh=True)
        else:
            self._latest = self._render(decision, meters)

    def _render(self, decision: Decision, meters: Meters) -> RenderableType:
        return Panel(
            Group(headline(decision), Text(), bars(decision, self._labels), Text(), footer(decision, meters)),
            title=self._title,
            title_align="left",
        )


def headline(decision: Decision) -> Text:
    """The scene decided on, or the likeliest one with a question mark."""
    if decision.scene is None:
        return Text.assemble((f"{decision.top}?", "bold yellow"), (f"   unsure at {decision.t_s:.2f} s", "dim"))
    return Text.assemble((decision.scene, "bold green"), (f"   {decision.state} at {decision.t_s:.2f} s", "dim"))


def bars(decision: Decision, labels: tuple[str, ...]) -> Table:
    """A line a scene, always in the same order: name, bar in eighths of a cell, probability."""
    table = Table.grid(padding=(0, 1))
    for label in labels:
        probability = decision.probabilities[label]
        style = "green" if label == decision.scene else "cyan" if label == decision.top else "dim"
        eighths = round(probability * BAR_WIDTH * 8)
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        table.add_row(Text(label, style), Text(f"{bar:<{BAR_WIDTH}}", style), Text(f"{probability:4.2f}", style))
    return table


def footer(decision: Decision, meters: Meters) -> Text:
    """Level, latency, load and losses; a loss is red."""
    latency = meters.stages["latency"].percentiles()
    dropped = f"dropped {decision.dropped_samples:,}"
    return Text.assemble(
        (f"level {decision.level_dbfs:.0f} dBFS   ", "dim"),
        (f"latency p50 {latency.p50_ms:.1f} p99 {latency.p99_ms:.1f} ms   ", "dim"),
        (f"load {100 * meters.real_time_factor:.1f} %   ", "dim"),
        (dropped, "bold red" if decision.dropped_samples else "dim"),
    )
