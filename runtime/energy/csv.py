"""A log of power as CSV: an instrument's export, or a trace kept from an earlier run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..atomic import write_file
from ..errors import InputError
from .meter import Clock, Kind, PowerTrace

#: Column to quantity and factor to its SI unit.
COLUMNS = {
    f"{quantity}_{unit}": (quantity, factor)
    for quantity, units in (
        ("t", {"s": 1.0, "ms": 1e-3, "us": 1e-6}),
        ("power", {"w": 1.0, "mw": 1e-3, "uw": 1e-6}),
        ("current", {"a": 1.0, "ma": 1e-3, "ua": 1e-6}),
        ("voltage", {"v": 1.0, "mv": 1e-3}),
    )
    for unit, factor in units.items()
}

#: Times after this (2001) count from 1970, smaller ones from the log's beginning.
UNIX_FROM_S = 1e9


def parse_csv(text: str, name: str) -> PowerTrace:
    """The trace in `text`; `name` says in messages where it came from.

    A header names the columns: t_s (or t_ms, t_us) and power_w (mw, uw), or current_a (ma, ua) with voltage_v (mv);
    other columns are ignored. Lines that begin with "#" before the header may say "# kind: estimated" (default:
    measured) and "# covers: what is seen". Raises `InputError` with the line's number.
    """
    about = {"kind": "measured", "covers": "what the log's instrument was wired to (the log does not say)"}
    lines = text.removeprefix("\ufeff").splitlines()
    number = 0
    while number < len(lines) and (lines[number].startswith("#") or not lines[number].strip()):
        key, colon, value = lines[number].lstrip("# ").partition(":")
        if colon and key.strip() in about:
            about[key.strip()] = value.strip()
        number += 1
    if about["kind"] not in ("measured", "estimated"):
        raise InputError(f"{name} says its kind is {about['kind']!r}, expected 'measured' or 'estimated'")
    if number == len(lines):
        raise InputError(f"{name} has no header, expected such as 't_s,power_w' on its first line")
    header = [column.strip().lower() for column in lines[number].split(",")]
    places: dict[str, tuple[int, float]] = {}
    for place, column in enumerate(header):
        quantity, factor = COLUMNS.get(column, ("", 0.0))
        if quantity in places:
            raise InputError(f"{name} line {number + 1}: column {column!r} gives the {quantity} a second time")
        if quantity:
            places[quantity] = (place, factor)
    if "t" not in places or not ("power" in places or {"current", "voltage"} <= set(places)):
        raise InputError(
            f"{name} line {number + 1}: columns {', '.join(header)!r}, expected t_s and power_w, or t_s, current_a and "
            "voltage_v (units ms, us, mw, uw, ma, ua, mv are known too)"
        )
    wanted = ["t", "power"] if "power" in places else ["t", "current", "voltage"]
    rows: list[list[float]] = []
    for row, line in enumerate(lines[number + 1 :], number + 2):
        if not line.strip():
            continue
        cells = line.split(",")
        if len(cells) != len(header):
            raise InputError(f"{name} line {row}: {len(cells)} values, expected {len(header)} as in the header")
        values = [_number(cells[places[key][0]], name, row, header[places[key][0]]) * places[key][1] for key in wanted]
        if rows and values[0] < rows[-1][0]:
            raise InputError(f"{name} line {row}: time {values[0]} s comes after {rows[-1][0]} s: sort the log by time")
        rows.append(values)
    table = np.array(rows, np.float64).reshape(-1, len(wanted))
    clock: Clock = "unix" if rows and rows[0][0] >= UNIX_FROM_S else "log"
    kind: Kind = "measured" if about["kind"] == "measured" else "estimated"
    return PowerTrace(table[:, 0], table[:, 1:].prod(axis=1), name, kind, about["covers"], clock)


def write_csv(path: Path, trace: PowerTrace, unix_minus_clock_s: float = 0.0) -> None:
    """Keep `trace` as a CSV that `parse_csv` reads; the offset turns its clock into seconds since 1970."""
    head = f"# kind: {trace.kind}\n# covers: {' '.join(trace.covers.split())}\nt_s,power_w\n"
    rows = (
        f"{t + unix_minus_clock_s:.6f},{p!r}\n" for t, p in zip(trace.t_s.tolist(), trace.power_w.tolist(), strict=True)
    )
    write_file(path, (head + "".join(rows)).encode())


def _number(cell: str, name: str, row: int, column: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{name} line {row}: {column} is {cell.strip()[:40]!r}, expected a number")
    return value
