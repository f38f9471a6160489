"""Plots of a report as inline SVG: places along a width are percentages, so that text never shrinks on a phone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from .svg import at, tag

_MID = 11  # the middle of a strip that is 22 pixels high
_CELL = 25


class Scale:
    """An axis from `low` to `high` with round ticks."""

    def __init__(self, values: Sequence[float], floor: float | None = None, ceiling: float | None = None) -> None:
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        low, high = (low if floor is None else floor), (high if ceiling is None else ceiling)
        if high - low < 1e-9:
            low, high = low - 0.05, high + 0.05
        step = _round_step((high - low) / 4)
        self.low = math.floor(low / step + 1e-9) * step
        self.high = math.ceil(high / step - 1e-9) * step
        count = round((self.high - self.low) / step)
        self.ticks = [self.low + step * number for number in range(count + 1)]

    def share(self, value: float) -> float:
        """Where `value` lies between the ends, 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    def axis(self, unit: str = "%") -> Markup:
        """The numbers above a column of strips."""
        factor = 100 if unit == "%" else 1
        texts = []
        for number, tick in enumerate(self.ticks):
            anchor = "start" if number == 0 else "end" if number == len(self.ticks) - 1 else "middle"
            label = f"{factor * tick:g}" if abs(factor * tick) >= 1 or tick == 0 else f"{factor * tick:.2g}"
            texts.append(tag("text", label, x=at(self.share(tick)), y=14, text_anchor=anchor))
        return _strip("axis", *texts)

    def grid(self) -> list[Markup]:
        """A faint line at each tick."""
        return [_line(self.share(tick), self.share(tick), 0, 22, "grid") for tick in self.ticks]


def step_strip(row: Mapping[str, Any], reference: float | None, scale: Scale) -> Markup:
    """One form in the waterfall: its accuracy with interval, and a line for the float network's."""
    value = row["accuracy"]
    marks = scale.grid()
    if reference is not None:
        marks.append(_line(scale.share(reference), scale.share(reference), 0, 22, "reference"))
    if value is None:
        return _strip("strip", *marks)
    if row["interval"] is not None:
        low, high = (scale.share(limit) for limit in row["interval"])
        marks.append(_line(low, high, _MID, _MID, "whisker"))
        marks += [_line(end, end, _MID - 4, _MID + 4, "whisker") for end in (low, high)]
    said = f"{row['name']}: {100 * value:.2f} %"
    marks.append(tag("circle", tag("title", said), cx=at(scale.share(value)), cy=_MID, r=5, class_="dot"))
    return _strip("strip", *marks, label=said)


def change_strip(change: float | None, interval: Sequence[float] | None, scale: Scale) -> Markup:
    """A gain or loss as a bar from zero, with its interval; what leaves the scale is cut off without an end."""
    zero = scale.share(0.0)
    marks = [*scale.grid(), _line(zero, zero, 0, 22, "reference")]
    if change is None:
        return _strip("strip", *marks)
    marks.append(_bar(zero, scale.share(change), 6, 10, "loss" if change < 0 else "gain"))
    if interval is not None:
        ends = [scale.share(end) for end in interval]
        marks.append(_line(ends[0], ends[1], _MID, _MID, "whisker"))
        marks += [_line(end, end, _MID - 4, _MID + 4, "whisker") for end in ends if 0 <= end <= 1]
    return _strip("strip", *marks, label=f"{100 * change:+.2f} points")


def pair_strip(first: float | None, second: float | None, scale: Scale) -> Markup:
    """Two values of one thing: an open dot for the float network, a full one for int8, and what lies between."""
    marks = scale.grid()
    if first is not None and second is not None:
        marks.append(_bar(scale.share(first), scale.share(second), 9, 4, "loss" if second < first else "gain"))
    if first is not None:
        marks.append(tag("circle", cx=at(scale.share(first)), cy=_MID, r=5, class_="open"))
    if second is not None:
        marks.append(tag("circle", cx=at(scale.share(second)), cy=_MID, r=5, class_="dot"))
    texts = [f"{100 * value:.1f} %" for value in (first, second) if value is not None]
    return _strip("strip", *marks, label=" to ".join(texts))


