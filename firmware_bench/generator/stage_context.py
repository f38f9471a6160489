"""Where a stage's rows lie, as C expressions of the step `y`."""

from __future__ import annotations

from dataclasses import dataclass

from ...export.graph import Graph, Op
from ..families import Family
from ..plan.planes import Plane, Read, Stage
from ..plan.planner import Plan


@dataclass(frozen=True, eq=False)
class Context:
    """A stage within its plan."""

    graph: Graph
    plan: Plan
    family: Family
    index: int

    @property
    def stage(self) -> Stage:
        return self.plan.stages[self.index]

    @property
    def plane(self) -> Plane:
        return self.stage.plane

    @property
    def op(self) -> Op:
        assert self.stage.op is not None
        return self.stage.op

    def source(self, number: int = 0) -> Plane:
        """The plane of operand `number`."""
        return self.plan.stages[self.read(number).plane].plane

    def read(self, number: int = 0) -> Read:
        read = self.stage.reads[number]
        assert read is not None
        return read

    def at(self, index: int, row: str, columns: int = 0) -> str:
        """The address of a row of plane `index`, `columns` padding columns before its data; `row` counts from the
        plane's topmost row of all, zero points included."""
        plane, slots = self.plan.stages[index].plane, self.plan.lives[index].slots
        # A plane of which no row is ever needed has no place, and its address is never used.
        offset = self.plan.place.get((index, "ring"), 0) + (plane.left - columns) * plane.channels
        if slots == 1:
            return f"run->arena + {offset}"
        if slots >= plane.all_rows:
            return f"run->arena + {offset} + {_factor(row)} * {plane.row_bytes}"
        return f"run->arena + {offset} + {_factor(row)} % {slots} * {plane.row_bytes}"

    def input_row(self, number: int = 0, offset: int = 0) -> str:
        """The address of row `offset` of those that operand `number` reads at step y."""
        read = self.read(number)
        return self.at(read.plane, affine(read.stride, read.first + offset + self.source(number).top), read.left)

    def window(self) -> str:
        """Declaration of `rows`, pointers to the rows of the window."""
        read = self.read()
        if not read.clip:
            rows = ",\n".join(f"        {self.input_row(0, offset)}" for offset in range(read.height))
            return f"    const int8_t *const rows[{read.height}] = {{\n{rows},\n    }};\n"
        top = self.source().top
        return (
            f"    const int8_t *rows[{read.height}]; /* those that exist */\n"
            f"    int32_t height = 0;\n"
            f"    const int32_t first = {affine(read.stride, read.first)};\n"
            f"    for (int32_t row = first; row < first + {read.height}; ++row) {{\n"
            f"        if (row >= 0 && row < {self.source().rows}) {{\n"
            f"            rows[height++] = {self.at(read.plane, f'row + {top}' if top else 'row', read.left)};\n"
            f"        }}\n"
            f"    }}\n"
        )

    def sums(self) -> str:
        """Declaration of `sums` in the arena."""
        kind = "sums" if self.stage.sums else "scratch"
        return f"    int32_t *const sums = (int32_t *)(void *)(run->arena + {self.plan.place[self.index, kind]});\n"

    def name(self, kind: str) -> str:
        return f"ts_{kind}_{self.index}"


def affine(stride: int, offset: int) -> str:
    """`y * stride + offset`, shortest."""
    product = {0: "", 1: "y"}.get(stride, f"y * {stride}")
    if not product:
        return str(offset)
    return product if offset == 0 else f"{product} {'+' if offset > 0 else '-'} {abs(offset)}"


def _factor(expression: str) -> str:
    return f"({expression})" if " " in expression else expression


def when(condition: str, lines: list[str]) -> str:
    """`if (condition) { lines }`; nothing for no lines."""
    inside = "".join(f"        {line}\n" for line in lines)
    return f"    if ({condition}) {{\n{inside}    }}\n" if lines else ""
