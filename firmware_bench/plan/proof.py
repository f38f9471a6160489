"""Proof of a plan: its order is replayed on a map of bytes, and every byte that is read must be the one written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .planes import Stage
from .schedule import Lives

_FREE, _SCRATCH, _COLUMN = -1, -2, -3


def prove(
    stages: Sequence[Stage],
    steps: Sequence[int],
    lived: Sequence[Lives],
    place: Mapping[tuple[int, str], int],
    arena_bytes: int,
) -> None:
    """Run `steps` in an arena that remembers for each byte whose it is.

    Raises `AssertionError` naming the stage, the step and the plane when a row that is read was overwritten or never
    made, when what a step writes meets what it reads, when anything lies outside the arena, or when rows are made out
    of order. `place` is `Plan.place`.
    """
    owner = np.full(arena_bytes, _FREE, np.int64)
    done = [0] * len(stages)

    def mark(index: int, low: int, size: int, value: int) -> None:
        assert 0 <= low and low + size <= arena_bytes, f"{stages[index].plane.name} lies outside the arena"
        owner[low : low + size] = value

    for time, index in enumerate(steps):
        stage, step, plane = stages[index], done[index], stages[index].plane
        where = f"step {time}: {plane.name}, its step {step}"
        base, slots = place[index, "ring"], lived[index].slots
        left, inner = plane.left * plane.channels, plane.data_bytes
        columns = bool(plane.left or plane.right)
        ring = slots < plane.all_rows
        if step == 0 and ring and columns:
            mark(index, base, slots * plane.row_bytes, _identity(index, _COLUMN))
        rows = [0] if stage.gathers and step < stage.work else [step - stage.work + 1 if stage.gathers else step]
        if step == 0:
            rows = [*range(-plane.top, 0), *rows]
        for row in rows:
            slot = base + (row + plane.top) % slots * plane.row_bytes
            begins = not (stage.gathers and 0 < step < stage.work)
            if begins and columns and not ring:
                mark(index, slot, plane.row_bytes, _identity(index, _COLUMN))
            if begins:
                mark(index, slot + left, inner, _identity(index, row + plane.top))
            else:
                assert (owner[slot + left : slot + left + inner] == _identity(index, row + plane.top)).all(), (
                    f"{where}: its row was overwritten before it was whole"
                )
        if step < stage.work:
            if stage.sums:
                sums = place[index, "sums"]
                if step == 0:
                    mark(index, sums, stage.sums, _identity(index, _SCRATCH))
            if stage.scratch:
                mark(index, place[index, "scratch"], stage.scratch, _identity(index, _SCRATCH))
            _check_reads(stages, lived, place, owner, stage, step, where)
            if stage.sums:
                assert (owner[sums : sums + stage.sums] == _identity(index, _SCRATCH)).all(), f"{where}: sums are lost"
            if stage.scratch:
                low = place[index, "scratch"]
                assert (owner[low : low + stage.scratch] == _identity(index, _SCRATCH)).all(), f"{where}: scratch"
        done[index] += 1
    last = stages[-1]
    assert done[-1] == last.steps, f"{last.plane.name} is not whole at the end"


def _check_reads(
    stages: Sequence[Stage],
    lived: Sequence[Lives],
    place: Mapping[tuple[int, str], int],
    owner: np.ndarray[tuple[int], np.dtype[np.int64]],
    stage: Stage,
    step: int,
    where: str,
) -> None:
    for read in stage.reads:
        if read is None:
            continue
        plane, slots = stages[read.plane].plane, lived[read.plane].slots
        left, inner = plane.left * plane.channels, plane.data_bytes
        right = plane.right * plane.channels
        for row in read.rows(step, plane):
            assert -plane.top <= row < plane.rows + plane.bottom, f"{where}: reads row {row} of {plane.name}"
            slot = place[read.plane, "ring"] + (row + plane.top) % slots * plane.row_bytes
            found = owner[slot : slot + left + inner + right]
            whole = (found[left : left + inner] == _identity(read.plane, row + plane.top)).all()
            edges = (found[:left] == _identity(read.plane, _COLUMN)).all() and (
                found[left + inner :] == _identity(read.plane, _COLUMN)
            ).all()
            assert whole and edges, f"{where}: row {row} of {plane.name} was overwritten or never made"


def _identity(index: int, row: int) -> int:
    """One number for a row of a plane; `row` counts from the topmost, negative ones are other purposes."""
    return (index << 32) + row + 8
