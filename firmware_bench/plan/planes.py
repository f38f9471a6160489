"""What the planner moves about: planes of rows, the stages that make them, and which rows each step reads."""

from __future__ import annotations

from dataclasses import dataclass

from ...export.graph import Graph, Op
from ...runtime.errors import InputError

#: Rows begin at multiples of this many bytes, and so does everything else in the arena.
ALIGNMENT = 4


def aligned(count: int) -> int:
    """`count` bytes rounded up to whole words."""
    return -(-count // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Plane:
    """One activation as rows (columns, channels), with the rows and columns of zero points that its readers want."""

    name: str
    rows: int
    columns: int
    channels: int
    zero_point: int
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    @property
    def data_bytes(self) -> int:
        """Bytes of one row without its padding columns."""
        return self.columns * self.channels

    @property
    def row_bytes(self) -> int:
        """Bytes from one row to the next."""
        return aligned((self.left + self.columns + self.right) * self.channels)

    @property
    def all_rows(self) -> int:
        """Rows above and below included."""
        return self.top + self.rows + self.bottom


@dataclass(frozen=True)
class Read:
    """Which rows of a plane a stage's step k reads: `height` of them from k * stride + first on.

    `left` is how many padding columns its pointer includes. With `clip`, rows outside the plane are left out; without,
    they are rows of zero points.
    """

    plane: int
    stride: int = 1
    first: int = 0
    height: int = 1
    left: int = 0
    clip: bool = False

    def rows(self, step: int, plane: Plane) -> range:
        """Rows that a step reads, those above the plane negative."""
        start = step * self.stride + self.first
        stop = start + self.height
        return range(max(start, 0), min(stop, plane.rows)) if self.clip else range(start, stop)


@dataclass(frozen=True, eq=False)
class Stage:
    """What makes one plane, step by step: stage i makes plane i.

    `work` steps make rows; as many more as the plane has rows at its bottom fill those with zero points. A stage that
    `gathers` makes its only row of all of them. `reads` has None where the op reads a constant. `sums` bytes are kept
    from the first step of work to the last, `scratch` bytes for the length of one.
    """

    kind: str
    plane: Plane
    reads: tuple[Read | None, ...]
    work: int
    op: Op | None = None
    gathers: bool = False
    sums: int = 0
    scratch: int = 0

    @property
    def steps(self) -> int:
        """How often the stage runs in one inference."""
        return self.work + self.plane.bottom

    def steps_until(self, row: int) -> int:
        """How many steps it takes until `row` is there; rows above the plane are whole when row 0 is."""
        before = self.work - 1 if self.gathers else 0
        return before + max(row, 0) + 1

    def rows_of(self, step: int) -> range:
        """Rows that are whole after this step and were not before it."""
        plane = self.plane
        if self.gathers:
            rows = range(step - self.work + 1, step - self.work + 2) if step >= self.work - 1 else range(0)
        else:
            rows = range(step, step + 1)
        return range(-plane.top, rows.stop) if 0 in rows else rows


def view(graph: Graph, name: str) -> tuple[int, int, int]:
    """(rows, columns, channels) of a tensor; what has no frequency axis is one row. Raises `InputError` for batches."""
    shape = graph.tensor[name].shape
    if len(shape) > 4:
        return 1, _product(shape[:-1]), shape[-1]
    padded = (1,) * (4 - len(shape)) + shape
    if padded[0] != 1:
        raise InputError(
            f"{graph.name}: tensor {name} has shape {list(shape)}, expected batch 1: convert it for one clip"
        )
    return padded[1], padded[2], padded[3]


def _product(sizes: tuple[int, ...]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
