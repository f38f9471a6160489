"""Proof of a plan: its order is replayed on a map of bytes, and every byte that is read must be the one written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .planes import Stage
from .schedule import Lives

_FREE, _SUMS, _SCRATCH, _COLUMN = 0, 1, 2, 3  # what a byte is beside a row's; rows count from _ROWS on
_ROWS = 4


class PlanError(AssertionError):
    """A plan that would overwrite what is still needed: a mistake of the planner, never of the user."""


def prove(
    stages: Sequence[Stage],
    steps: Sequence[int],
    lived: Sequence[Lives],
    place: Mapping[tuple[int, str], int],
    arena_bytes: int,
) -> None:
    """Run `steps` in an arena that remembers for each byte whose it is; `place` is `Plan.place`.

    Raises `PlanError` naming the step and the plane when a row that is read was overwritten or never made, when what a
    step writes meets what it reads, when anything lies outside the arena, or when the output is not whole at the end.
    """
    _Replay(stages, lived, place, arena_bytes).run(steps)


class _Replay:
    """The map of bytes and how far each stage is."""

    def __init__(
        self,
        stages: Sequence[Stage],
        lived: Sequence[Lives],
        place: Mapping[tuple[int, str], int],
        arena_bytes: int,
    ) -> None:
        self.stages, self.lived, self.place = stages, lived, place
        self.owner: NDArray[np.int64] = np.full(arena_bytes, _FREE, np.int64)
        self.done = [0] * len(stages)
        self.where = ""

    def run(self, steps: Sequence[int]) -> None:
        for time, index in enumerate(steps):
            stage, step = self.stages[index], self.done[index]
            self.where = f"step {time} ({stage.plane.name}, its step {step})"
            self._write(index, stage, step)
            if step < stage.work:
                # Reads come after writes: in the C they mix, so neither may touch the other's bytes.
                self._temporary(index, stage, step)
                for read in stage.reads:
                    if read is not None:
                        for row in read.rows(step, self.stages[read.plane].plane):
                            self._read(read.plane, row)
                self._keep(index, "sums", stage.sums, _SUMS)
                self._keep(index, "scratch", stage.scratch, _SCRATCH)
            self.done[index] += 1
        last = self.stages[-1]
        self._require(self.done[-1] == last.steps, f"{last.plane.name} is not whole at the end")

    def _write(self, index: int, stage: Stage, step: int) -> None:
        """Mark the rows that this step makes, as `generator.stage_code` writes them."""
        plane, slots = stage.plane, self.lived[index].slots
        ring, columns = slots < plane.all_rows, bool(plane.left or plane.right)
        if step == 0 and ring and columns:
            self._mark(self.place[index, "ring"], slots * plane.row_bytes, _identity(index, _COLUMN))
        first = max(step - stage.work + 1, 0) if stage.gathers else step
        goes_on = stage.gathers and 0 < step < stage.work
        for row in range(-plane.top, first + 1) if step == 0 else (first,):
            low = self._slot(index, row)
            if goes_on:
                size = plane.data_bytes
                self._own(low + plane.left * plane.channels, size, _identity(index, row + plane.top + _ROWS))
                continue
            if columns and not ring:
                self._mark(low, plane.row_bytes, _identity(index, _COLUMN))
            low += plane.left * plane.channels
            self._mark(low, plane.data_bytes, _identity(index, row + plane.top + _ROWS))

    def _temporary(self, index: int, stage: Stage, step: int) -> None:
        if stage.sums and step == 0:
            self._mark(self.place[index, "sums"], stage.sums, _identity(index, _SUMS))
        if stage.scratch:
            self._mark(self.place[index, "scratch"], stage.scratch, _identity(index, _SCRATCH))

    def _keep(self, index: int, kind: str, size: int, purpose: int) -> None:
        if size:
            self._own(self.place[index, kind], size, _identity(index, purpose))

    def _read(self, index: int, row: int) -> None:
        plane = self.stages[index].plane
        self._require(-plane.top <= row < plane.rows + plane.bottom, f"reads row {row} of {plane.name}")
        low, left = self._slot(index, row), plane.left * plane.channels
        right = plane.right * plane.channels
        self._own(low, left, _identity(index, _COLUMN))
        self._own(low + left, plane.data_bytes, _identity(index, row + plane.top + _ROWS))
        self._own(low + left + plane.data_bytes, right, _identity(index, _COLUMN))

    def _slot(self, index: int, row: int) -> int:
        plane = self.stages[index].plane
        return self.place[index, "ring"] + (row + plane.top) % self.lived[index].slots * plane.row_bytes

    def _mark(self, low: int, size: int, value: int) -> None:
        self._require(low >= 0 and low + size <= len(self.owner), f"bytes {low} to {low + size} lie outside the arena")
        self.owner[low : low + size] = value

    def _own(self, low: int, size: int, value: int) -> None:
        found = self.owner[low : low + size]
        if not (found == value).all():
            index, other = value >> 32, int(found[found != value][0]) >> 32
            mine, theirs = self.stages[index].plane.name, self.stages[other].plane.name
            self._require(False, f"bytes {low} to {low + size} of {mine} were overwritten by {theirs} or never made")

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise PlanError(f"{self.where}: {what}")


def _identity(index: int, purpose: int) -> int:
    """One number for a row of a plane or another purpose of its stage."""
    return (index << 32) + purpose
