"""The page's views of accuracy: the waterfall, pairs of float and int8 by scene and by device, confusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from .plots import Scale, change_strip, confusion, pair_strip, step_strip
from .summary import limits, percent, points, step_of

#: How many of the commonest mistakes are named.
MISTAKES = 5


def waterfall_view(waterfall: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Rows with their strips, and the groups by scene and by device."""
    if waterfall is None:
        return None
    rows = waterfall["rows"]
    values = [row["accuracy"] for row in rows if row["accuracy"] is not None]
    ends = [end for row in rows if row["interval"] is not None for end in row["interval"]]
    scale = Scale([*values, *ends])
    reference = step_of(waterfall, waterfall["reference"])
    line = None if reference is None else reference["accuracy"]
    changes = _change_scale(rows)
    return {
        "counted": _counted(waterfall),
        "reference": waterfall["reference"],
        "int8": waterfall["int8"],
        "axis": scale.axis(),
        "change_axis": changes.axis(),
        "rows": [_step(row, waterfall, line, scale, changes) for row in rows],
        "missing": list(waterfall["missing"].items()),
        "groups": _groups(waterfall),
    }


def confusion_views(waterfall: Mapping[str, Any] | None) -> list[tuple[str, Markup]]:
    """A titled matrix of each network that has one."""
    if waterfall is None:
        return []
    names = {"float": waterfall["reference"], "int8": waterfall["int8"]}
    return [
        (names[key], confusion(matrix, waterfall["labels"], f"confusions of {names[key]}"))
        for key, matrix in waterfall["confusion"].items()
        if key in names and any(map(sum, matrix))
    ]


def mistakes(waterfall: Mapping[str, Any] | None) -> list[str]:
    """The int8 network's commonest mistakes, "tram heard as bus (31 of 120)"."""
    matrix = None if waterfall is None else waterfall["confusion"].get("int8")
    if waterfall is None or matrix is None:
        return []
    labels = waterfall["labels"]
    wrong = [
        (count, sum(counts), truth, answer)
        for truth, counts in zip(labels, matrix, strict=True)
        for answer, count in zip(labels, counts, strict=True)
        if count and truth != answer
    ]
    wrong.sort(key=lambda entry: (-entry[0], entry[2], entry[3]))
    return [f"{truth} heard as {answer} ({count:,} of {total:,})" for count, total, truth, answer in wrong[:MISTAKES]]


def _counted(waterfall: Mapping[str, Any]) -> str:
    text = (
        f"{waterfall['snippets']:,} one-second snippets of {waterfall['recordings']:,} recordings from the evaluation "
        f"side of {waterfall['data']}, fold {waterfall['fold']}"
    )
    if not waterfall["scored"]:
        return f"{text}; the network knows none of their scenes, so that only agreement could be measured."
    if waterfall["scored"] < waterfall["snippets"]:
        scenes = ", ".join(waterfall["scenes"])
        text += f"; accuracy is counted on the {waterfall['scored']:,} whose scene every form knows ({scenes})"
    return f"{text}."


def _change_scale(rows: Sequence[Mapping[str, Any]]) -> Scale:
    """A scale for the changes between forms of one network; that from a teacher may be far larger, and is cut off."""
    ends = [0.0]
    for row in rows:
        if row["drop"] is not None and row["agreement_before"] is not None and row["agreement_before"] > 0.9:
            ends += [-end for end in (row["drop"], *(row["drop_interval"] or ()))]
    reach = max(max(map(abs, ends)), 0.005)
    return Scale([-reach, reach])


def _step(
    row: Mapping[str, Any], waterfall: Mapping[str, Any], line: float | None, scale: Scale, changes: Scale
) -> dict[str, Any]:
    change = None if row["drop"] is None else -row["drop"]
    between = None if row["drop_interval"] is None else (-row["drop_interval"][1], -row["drop_interval"][0])
    return {
        "name": row["name"],
        "largest": row["name"] == waterfall["largest"],
        "strip": step_strip(row, line, scale),
        "change_strip": change_strip(change, between, changes),
        "accuracy": percent(row["accuracy"]),
        "interval": limits(row["interval"]),
        "change": "–" if change is None else points(change, 2),
        "change_interval": limits(between, 1, signed=True),
        "agreement": percent(row["agreement"]),
    }


def _groups(waterfall: Mapping[str, Any]) -> list[dict[str, Any]]:
    first, second = (step_of(waterfall, waterfall[key]) for key in ("reference", "int8"))
    if first is None or second is None:
        return []
    groups = []
    for name, title, key in (("scene", "By scene", "per_scene"), ("device", "By device", "per_device")):
        ours, theirs = first[key], second[key]
        names = [*dict.fromkeys([*ours, *theirs])]
        if len(names) >= 2:
            groups.append({"name": name, "title": title, **_pairs(names, ours, theirs)})
    return groups


def _pairs(names: Sequence[str], first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, Any]:
    scale = Scale([0.0, 1.0], 0.0, 1.0)
    rows = []
    for name in names:
        ours, theirs = first.get(name), second.get(name)
        change = "–" if ours is None or theirs is None else points(theirs - ours)
        strip = pair_strip(ours, theirs, scale)
        rows.append({"name": name, "strip": strip, "first": percent(ours), "second": percent(theirs), "change": change})
    return {"axis": scale.axis(), "rows": rows}
