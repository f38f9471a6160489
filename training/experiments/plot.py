"""A grid's table as a picture: every row's accuracy with its interval, own recordings and unheard ones side by side."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from ...runtime.atomic import write_file
from .cells import Plan
from .results import Key, RowResult
from .sides import INDEPENDENT, OWN, SIMULATED
from .table import shown_columns

PLOT = "plot.png"

#: What is drawn, how it is called, its mark and its colour (Okabe and Ito's, told apart by colour-blind readers too).
_MARKS: Sequence[tuple[Key, str, str, str]] = (
    ((OWN, "accuracy"), "evaluation side", "o", "#0072B2"),
    ((OWN, "unseen"), "its unseen devices", "s", "#D55E00"),
    ((SIMULATED, "accuracy"), "simulated unseen devices", "D", "#E69F00"),
    ((INDEPENDENT, "accuracy"), "independent corpus", "^", "#009E73"),
)


def draw(folder: Path, plan: Plan, results: Sequence[RowResult]) -> Path:
    """Write `plot.png` into `folder`."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = set(shown_columns(results))
    marks = [mark for mark in _MARKS if mark[0] in shown]
    step = 0.8 / len(marks)
    height = 1.6 + len(results) * max(0.34, 0.2 * len(marks))
    figure, axes = pyplot.subplots(figsize=(7.0, height), layout="constrained")
    for number, (key, name, symbol, colour) in enumerate(marks):
        there = [(place, row.estimates[key]) for place, row in enumerate(results) if key in row.estimates]
        values = [estimate.value for _, estimate in there]
        # A percentile interval need not hold the value itself: a length is never negative.
        below = [max(0.0, estimate.value - estimate.low) for _, estimate in there]
        above = [max(0.0, estimate.high - estimate.value) for _, estimate in there]
        places = [place + (number - (len(marks) - 1) / 2) * step for place, _ in there]
        axes.errorbar(
            values, places, xerr=[below, above], fmt=symbol, color=colour, markersize=5, elinewidth=1.2, capsize=2.5,
            label=name, zorder=3,
        )  # fmt: skip
        for row in results:
            if row.row.name == plan.baseline and key in row.estimates:
                axes.axvline(row.estimates[key].value, color=colour, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_yticks(range(len(results)), [_label(row, plan) for row in results])
    axes.set_ylim(len(results) - 0.5, -0.5)
    for edge in range(1, len(results)):
        axes.axhline(edge - 0.5, color="0.92", linewidth=0.8, zorder=0)
    axes.set_xlabel("accuracy of 1-s snippets, 95 % interval")
    axes.grid(axis="x", color="0.9", linewidth=0.6, zorder=0)
    axes.tick_params(axis="y", length=0)
    for spine in ("top", "right", "left"):
        axes.spines[spine].set_visible(False)
    figure.suptitle(textwrap.fill(plan.question, 84), x=0.01, ha="left", fontsize=10)
    if len(marks) > 1:
        figure.legend(loc="outside lower right", ncols=len(marks), frameon=False, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    pyplot.close(figure)
    write_file(folder / PLOT, buffer.getvalue())
    return folder / PLOT


def _label(row: RowResult, plan: Plan) -> str:
    name = textwrap.fill(row.row.name, 30)
    return f"{name}\n(baseline)" if row.row.name == plan.baseline else name
