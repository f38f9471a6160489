"""The last seconds of a spectrogram as characters: two bands a cell, the upper half block over its background."""

from __future__ import annotations

from collections import deque
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from ..frontend_spec import FrontendSpec
from .palette import loudness_map
from .spectrogram import Spectrogram

#: Rows of the strip where there is room, and the least that still shows something.
ROWS, LEAST_ROWS = 8, 3

#: Time that a column stands for, rounded to whole frames.
COLUMN_S = 0.1

#: Columns kept; no terminal is given more.
KEPT = 256

#: Colours: so many that steps are hardly seen, so few that neighbours are often alike and cost the terminal nothing.
_LEVELS = 32


class Strip:
    """Takes log-mel frames of one front end and keeps the latest columns, each the mean of `frames_a_column` frames."""

    def __init__(self, spec: FrontendSpec) -> None:
        self.frames_a_column = max(1, round(COLUMN_S / spec.hop_s))
        self.column_s = self.frames_a_column * spec.hop_s
        self._spectrogram = Spectrogram(spec, 2 * ROWS)
        self._columns: deque[NDArray[np.uint8]] = deque(maxlen=KEPT)
        self._rest: NDArray[np.float32] = np.empty((spec.n_mels, 0), np.float32)

    def push(self, frames: NDArray[np.float32]) -> None:
        """Take in frames (n_mels, k)."""
        waiting = np.concatenate([self._rest, frames], axis=1)
        count = waiting.shape[1] // self.frames_a_column
        used = count * self.frames_a_column
        self._rest = waiting[:, used:]
        if count:
            means = waiting[:, :used].reshape(len(waiting), count, self.frames_a_column).mean(axis=2)
            self._columns.extend(self._spectrogram.columns(means))

    def picture(self, width: int, rows: int) -> Picture:
        """The latest `width` columns in `rows` rows; where less has been heard the left is empty."""
        latest = list(self._columns)[-width:]
        bands = self._spectrogram.bands
        columns = np.array(latest, np.float32).reshape(len(latest), bands)
        # A front end of fewer bands than halves of cells repeats some; of more, neighbours are put together.
        edges = np.linspace(0, bands, 2 * rows + 1)
        low = np.minimum(edges[:-1].astype(np.intp), bands - 1)
        high = np.maximum(low + 1, np.ceil(edges[1:]).astype(np.intp))
        means = [columns[:, first:last].mean(axis=1) for first, last in zip(low, high, strict=True)]
        levels = (np.array(means) * (_LEVELS / 256)).astype(np.intp).reshape(2 * rows, len(latest))
        # From the highest band down: odd ones above even ones in a cell.
        return Picture(levels[1::2][::-1] * _LEVELS + levels[0::2][::-1], width)


class Picture:
    """Cells (rows, columns) of two levels each, `upper * levels + lower`, flush right in `width` columns."""

    def __init__(self, cells: NDArray[np.intp], width: int) -> None:
        self.cells, self.width = cells, width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A segment a run of equal cells."""
        count = self.cells.shape[1]
        for row in self.cells:
            if count < self.width:
                yield Segment(" " * (self.width - count))
            starts = np.flatnonzero(np.diff(row, prepend=-1))
            lengths = np.diff(starts, append=count)
            for cell, length in zip(row[starts].tolist(), lengths.tolist(), strict=True):
                yield Segment("▀" * length, _style(cell))
            yield Segment.line()


@lru_cache(maxsize=_LEVELS * _LEVELS)
def _style(cell: int) -> Style:
    upper, lower = (loudness_map(_LEVELS)[level] for level in divmod(cell, _LEVELS))
    return Style.from_color(Color.from_rgb(*map(int, upper)), Color.from_rgb(*map(int, lower)))
