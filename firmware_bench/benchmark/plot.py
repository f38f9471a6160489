"""The benchmark as a picture: instructions and memory of each target, other tools beside them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from ...runtime.atomic import write_file
from ...runtime.errors import require
from .baselines import Baseline
from .measure import Cost

_PARTS = (("arena", "#1b6ca8"), ("front end", "#6fb1d9"), ("stack", "#c7dfef"))
_FLASH = (("weights", "#7a4f9a"), ("tables", "#b08cc9"), ("code", "#e0d0ec"))


def plot(path: Path, name: str, costs: Sequence[Cost], baselines: Sequence[Baseline]) -> None:
    """Write the picture to `path` (.svg or .png), whole or not at all."""
    require("matplotlib", "firmware")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.6 + 0.55 * max(3, len(costs))), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    labels = [cost.target.key for cost in costs]
    _instructions(left, costs, baselines)
    _stacked(middle, labels, _PARTS, [_ram(cost) for cost in costs], "RAM, KiB")
    flash = [(cost.weights_bytes, cost.tables_bytes, cost.code_bytes) for cost in costs]
    _stacked(right, labels, _FLASH, flash, "flash, KiB")
    exact = all(cost.parity.differing_bytes == 0 for cost in costs)
    verdict = "every byte as LiteRT's reference kernels" if exact else "NOT the bytes of LiteRT's reference kernels"
    figure.suptitle(f"{name}: one inference, {verdict}")
    picture = io.BytesIO()
    figure.savefig(
        picture, format=path.suffix[1:] or "svg", dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None
    )
    write_file(path, picture.getvalue())


def _ram(cost: Cost) -> tuple[int, int, int]:
    return (cost.arena_bytes, 0 if cost.listening is None else cost.listening.ram_bytes, cost.stack_bytes or 0)


def _instructions(axes: object, costs: Sequence[Cost], baselines: Sequence[Baseline]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    ours = [(cost.instructions or 0) / 1e6 for cost in costs]
    places = list(range(len(costs)))
    axes.barh(places, ours, 0.36, color="#1b6ca8", label="tinyscene")
    for place, value in zip(places, ours, strict=True):
        axes.annotate(f" {value:.1f}", (value, place), va="center", fontsize=8)
    best: dict[str, int] = {}
    for other in baselines:
        if other.instructions:
            best[other.target] = min(other.instructions, best.get(other.target, other.instructions))
    theirs = [(place, best[cost.target.key] / 1e6) for place, cost in enumerate(costs) if cost.target.key in best]
    if theirs:
        places_of, values = zip(*theirs, strict=True)
        axes.barh([place + 0.36 for place in places_of], values, 0.3, color="#c8c8c8", label="bakenn, its best")
        for place, value in theirs:
            axes.annotate(f" {value:.0f}", (value, place + 0.36), va="center", fontsize=8)
        axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.12))
    axes.set_yticks(places, [cost.target.key for cost in costs])
    axes.invert_yaxis()
    axes.set_xlabel("million instructions")
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)


def _stacked(
    axes: object, labels: Sequence[str], parts: Sequence[tuple[str, str]], sizes: Sequence[Sequence[int]], title: str
) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    start = [0.0] * len(labels)
    for index, (part, color) in enumerate(parts):
        widths = [size[index] / 1024 for size in sizes]
        axes.barh(list(labels), widths, 0.6, left=start, color=color, label=part)
        start = [a + b for a, b in zip(start, widths, strict=True)]
    for place, total in enumerate(start):
        axes.annotate(f" {total:.0f}", (total, place), va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(title)
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.12))
