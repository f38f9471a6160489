"""Which tensors to materialise, and the plan that follows: order, places, peak, proof."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ...export.graph import Graph
from ...runtime.errors import InputError
from ..families import Family
from .layout import Block, Rectangle, blocks_of, floor_bytes, interval, place
from .planes import Stage, aligned
from .predict import instructions
from .proof import prove
from .schedule import Lives, lives, order, part
from .stages import stages_of

#: A plan that needs more instructions than this share above the fastest is not taken for its memory alone.
SLOWER = 0.02

#: How many tensors at most are weighed as ends of a segment.
MOST_CUTS = 40

#: The arena's size is a multiple of this, and its address has to be.
ARENA_ALIGNMENT = 16


@dataclass(frozen=True)
class Peak:
    """Bytes of the arena by purpose at the moment when it is fullest; `gaps` are bytes that nothing uses then."""

    rings: int
    planes: int
    scratch: int
    gaps: int


@dataclass(frozen=True)
class Segment:
    """A stretch of the schedule that ends when tensor `makes` is whole; `bytes` is the most that it needs at once."""

    makes: str
    first_step: int
    steps: int
    bytes: int


@dataclass(frozen=True)
class Alternative:
    """A plan that was weighed: which tensors it materialises, its arena and its predicted instructions."""

    whole: tuple[str, ...]
    arena_bytes: int
    instructions: int


@dataclass(frozen=True, eq=False)
class Plan:
    """What the generator needs to know: stages, their order, and the place of every block."""

    name: str
    family_key: str
    stages: tuple[Stage, ...]
    whole: tuple[int, ...]  # planes that are materialised by choice
    steps: tuple[int, ...]
    lives: tuple[Lives, ...]
    blocks: tuple[Block, ...]
    offsets: tuple[int, ...]
    arena_bytes: int
    least_bytes: int  # what is needed at the fullest moment: no layout of this order is smaller
    instructions: int
    alternatives: tuple[Alternative, ...] = ()

    @cached_property
    def place(self) -> dict[tuple[int, str], int]:
        """Offset of a stage's "ring" (or plane), "sums" or "scratch"."""
        kinds = {"sums": " sums", "scratch": " scratch"}
        found = {}
        for block, offset in zip(self.blocks, self.offsets, strict=True):
            kind = "ring"
            if block.role == "scratch":
                kind = next(key for key, ending in kinds.items() if block.name.endswith(ending))
            found[block.stage, kind] = offset
        return found

    @cached_property
    def peak(self) -> Peak:
        """What fills the arena when it is fullest."""
        _, time = floor_bytes(self.blocks, len(self.steps))
        used = {"ring": 0, "plane": 0, "scratch": 0}
        for block in self.blocks:
            used[block.role] += sum(r.high - r.low for r in block.rectangles if r.times >> time & 1)
        return Peak(used["ring"], used["plane"], used["scratch"], self.arena_bytes - sum(used.values()))

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The schedule's stretches, one for each tensor that is made whole."""
        found, start = [], 0
        for index in (*self.whole, len(self.stages) - 1):
            last = max(time for time, stage in enumerate(self.steps) if stage == index)
            within = interval(start, last)
            inside = [
                replace(block, rectangles=tuple(Rectangle(r.low, r.high, r.times & within) for r in block.rectangles))
                for block in self.blocks
            ]
            size, _ = floor_bytes(inside, len(self.steps))
            found.append(Segment(self.stages[index].plane.name, start, last + 1 - start, size))
            start = last + 1
        return tuple(found)


def plan_network(graph: Graph, family: Family, ram_limit_bytes: int | None = None) -> Plan:
    """The plan with the least memory that is not slower than the fastest by more than `SLOWER`.

    With `ram_limit_bytes`, the fastest whose arena fits. Raises `InputError` for a graph that the generator cannot
    take, and with the smallest possible arena when none fits.
    """
    stages = stages_of(graph, family)
    joints = _joints(stages)
    choices = {(), tuple(joints), _best_cuts(stages, joints)}
    plans = sorted((_plan(graph, stages, whole, family) for whole in choices), key=lambda plan: plan.whole)
    plans.append(_improved(graph, family, joints, min(plans, key=lambda plan: plan.arena_bytes)))
    fastest = min(plan.instructions for plan in plans)
    if ram_limit_bytes is None:
        allowed = [plan for plan in plans if plan.instructions <= fastest * (1 + SLOWER)]
        chosen = min(allowed, key=lambda plan: (plan.arena_bytes, plan.instructions, len(plan.whole)))
    else:
        allowed = [plan for plan in plans if plan.arena_bytes <= ram_limit_bytes]
        if not allowed:
            least = min(plan.arena_bytes for plan in plans)
            raise InputError(
                f"{graph.name} needs an arena of at least {least} bytes, the limit is {ram_limit_bytes}: "
                f"give --ram-limit {least} or take a smaller network"
            )
        chosen = min(allowed, key=lambda plan: (plan.instructions, plan.arena_bytes, len(plan.whole)))
    prove(chosen.stages, chosen.steps, chosen.lives, chosen.place, chosen.arena_bytes)
    return replace(chosen, alternatives=_pareto(plans))


