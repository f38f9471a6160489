"""The order in which stages run, and from when to when each row is needed in it.

To make a row, the rows that it is made of are pulled first, depth first, each as late as that allows. A tensor that is
materialised is pulled whole before anything that reads it runs. The order is fixed when the C is generated: nothing
decides at run time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .planes import Stage


def order(stages: Sequence[Stage], whole: Iterable[int]) -> list[int]:
    """Stages in the order of their steps, one entry a step; the planes `whole`, ascending, are made one by one.

    The last stage makes the network's output. Steps that nothing needs, such as rows behind the last window, are left
    out, so a stage may run less than `Stage.steps` times.
    """
    return _pull(stages, [*whole, len(stages) - 1], [0] * len(stages))


def part(stages: Sequence[Stage], given: int | None, target: int) -> list[int]:
    """The steps that make plane `target` when all up to plane `given` is there."""
    done = [stage.steps if given is not None and index <= given else 0 for index, stage in enumerate(stages)]
    return _pull(stages, [target], done)


def _pull(stages: Sequence[Stage], targets: Iterable[int], done: list[int]) -> list[int]:
    steps: list[int] = []
    for target in targets:
        stack = [(target, stages[target].steps)]
        while stack:
            index, until = stack[-1]
            step = done[index]
            if step >= until:
                stack.pop()
                continue
            lacking = None if step >= stages[index].work else _lacking(stages, stages[index], step, done)
            if lacking is not None:
                stack.append(lacking)
                continue
            steps.append(index)
            done[index] += 1
    return steps


def _lacking(stages: Sequence[Stage], stage: Stage, step: int, done: list[int]) -> tuple[int, int] | None:
    """The first plane that lacks a row which this step reads, and how many steps of its stage there must be."""
    for read in stage.reads:
        if read is None:
            continue
        source = stages[read.plane]
        rows = read.rows(step, source.plane)
        if not rows:
            continue
        needed = source.steps_until(rows.stop - 1)
        if done[read.plane] < needed:
            return read.plane, needed
    return None


@dataclass(frozen=True, eq=False)
class Lives:
    """When each row of one plane is made and read last, by step of the whole order; row r is at index r + top.

    A row that is never made has (-1, -1). `slots` is how many rows there must be room for: row r lies in slot
    (r + top) % slots.
    """

    made: list[int]
    last: list[int]
    slots: int

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last step at which the plane holds anything."""
        there = [time for time in self.made if time >= 0]
        return (min(there), max(self.last)) if there else (-1, -1)


def lives(stages: Sequence[Stage], steps: Sequence[int]) -> list[Lives]:
    """Replay `steps` and note each row's life."""
    done = [0] * len(stages)
    made = [[-1] * stage.plane.all_rows for stage in stages]
    last = [[-1] * stage.plane.all_rows for stage in stages]
    first_step: dict[int, int] = {}
    for time, index in enumerate(steps):
        stage, step = stages[index], done[index]
        top = stage.plane.top
        first_step.setdefault(index, time)
        if step < stage.work:
            for read in stage.reads:
                if read is None:
                    continue
                source = stages[read.plane].plane
                for row in read.rows(step, source):
                    last[read.plane][row + source.top] = time
        for row in stage.rows_of(step):
            begun = first_step[index] if row <= 0 and (stage.gathers or row < 0) else time
            made[index][row + top] = begun
            last[index][row + top] = max(last[index][row + top], time)
        done[index] += 1
    return [Lives(m, x, _slots(m, x)) for m, x in zip(made, last, strict=True)]


def _slots(made: list[int], last: list[int]) -> int:
    """Room for the widest range of rows of which the oldest is needed while the newest is made."""
    slots = 1
    for newest, time in enumerate(made):
        if time < 0:
            continue
        # Rows far back are dead; look no further than the room that there is already.
        oldest = next((row for row in range(newest) if made[row] >= 0 and last[row] >= time), newest)
        slots = max(slots, newest - oldest + 1)
    return slots
