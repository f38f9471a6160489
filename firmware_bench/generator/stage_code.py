"""One stage as C: its constants, and the function that makes one row.

Every function gets the step `y`, which is the row that it makes (a stage that gathers: the row that it takes in).
Rings and offsets are numbers in it: row r of a plane lies at offset + (r + rows above) % slots * bytes of a row.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...export.graph import Graph
from ..families import Family
from ..plan.planes import Plane
from ..plan.planner import Plan
from .emit import comment, identifier, shape
from .stage_bodies import KINDS
from .stage_context import Context, affine, when


@dataclass(frozen=True)
class StageCode:
    """A stage's text: its constants, its function, and the function's name."""

    constants: str
    function: str
    name: str


def stage_code(graph: Graph, plan: Plan, family: Family, index: int) -> StageCode:
    """The C of stage `index` of `plan`."""
    context = Context(graph, plan, family, index)
    constants, body = KINDS[context.stage.kind](context)
    name = f"ts_{index:02d}_{identifier(context.plane.name)}"
    lines = f"{_before(context)}{body}{_after(context)}"
    unused = "" if "y" in _words(lines) else "    (void)y;\n"
    function = f"{_header(context)}static void {name}(const ts_run *run, int32_t y) {{\n{unused}{lines}}}\n"
    return StageCode(constants, function, name)


def _words(text: str) -> set[str]:
    return set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())


def _header(context: Context) -> str:
    stage, plane, plan = context.stage, context.plane, context.plan
    sources = [
        f"{comment(plan.stages[read.plane].plane.name)} {shape(_sizes(plan.stages[read.plane].plane))}"
        for read in stage.reads
        if read is not None
    ]
    slots = plan.lives[context.index].slots
    rows = "1 row" if slots == 1 else f"{slots} rows"
    kind = stage.kind if stage.op is None or stage.kind == stage.op.kind else f"{stage.op.kind} as {stage.kind}"
    around = ""
    if plane.all_rows > plane.rows or plane.left or plane.right:
        sides = f"{plane.top} above, {plane.bottom} below, {plane.left} left, {plane.right} right"
        around = f"\n * Zero points around it: {sides}."
    made = f" of {', '.join(sources)}" if sources else ""
    return (
        f"/* {comment(plane.name)} {shape(_sizes(plane))}: {kind}{made}.\n"
        f" * {rows} of {plane.row_bytes} bytes at {plan.place[context.index, 'ring']}.{around} */\n"
    )


def _sizes(plane: Plane) -> tuple[int, int, int]:
    return plane.rows, plane.columns, plane.channels


def _before(context: Context) -> str:
    """Zero points around the plane, and the declaration of `out`, where the row's data goes."""
    stage, plane, plan = context.stage, context.plane, context.plan
    base, slots = plan.place[context.index, "ring"], plan.lives[context.index].slots
    ring, columns = slots < plane.all_rows, bool(plane.left or plane.right)
    # A stage that gathers writes one row; those below follow it.
    row = affine(1, plane.top) if not stage.gathers else str(plane.top)
    begin = []
    if ring and columns:
        begin.append(f"memset(run->arena + {base}, {plane.zero_point}, {slots * plane.row_bytes});")
    elif plane.top:
        begin.append(f"memset(run->arena + {base}, {plane.zero_point}, {plane.top * plane.row_bytes});")
    if columns and not ring and stage.gathers:
        begin.append(f"memset({context.at(context.index, row, plane.left)}, {plane.zero_point}, {plane.row_bytes});")
    text = when("y == 0", begin)
    if plane.bottom:
        below = affine(1, plane.top - (stage.work - 1 if stage.gathers else 0))
        size = plane.data_bytes if ring else plane.row_bytes
        where = context.at(context.index, below, 0 if ring else plane.left)
        text += when(f"y >= {stage.work}", [f"memset({where}, {plane.zero_point}, {size});", "return;"])
    if columns and not ring and not stage.gathers:
        text += f"    memset({context.at(context.index, row, plane.left)}, {plane.zero_point}, {plane.row_bytes});\n"
    return text + f"    int8_t *const out = {context.at(context.index, row)};\n"


def _after(context: Context) -> str:
    """What happens to a whole row: the network's output is handed out, the debug build shows it."""
    stage, plane = context.stage, context.plane
    size = plane.data_bytes
    row = "0" if stage.gathers else "y"
    lines = []
    if context.index == len(context.plan.stages) - 1:
        where = "run->logits" if plane.rows == 1 else f"run->logits + y * {size}"
        lines.append(f"memcpy({where}, out, {size});")
    lines.append(f"TS_TAP({context.index}, {row}, out, {size});")
    if stage.gathers and stage.work > 1:
        return when(f"y == {stage.work - 1}", lines)
    return "".join(f"    {line}\n" for line in lines)
