"""From the graph's ops to stages, each making one plane row by row.

A PAD is folded into the convolutions and pools that read it: their input gets rows and columns of zero points. What
cannot be folded, such as a PAD that an ADD reads, is a stage of its own.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ...export.graph import Graph, Op
from ...runtime.errors import InputError
from ..arithmetic import int8_quant
from ..families import Family
from .planes import Plane, Read, Stage, aligned, view

#: Above this many rows a pool adds them up one by one, rather than hold pointers to all of them.
POOL_POINTERS = 8

_SUM_BYTES = 4  # of one int32


def stages_of(graph: Graph, family: Family) -> tuple[Stage, ...]:
    """The stages of an int8 graph, inputs before readers; the first copies the network's input.

    Ops whose result nobody reads are left out. Raises `InputError` for float or 16-bit tensors, batches, and a
    broadcast of more than four axes.
    """
    for tensor in graph.tensors:
        if tensor.quant is None or tensor.quant.bits != 8:
            int8_quant(graph, tensor.name)  # says which and why
    if not graph.ops:
        raise InputError(f"{graph.name} has no ops, expected a network")
    return _Builder(graph, family).build()


class _Builder:
    """Stages so far, and which of them holds which tensor."""

    def __init__(self, graph: Graph, family: Family) -> None:
        self.graph, self.family = graph, family
        self.stages: list[Stage] = []
        self.index: dict[str, int] = {}
        wanted = {graph.output}
        for op in reversed(graph.ops):
            if op.output in wanted:
                wanted.update(op.inputs)
        self.ops = [op for op in graph.ops if op.output in wanted]
        self.readers: dict[str, list[Op]] = {}
        for op in self.ops:
            for name in op.inputs:
                self.readers.setdefault(name, []).append(op)
        self.pads: dict[str, Op] = {}

    def build(self) -> tuple[Stage, ...]:
        graph = self.graph
        self._append("INPUT", graph.input, (), view(graph, graph.input)[0])
        for op in self.ops:
            if op.kind == "PAD" and self._folds(op):
                self.pads[op.output] = op
            else:
                _MAKERS[op.kind](self, op)
        return self._with_padding()

    def _folds(self, pad: Op) -> bool:
        """Whether every reader of a PAD can read zero points around the plane instead."""
        readers = self.readers.get(pad.output, [])
        plain = all(
            op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D")
            or (
                op.kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D")
                and op.padding == "VALID"
                and op.window[0] <= POOL_POINTERS
            )
            for op in readers
        )
        return plain and bool(readers) and pad.output != self.graph.output

    def _append(
        self,
        kind: str,
        name: str,
        reads: tuple[Read | None, ...],
        work: int,
        op: Op | None = None,
        shape: tuple[int, int, int] | None = None,
        label: str | None = None,
        gathers: bool = False,
        sums: int = 0,
        scratch: int = 0,
    ) -> int:
        """A stage whose plane is tensor `name`, or a plane on the way to it when it has another `label`."""
        rows, columns, channels = shape or view(self.graph, name)
        zero_point = int8_quant(self.graph, name).zero_point
        plane = Plane(label or name, rows, columns, channels, zero_point)
        self.stages.append(Stage(kind, plane, reads, work, op, gathers, aligned(sums), aligned(scratch)))
        self.index[label or name] = len(self.stages) - 1
        return len(self.stages) - 1

    def _source(self, name: str) -> tuple[int, tuple[tuple[int, int], tuple[int, int]]]:
        """The plane that holds a tensor, and the PAD between the two."""
        pad = self.pads.get(name)
        if pad is None:
            return self.index[name], ((0, 0), (0, 0))
        return self.index[pad.inputs[0]], pad.pads

    def window(self, op: Op, kernel: tuple[int, int]) -> Read:
        """How a convolution reads its input, padding included."""
        plane, pads = self._source(op.inputs[0])
        before = []
        for axis in (0, 1):
            size = self.graph.tensor[op.inputs[0]].shape[1 + axis]
            same = 0
            if op.padding == "SAME":
                step = op.stride[axis]
                same = max((-(-size // step) - 1) * step + kernel[axis] - size, 0) // 2
            before.append(pads[axis][0] + same)
        return Read(plane, op.stride[0], -before[0], kernel[0], before[1])

    def convolution(self, op: Op) -> None:
        assert op.weight is not None
        kernel = (op.weight.shape[1], op.weight.shape[2])
        outputs, inputs = view(self.graph, op.output)[2], view(self.graph, op.inputs[0])[2]
        scratch = 0
        if op.kind == "DEPTHWISE_CONV_2D":
            kind = "DEPTHWISE3" if kernel == (3, 3) and inputs == outputs else "DEPTHWISE"
        elif kernel == (1, 1) and op.stride[1] == 1:
            kind = "POINTWISE"
        else:
            kind, scratch = "CONV_ROW", self.family.conv_scratch_bytes(*kernel, inputs)
        rows = view(self.graph, op.output)[0]
        self._append(kind, op.output, (self.window(op, kernel),), rows, op, scratch=scratch)

    def pool(self, op: Op) -> None:
        plane, pads = self._source(op.inputs[0])
        rows, columns, channels = view(self.graph, op.output)
        height = view(self.graph, op.inputs[0])[0]
        top, left = pads[0][0], pads[1][0]
        if op.padding == "SAME":
            top = max((-(-height // op.stride[0]) - 1) * op.stride[0] + op.window[0] - height, 0) // 2
        if op.window[0] > POOL_POINTERS and op.kind == "AVERAGE_POOL_2D" and rows == 1 and op.padding == "VALID":
            sums = columns * channels * _SUM_BYTES
            self._append("POOL_ROWS", op.output, (Read(plane),), op.window[0], op, gathers=True, sums=sums)
            return
        read = Read(plane, op.stride[0], -top, op.window[0], left, clip=op.padding == "SAME")
        self._append(op.kind, op.output, (read,), rows, op)

    def elementwise(self, op: Op) -> None:
        rows, columns, channels = view(self.graph, op.output)
        shapes = [self.graph.tensor[name].shape for name in op.inputs]
        target = self.graph.tensor[op.output].shape
        if len(target) > 4 and any(shape != target for shape in shapes):
            raise InputError(f"{op.name}: {op.kind} of shapes {shapes} broadcasts over more than four axes")
        reads: list[Read | None] = []
        for name in op.inputs:
            constant = self.graph.tensor[name].data is not None
            one = view(self.graph, name)[0] == 1
            reads.append(None if constant else Read(self._source(name)[0], 0 if one and rows > 1 else 1))
        whole = None not in reads and all(view(self.graph, name) == (rows, columns, channels) for name in op.inputs)
        kind = "ADD" if op.kind == "ADD" and whole else f"{op.kind}_ROW"
        self._append(kind, op.output, tuple(reads), rows, op)

    def each_row(self, op: Op) -> None:
        kind = {"QUANTIZE": "LUT", "RSQRT": "LUT"}.get(op.kind, op.kind)
        rows = view(self.graph, op.output)[0]
        self._append(kind, op.output, (Read(self._source(op.inputs[0])[0]),), rows, op)

    def pad(self, op: Op) -> None:
        read = Read(self._source(op.inputs[0])[0], 1, -op.pads[0][0], clip=True)
        self._append("PAD", op.output, (read,), view(self.graph, op.output)[0], op)

    def mean(self, op: Op) -> None:
        rows, columns, channels = view(self.graph, op.inputs[0])
        plane, axes = self._source(op.inputs[0])[0], set(op.axes)
        kept = (1 if 1 in axes else rows, 1 if 2 in axes else columns, 1 if 3 in axes else channels)
        flat = kept[0] != view(self.graph, op.output)[0]  # without the axis of columns, rows become columns of one row
        label = f"{op.output} by rows" if flat else None
        sums = kept[1] * kept[2] * _SUM_BYTES
        shape = kept if flat else None
        if 1 in axes:
            self._append("MEAN", op.output, (Read(plane),), rows, op, shape, label, gathers=True, sums=sums)
        else:
            self._append("MEAN_ROW", op.output, (Read(plane),), rows, op, shape, label, scratch=sums)
        if flat:
            self._flatten(self.index[str(label)], op.output, view(self.graph, op.output))

    def reshape(self, op: Op) -> None:
        source, target = self.graph.tensor[op.inputs[0]], view(self.graph, op.output)
        found = view(self.graph, source.name)
        plane = self._source(source.name)[0]
        if found[0] == target[0]:
            self._append("COPY", op.output, (Read(plane),), target[0], op)
            return
        if found[0] > 1:
            flat = (1, 1, math.prod(found))
            label = op.output if target[0] == 1 else f"{op.output} as one row"
            plane = self._flatten(plane, op.output, target if target[0] == 1 else flat, label)
        if target[0] > 1:
            self._append("SLICE", op.output, (Read(plane, 0),), target[0], op)

    def _flatten(self, plane: int, name: str, shape: tuple[int, int, int], label: str | None = None) -> int:
        rows = self.stages[plane].plane.rows
        return self._append("FLATTEN", name, (Read(plane),), rows, None, shape, label, gathers=True)

    def dense(self, op: Op) -> None:
        name = op.inputs[0]
        plane = self._source(name)[0]
        shape = self.stages[plane].plane
        if shape.rows > 1:
            label = f"{op.output} input as one row"
            plane = self._flatten(plane, name, (1, 1, math.prod(view(self.graph, name))), label)
        self._append("DENSE", op.output, (Read(plane),), view(self.graph, op.output)[0], op)

    def _with_padding(self) -> tuple[Stage, ...]:
        """The stages, each plane with the rows and columns of zero points that its readers reach."""
        reach = [[0, 0, 0, 0] for _ in self.stages]
        for stage in self.stages:
            for read in stage.reads:
                if read is None or read.clip:
                    continue
                plane, sides = self.stages[read.plane].plane, reach[read.plane]
                bottom = (stage.work - 1) * read.stride + read.first + read.height - plane.rows
                right = self._columns(stage) - read.left - plane.columns
                for side, value in enumerate((-read.first, bottom, read.left, right)):
                    sides[side] = max(sides[side], value)
        planes = [
            replace(stage.plane, top=top, bottom=bottom, left=left, right=right)
            for stage, (top, bottom, left, right) in zip(self.stages, reach, strict=True)
        ]
        return tuple(replace(stage, plane=plane) for stage, plane in zip(self.stages, planes, strict=True))

    def _columns(self, stage: Stage) -> int:
        """Columns that a stage's window reads in all, from its leftmost padding column on."""
        op = stage.op
        if op is None or stage.kind not in ("POINTWISE", "CONV_ROW", "DEPTHWISE3", "DEPTHWISE", *_POOLS):
            return 0
        width = op.window[1] if op.weight is None else op.weight.shape[2]
        return (stage.plane.columns - 1) * op.stride[1] + width


_POOLS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")

_MAKERS = {
    "PAD": _Builder.pad,
    "CONV_2D": _Builder.convolution,
    "DEPTHWISE_CONV_2D": _Builder.convolution,
    "ADD": _Builder.elementwise,
    "MUL": _Builder.elementwise,
    "AVERAGE_POOL_2D": _Builder.pool,
    "MAX_POOL_2D": _Builder.pool,
    "MEAN": _Builder.mean,
    "RSQRT": _Builder.each_row,
    "QUANTIZE": _Builder.each_row,
    "SOFTMAX": _Builder.each_row,
    "FULLY_CONNECTED": _Builder.dense,
    "RESHAPE": _Builder.reshape,
}
