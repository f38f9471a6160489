"""Where everything lives in the arena: rectangles of bytes and time that must not meet."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .planes import ALIGNMENT, Stage, aligned
from .schedule import Lives

#: Orders that are tried beside the obvious ones; the seed is fixed, so the same network gets the same plan.
TRIES = 60


@dataclass(frozen=True)
class Rectangle:
    """Bytes low..high of a block, needed at the steps whose bits are set in `times`."""

    low: int
    high: int
    times: int


@dataclass(frozen=True, eq=False)
class Block:
    """Memory for one purpose, in one piece. `role` is "ring", "plane" or "scratch"."""

    name: str
    role: str
    stage: int
    bytes: int
    rectangles: tuple[Rectangle, ...]


def interval(first: int, last: int) -> int:
    """The bits first..last."""
    return ((1 << last - first + 1) - 1) << first


def blocks_of(stages: Sequence[Stage], steps: Sequence[int], lived: Sequence[Lives]) -> list[Block]:
    """What has to be placed: each plane's ring, sums that are kept, scratch memory."""
    blocks: list[Block] = []
    times: list[list[int]] = [[] for _ in stages]
    for time, index in enumerate(steps):
        times[index].append(time)
    for index, (stage, life) in enumerate(zip(stages, lived, strict=True)):
        if not times[index]:
            continue
        blocks.append(_ring(index, stage, life))
        at = times[index][: stage.work]
        if stage.sums:
            span = (Rectangle(0, stage.sums, interval(at[0], at[-1])),)
            blocks.append(Block(f"{stage.plane.name} sums", "scratch", index, stage.sums, span))
        if stage.scratch:
            mask = sum(1 << time for time in at)
            whole = (Rectangle(0, stage.scratch, mask),)
            blocks.append(Block(f"{stage.plane.name} scratch", "scratch", index, stage.scratch, whole))
    return blocks


def _ring(index: int, stage: Stage, life: Lives) -> Block:
    plane, step = stage.plane, stage.plane.row_bytes
    whole = life.slots >= plane.all_rows
    size = life.slots * step
    role = "plane" if whole and plane.all_rows > 1 else "ring"
    if not whole and (plane.left or plane.right):
        # The columns of zero points are filled once and must last.
        return Block(plane.name, role, index, size, (Rectangle(0, size, interval(*life.span)),))
    masks = [0] * life.slots
    for row, (made, last) in enumerate(zip(life.made, life.last, strict=True)):
        if made >= 0:
            masks[row % life.slots] |= interval(made, last)
    rectangles: list[Rectangle] = []
    for slot, mask in enumerate(masks):
        if not mask:
            continue
        if rectangles and rectangles[-1].times == mask and rectangles[-1].high == slot * step:
            rectangles[-1] = Rectangle(rectangles[-1].low, (slot + 1) * step, mask)
        else:
            rectangles.append(Rectangle(slot * step, (slot + 1) * step, mask))
    return Block(plane.name, role, index, size, tuple(rectangles))


def floor_bytes(blocks: Sequence[Block], count: int) -> tuple[int, int]:
    """No layout is smaller than this: the most bytes that are needed at one of `count` steps, and at which."""
    change = [0] * (count + 1)
    for block in blocks:
        for rectangle in block.rectangles:
            size = rectangle.high - rectangle.low
            for first, last in _runs(rectangle.times):
                change[first] += size
                change[last + 1] -= size
    most, where, now = 0, 0, 0
    for time in range(count):
        now += change[time]
        if now > most:
            most, where = now, time
    return most, where


def _runs(mask: int) -> list[tuple[int, int]]:
    """Ranges of set bits."""
    runs, offset = [], 0
    while mask:
        zeros = (mask & -mask).bit_length() - 1
        mask >>= zeros
        offset += zeros
        ones = (~mask & (mask + 1)).bit_length() - 1
        runs.append((offset, offset + ones - 1))
        mask >>= ones
        offset += ones
    return runs


def place(blocks: Sequence[Block], least: int, tries: int = TRIES) -> tuple[int, list[int]]:
    """(bytes in all, offset of each block) of the best layout found; stops at `least` bytes, which none can beat."""
    fights = _conflicts(blocks)
    numbers = range(len(blocks))
    orders = [
        sorted(numbers, key=lambda n: (-blocks[n].bytes, n)),
        sorted(numbers, key=lambda n: (-blocks[n].bytes * sum(r.times.bit_count() for r in blocks[n].rectangles), n)),
        sorted(numbers, key=lambda n: (blocks[n].rectangles[0].times & -blocks[n].rectangles[0].times, n)),
    ]
    best_order = orders[0]
    best, offsets = _place(blocks, fights, best_order)
    for trial in orders[1:]:
        best_order, best, offsets = min(
            (best_order, best, offsets), (trial, *_place(blocks, fights, trial)), key=lambda found: found[1]
        )
    generator = random.Random(0)
    for _ in range(tries):
        if best <= least:
            break
        trial = list(best_order)
        moved = trial.pop(generator.randrange(len(trial)))
        trial.insert(generator.randrange(len(trial) + 1), moved)
        found = _place(blocks, fights, trial)
        if found[0] <= best:
            best_order, best, offsets = trial, *found
    return best, offsets


_Conflicts = dict[tuple[int, int], list[tuple[int, int]]]


def _conflicts(blocks: Sequence[Block]) -> _Conflicts:
    """For blocks a, b, the open ranges in which (offset of a) - (offset of b) must not lie."""
    found: _Conflicts = {}
    for a, one in enumerate(blocks):
        for b, other in enumerate(blocks[:a]):
            ranges = [
                (second.low - first.high, second.high - first.low)
                for first in one.rectangles
                for second in other.rectangles
                if first.times & second.times
            ]
            if ranges:
                merged = _merged(ranges)
                found[a, b] = merged
                found[b, a] = [(-high, -low) for low, high in reversed(merged)]
    return found


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _place(blocks: Sequence[Block], fights: _Conflicts, trial: Sequence[int]) -> tuple[int, list[int]]:
    """Each block of `trial` in turn at the lowest offset that is free."""
    offsets = [-1] * len(blocks)
    end = 0
    for number in trial:
        ranges = [
            (low + offsets[other], high + offsets[other])
            for other in range(len(blocks))
            if offsets[other] >= 0
            for low, high in fights.get((number, other), ())
        ]
        offset = 0
        for low, high in sorted(ranges):
            if low < offset < high:
                offset = aligned(high)
        offsets[number] = offset
        end = max(end, offset + blocks[number].bytes)
    assert all(offset % ALIGNMENT == 0 for offset in offsets)
    return end, offsets
