"""What a verb prints: results on stdout (text, or JSON lines with `--json`), everything else on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any


class Output:
    """The two streams of a verb. With `as_json`, stdout carries one JSON object a line and nothing else."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    def record(self, schema: str, text: str | None = None, **fields: Any) -> None:
        """Print one result: `fields` with their `schema` (such as "tinyscene.decision/1"), or `text` for a person.

        With `text=None` nothing is printed for a person.
        """
        if self.as_json:
            line = json.dumps({"schema": schema, **plain(fields)}, allow_nan=False, ensure_ascii=False)
            print(line, flush=True)
        elif text is not None:
            print(text, flush=True)

    def log(self, text: str) -> None:
        """Print one line of progress or advice on stderr."""
        print(text, file=sys.stderr, flush=True)


def format_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Lay `rows` out under `headers` as a Markdown table; columns whose cells are all numbers are right-aligned."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(headers))]
    widths = [max([3, len(header), *(len(row[i]) for row in cells)]) for i, header in enumerate(headers)]

    def line(values: Sequence[str]) -> str:
        padded = (
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        )
        return "| " + " | ".join(padded) + " |"

    rule = (
        "|"
        + "|".join("-" * (width + 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True))
        + "|"
    )
    return "\n".join([line(list(headers)), rule, *(line(row) for row in cells)])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return str(value)


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "").replace(".", "", 1).removeprefix("-").isdigit()


def plain(value: Any) -> Any:
    """Turn numpy scalars and arrays, tuples and NaN into what JSON can carry."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