def _pareto(plans: Iterable[Plan]) -> tuple[Alternative, ...]:
    """Plans that no other beats in both, least memory first."""
    ranked = sorted(
        {
            Alternative(tuple(plan.stages[i].plane.name for i in plan.whole), plan.arena_bytes, plan.instructions)
            for plan in plans
        },
        key=lambda plan: (plan.arena_bytes, plan.instructions, plan.whole),
    )
    kept: list[Alternative] = []
    for plan in ranked:
        if not kept or plan.instructions < kept[-1].instructions:
            kept.append(plan)
    return tuple(kept)


def _plan(graph: Graph, stages: tuple[Stage, ...], whole: tuple[int, ...], family: Family, tries: int = 0) -> Plan:
    steps = order(stages, whole)
    lived = lives(stages, steps)
    blocks = blocks_of(stages, steps, lived)
    least, _ = floor_bytes(blocks, len(steps))
    size, offsets = place(blocks, least, tries)
    size = -(-max(size, 1) // ARENA_ALIGNMENT) * ARENA_ALIGNMENT
    cost = instructions(stages, steps, family.key)
    key = family.key
    return Plan(
        graph.name, key, stages, whole, tuple(steps), tuple(lived), tuple(blocks), tuple(offsets), size, least, cost
    )


def _improved(graph: Graph, family: Family, joints: Sequence[int], start: Plan) -> Plan:
    """`start` with one tensor more or less materialised as long as that saves memory, then placed with more care."""
    best = start
    while True:
        trials = [tuple(sorted(set(best.whole) ^ {joint})) for joint in joints]
        floors = [(floor_bytes_of(best.stages, whole), whole) for whole in trials]
        floor, whole = min(floors, default=(best.least_bytes, best.whole))
        if floor >= best.least_bytes:
            break
        best = _plan(graph, best.stages, whole, family)
    return _plan(graph, best.stages, best.whole, family, tries=200)


def floor_bytes_of(stages: tuple[Stage, ...], whole: tuple[int, ...]) -> int:
    """The most bytes that the order with planes `whole` materialised needs at once."""
    steps = order(stages, whole)
    return floor_bytes(blocks_of(stages, steps, lives(stages, steps)), len(steps))[0]


def _joints(stages: Sequence[Stage]) -> list[int]:
    """Planes that all that follows depends on through them alone: where a segment may end."""
    reaches = len(stages)
    found = []
    for index in range(len(stages) - 1, 0, -1):
        if index < len(stages) - 1 and reaches >= index:
            found.append(index)
        reaches = min(reaches, *(read.plane for read in stages[index].reads if read is not None), index)
    sizes = {index: stages[index].plane.row_bytes * stages[index].plane.all_rows for index in found}
    return sorted(sorted(found, key=lambda index: (sizes[index], index))[:MOST_CUTS])


def _best_cuts(stages: tuple[Stage, ...], joints: Sequence[int]) -> tuple[int, ...]:
    """The planes to materialise for the least memory: the shortest path over segments, by their worst."""
    ends = [*joints, len(stages) - 1]
    best: dict[int | None, tuple[int, int, tuple[int, ...]]] = {None: (0, 0, ())}
    for end in ends:
        for start in [key for key in best if key is None or key < end]:
            so_far, count, path = best[start]
            if end in best and so_far >= best[end][0]:
                continue
            size = max(so_far, _segment_bytes(stages, start, end))
            if end not in best or (size, count + 1) < best[end][:2]:
                best[end] = (size, count + 1, (*path, end))
    return best[ends[-1]][2][:-1]


def _segment_bytes(stages: tuple[Stage, ...], given: int | None, target: int) -> int:
    """The most bytes at once while plane `target` is made of plane `given` (of the input when None)."""
    steps = part(stages, given, target)
    if not steps:
        return 0
    lived, end = lives(stages, steps), len(steps) - 1
    made = lived[target]
    lived[target] = Lives(made.made, [end] * len(made.last), made.slots)
    blocks = blocks_of(stages, steps, lived)
    size = aligned(floor_bytes(blocks, len(steps))[0])
    if given is None:
        return size
    held = [Rectangle(0, stages[given].plane.row_bytes, interval(0, last)) for last in lived[given].last if last >= 0]
    return floor_bytes([*blocks, Block("given", "plane", given, 0, tuple(held))], len(steps))[0]
