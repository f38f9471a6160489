"""A picture of what smoothing trades: flicker against time to recognise, shares of time, and a piece of the stream."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from ..runtime.atomic import write_file
from ..runtime.stream.metrics import UNSURE
from .stream_evaluation import Heard, Setting, Trade, weigh
from .stream_plan import StreamPlan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by colour-blind readers too.
_BLUE, _RED, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "0.6"
#: How much of the stream is shown, in seconds.
_PIECE_S = 600.0


def draw(
    path: Path,
    plan: StreamPlan,
    labels: Sequence[str],
    heard: Heard,
    trades: Sequence[Trade],
    default: Trade,
    best: Trade,
) -> None:
    """Write the picture to the PNG file `path`."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplot_mosaic(
        [["trade", "shares"], ["piece", "piece"]], figsize=(9.0, 6.6), layout="constrained", height_ratios=(3, 2)
    )
    _draw_trade(axes["trade"], trades, default, best)
    _draw_shares(axes["shares"], trades, best)
    truth = plan.truth(labels)
    raw = weigh(heard, truth, [Setting(0.0, 1e-9, 1e-9)])[0]
    true = truth.at(np.minimum(heard.times_s, truth.end_s))
    rows = {"true": true, "likeliest": raw.shown, "default": default.shown, "recommended": best.shown}
    _draw_piece(axes["piece"], heard, labels, rows)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    pyplot.close(figure)
    write_file(path, buffer.getvalue())


def _name(trade: Trade) -> str:
    setting = trade.setting
    return f"{setting.smoothing_s:g} s, {setting.enter:g}, {setting.leave:g}"


def _draw_trade(axes: Axes, trades: Sequence[Trade], default: Trade, best: Trade) -> None:
    times = sorted({trade.setting.smoothing_s for trade in trades})
    colours: Any = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.95, len(times)))
    for time_s, colour in zip(times, colours, strict=True):
        alike = [trade for trade in trades if trade.setting.smoothing_s == time_s]
        for front, size, alpha in ((False, 9, 0.35), (True, 30, 1.0)):
            scores = [trade.score for trade in alike if trade.on_front == front]
            axes.scatter(
                [score.delay_median_s for score in scores],
                [score.flicker_per_hour for score in scores],
                s=size, color=colour, alpha=alpha, linewidths=0, label=f"{time_s:g} s" if front else None,
            )  # fmt: skip
    for trade, name, mark, colour in ((default, "default", "s", _RED), (best, "recommended", "*", _BLUE)):
        axes.plot(
            trade.score.delay_median_s, trade.score.flicker_per_hour, mark, markersize=13, markerfacecolor="none",
            markeredgewidth=1.8, markeredgecolor=colour, linestyle="", label=f"{name}\n({_name(trade)})",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=5)
    axes.set_ylim(bottom=-0.5)
    axes.set_xlabel("median time to recognise a change, s")
    axes.set_ylabel("flicker per hour")
    axes.set_title("every setting; large: none beats it", fontsize=10)
    axes.legend(fontsize=7, frameon=False, title="time constant", title_fontsize=7, loc="lower left", ncols=2)
    axes.grid(color="0.92", linewidth=0.6)


def _draw_shares(axes: Axes, trades: Sequence[Trade], best: Trade) -> None:
    enter, leave = best.setting.enter, best.setting.leave
    line = [trade for trade in trades if (trade.setting.enter, trade.setting.leave) == (enter, leave)]
    places = range(len(line))
    below = np.zeros(len(line))
    for name, colour in (("accuracy", _GREEN), ("unsure", _GREY), ("wrong", _RED)):
        values = np.array([getattr(trade.score, name) for trade in line])
        axes.bar(places, values, bottom=below, color=colour, label={"accuracy": "right"}.get(name, name), width=0.85)
        below = below + values
    axes.set_xticks(list(places), [f"{trade.setting.smoothing_s:g}" for trade in line])
    axes.set_ylim(0.0, 1.0)
    axes.set_xlabel("time constant, s")
    axes.set_ylabel("share of time")
    axes.set_title(f"with enter {enter:g}, leave {leave:g}", fontsize=10)
    axes.legend(fontsize=8, ncols=3, loc="lower center", framealpha=0.9)


def _draw_piece(axes: Axes, heard: Heard, labels: Sequence[str], rows: dict[str, Any]) -> None:
    shown = heard.times_s <= _PIECE_S
    used = sorted({int(scene) for row in rows.values() for scene in row[shown]} - {UNSURE})
    palette: Any = matplotlib.colormaps["tab10"]
    times = np.append(heard.times_s[shown], heard.times_s[shown][-1] + heard.hop_s)
    for place, row in enumerate(rows.values()):
        values = row[shown]
        edges = np.flatnonzero(np.diff(values)) + 1
        starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(values)]])
        for scene in (UNSURE, *used):
            mine = values[starts] == scene
            spans = list(zip(times[starts[mine]], times[ends[mine]] - times[starts[mine]], strict=True))
            colour = "0.88" if scene == UNSURE else palette(used.index(scene) % 10)
            name = "unsure" if scene == UNSURE else labels[scene]
            axes.broken_barh(spans, (place - 0.4, 0.8), color=colour, linewidth=0, label=name if place == 0 else None)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xlim(0.0, float(times[-1]))
    axes.set_xlabel("time, s")
    axes.set_title("the beginning of the stream", fontsize=10)
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.05))
    for spine in ("top", "right", "left"):
        axes.spines[spine].set_visible(False)
