"""A meter that is the log of an instrument which runs by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from .marks import Marks
from .meter import Kind, PowerTrace


class LogMeter:
    """Reads `path` when it is stopped; nothing is started, the instrument has its own buttons.

    `parse` takes the log's text and its name and gives the trace, and the blocks where the log says them itself.
    `starts_unix_s` is the time since 1970 at which a log that counts from its own beginning began.
    """

    live = False

    def __init__(
        self,
        path: Path,
        parse: Callable[[str, str], tuple[PowerTrace, Marks | None]],
        starts_unix_s: float | None = None,
    ) -> None:
        self.path, self._parse, self._starts_unix_s = path, parse, starts_unix_s
        self.name, self.covers = path.name, "what the log's instrument was wired to"
        self.kind: Kind = "measured"
        self.marks: Marks | None = None  # after `stop`: the blocks that the log says itself

    def start(self) -> None:
        """Nothing: the log may come later."""

    def stop(self) -> PowerTrace:
        """The whole log, in seconds since 1970 where that is known; raises `InputError` for one that cannot be read."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise InputError(
                f"cannot read {self.path} ({error.strerror}): give the file the instrument writes"
            ) from error
        trace, self.marks = self._parse(text, self.path.name)
        if trace.clock == "log" and self._starts_unix_s is not None:
            trace = replace(trace, t_s=trace.t_s + self._starts_unix_s, clock="unix")
        self.name, self.kind, self.covers = trace.name, trace.kind, trace.covers
        return trace
