"""Progress of long work over files, on stderr: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ...runtime.output import Output

T = TypeVar("T")

#: Seconds between two lines where there is no terminal to draw a bar on.
LOG_EVERY_S = 10.0


def track(items: Iterable[T], what: str, total: int, output: Output | None, done: int = 0) -> Iterator[T]:
    """Pass `items` on while showing how many of `total` are through, `done` of them before this call.

    Silent when `output` is None.
    """
    if output is None:
        yield from items
    elif sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(what, total=total, completed=done)
            for item in items:
                yield item
                progress.advance(task)
    else:
        spoken = time.monotonic()
        for number, item in enumerate(items, start=done + 1):
            yield item
            if time.monotonic() - spoken > LOG_EVERY_S:
                spoken = time.monotonic()
                output.log(f"{what}: {number:,} of {total:,}")