def bar(share: float | None, style: str = "bar", label: str = "", marker: float | None = None) -> Markup:
    """A horizontal bar over `share` of the width, with a line at `marker` such as a limit."""
    marks = [_bar(0.0, 1.0, 5, 12, "track")]
    if share is not None and math.isfinite(share):
        marks.append(_bar(0.0, share, 5, 12, style))
    if marker is not None:
        marks.append(_line(marker, marker, 1, 21, "limit"))
    return _strip("strip", *marks, label=label)


def columns(values: Sequence[float], names: Sequence[str], unit: str) -> Markup:
    """A column for each of `values`, the highest marked; hovering tells its name."""
    top = max(values, default=0) or 1
    width = 1 / max(len(values), 1)
    marks = []
    for number, (value, name) in enumerate(zip(values, names, strict=True)):
        style = "peak" if value == top else "bar"
        marks.append(
            tag(
                "rect",
                tag("title", f"{name}: {value:,.0f} {unit}"),
                x=at(number * width),
                y=f"{100 - 100 * value / top:.1f}%",
                width=f"{90 * width:.2f}%",
                height=f"{100 * value / top:.1f}%",
                class_=style,
            )
        )
    return tag("svg", *marks, class_="columns", role="img", aria_label=f"highest {top:,.0f} {unit}")


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str], title: str) -> Markup:
    """A confusion matrix, rows true and columns predicted, shaded by the share of the row; empty rows are left out."""
    rows = [(label, counts) for label, counts in zip(labels, matrix, strict=True) if sum(counts)]
    shown = [column for column, label in enumerate(labels) if any(counts[column] for _, counts in rows)]
    shown = sorted({*shown, *(labels.index(label) for label, _ in rows)})
    left = 14 + 6 * max((len(label) for label in labels), default=0)
    top = 10 + 5 * max((len(labels[column]) for column in shown), default=0)
    reach = [_CELL * (place + 0.5) + 4.6 * len(labels[column]) for place, column in enumerate(shown)]
    width, height = left + max([_CELL * len(shown), *reach]) + 4, top + _CELL * len(rows) + 6
    marks = []
    for place, column in enumerate(shown):
        x = left + _CELL * (place + 0.5)
        turned = f"rotate(-45 {x:.1f} {top - 6})"
        marks.append(tag("text", labels[column], x=x, y=top - 6, transform=turned, class_="name"))
    for number, (label, counts) in enumerate(rows):
        y, total = top + _CELL * number, sum(counts)
        marks.append(tag("text", label, x=left - 6, y=y + 17, text_anchor="end", class_="name"))
        for place, column in enumerate(shown):
            share = counts[column] / total
            right = labels[column] == label
            style = "right" if right else "wrong"
            tip = tag(
                "title", f"{label} heard as {labels[column]}: {counts[column]:,} of {total:,} ({100 * share:.0f} %)"
            )
            spot = {"x": left + _CELL * place, "y": y, "width": _CELL - 1, "height": _CELL - 1}
            marks.append(tag("rect", class_="empty", **spot))
            marks.append(
                tag("rect", tip, class_=style, fill_opacity=f"{0.08 + 0.92 * share:.2f}" if share else "0", **spot)
            )
            if counts[column]:
                weight = "count strong" if share > 0.5 else "count"
                text = f"{100 * share:.0f}" if share >= 0.005 else "·"
                x = left + _CELL * (place + 0.5) - 0.5
                marks.append(tag("text", text, x=x, y=y + 17, text_anchor="middle", class_=weight))
    size = {"viewBox": f"0 0 {width:.0f} {height:.0f}", "width": f"{width:.0f}", "height": f"{height:.0f}"}
    return tag("svg", *marks, class_="matrix", role="img", aria_label=title, **size)


def _strip(style: str, *marks: Markup, label: str = "") -> Markup:
    described = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return tag("svg", *marks, class_=style, **described)


def _line(start: float, end: float, top: float, bottom: float, style: str) -> Markup:
    return tag("line", x1=at(start), x2=at(end), y1=top, y2=bottom, class_=style)


def _bar(start: float, end: float, top: float, height: float, style: str) -> Markup:
    low, high = sorted((min(max(start, 0.0), 1.0), min(max(end, 0.0), 1.0)))
    return tag("rect", x=at(low), y=top, width=f"{100 * (high - low):.2f}%", height=height, class_=style)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return float(next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9)))
