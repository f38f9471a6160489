"""The order of steps as a short table: stretches that repeat are written once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: The longest stretch that is looked for.
LONGEST = 160

#: A repetition has to save this many steps to be worth a line of the table.
WORTH = 6


@dataclass(frozen=True)
class StepTable:
    """`steps[first : first + length]`, `times` over, for each (first, length, times) of `loops`."""

    steps: tuple[int, ...]
    loops: tuple[tuple[int, int, int], ...]

    def unrolled(self) -> tuple[int, ...]:
        """The steps in full."""
        return tuple(step for first, length, times in self.loops for step in self.steps[first : first + length] * times)


def step_table(steps: Sequence[int]) -> StepTable:
    """A table whose unrolling is `steps`."""
    steps = tuple(steps)
    pieces: list[tuple[tuple[int, ...], int]] = []
    plain: list[int] = []
    position = 0
    while position < len(steps):
        length, times = _repetition(steps, position)
        if length * (times - 1) < WORTH:
            plain.append(steps[position])
            position += 1
            continue
        if plain:
            pieces.append((tuple(plain), 1))
            plain = []
        pieces.append((steps[position : position + length], times))
        position += length * times
    if plain:
        pieces.append((tuple(plain), 1))
    table: tuple[int, ...] = ()
    loops = []
    for piece, times in pieces:
        first = _find(table, piece)
        if first < 0:
            first = len(table)
            table += piece
        loops.append((first, len(piece), times))
    result = StepTable(table, tuple(loops))
    assert result.unrolled() == steps
    return result


def _repetition(steps: tuple[int, ...], start: int) -> tuple[int, int]:
    """(length, times) of the repetition from `start` on that saves most; of equals the shortest."""
    best, saved = (1, 1), 0
    for length in range(1, min(LONGEST, (len(steps) - start) // 2) + 1):
        times = 1
        piece = steps[start : start + length]
        while steps[start + times * length : start + (times + 1) * length] == piece:
            times += 1
        if length * (times - 1) > saved:
            best, saved = (length, times), length * (times - 1)
    return best


def _find(table: tuple[int, ...], piece: tuple[int, ...]) -> int:
    for first in range(len(table) - len(piece) + 1):
        if table[first : first + len(piece)] == piece:
            return first
    return -1
