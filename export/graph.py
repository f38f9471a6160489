"""The network as a short list of ops: the one description that every writer, reader, trainer and generator uses.

The same class holds the float network with every fold done (`Tensor.quant` is None throughout) and the int8 network.
Activations are NHWC as in TFLite, [1, frequency, time, channels]; a tensor is named after the op that writes it.
No torch here, so that firmware and runtime tools can read graphs without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.budget import LayerCost
from ..runtime.errors import InputError

KINDS = (
    "PAD",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "ADD",
    "AVERAGE_POOL_2D",
    "MEAN",
    "MUL",
    "RSQRT",
    "QUANTIZE",  # from one quantisation to another, 8 or 16 bits
    # The rest is only met in models of other converters.
    "MAX_POOL_2D",
    "FULLY_CONNECTED",
    "RESHAPE",
    "SOFTMAX",
)

#: Ops whose int8 kernel copies the input's scale and zero point instead of requantising.
SAME_QUANT = ("PAD", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE")

#: Ops with weights and a bias.
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")

#: Ops that a ReLU may be part of.
CLAMPING = (*WEIGHTED, "ADD", "MUL", "AVERAGE_POOL_2D", "MAX_POOL_2D", "QUANTIZE")


@dataclass(frozen=True)
class Quant:
    """Per-tensor quantisation, real = scale * (q - zero_point); `scale` is exactly a float32.

    `bits` is 8, or 16 for activations that int8 is too coarse for; then the zero point is 0.
    """

    scale: float
    zero_point: int
    bits: int = 8

    @property
    def dtype(self) -> np.dtype[Any]:
        """The integers that hold it: int8 or int16."""
        return np.dtype(f"int{self.bits}")

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest integer."""
        return -(1 << self.bits - 1), (1 << self.bits - 1) - 1


@dataclass(frozen=True, eq=False)
class Tensor:
    """One activation, or a constant operand when `data` is there (float32, or int8 in an int8 graph)."""

    name: str
    shape: tuple[int, ...]
    quant: Quant | None = None
    data: NDArray[Any] | None = None

    @property
    def stored_bytes(self) -> int:
        """What the tensor takes on the device; a float graph's count as the int8 that they will be."""
        bits = 8 if self.quant is None else self.quant.bits
        return int(np.prod(self.shape)) * bits // 8


@dataclass(frozen=True, eq=False)
class Op:
    """One op. `weight` is (out, kh, kw, in) for CONV_2D, (1, kh, kw, out) for DEPTHWISE_CONV_2D (output channel c reads
    input channel c * in // out) and (out, in) for FULLY_CONNECTED.

    float32 weights and bias in a float graph; int8 weights with `weight_scales` (out,) float32 and a bias at
    input scale * weight scale in an int8 graph: int32, or int64 where the input has 16 bits. `pads` is ((before,
    after) of frequency, of time) in zeros; `relu` clamps the result at zero and, where there is a `ceiling`, there; a
    QUANTIZE with it is TFLite's RELU or RELU6.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    weight: NDArray[Any] | None = None
    bias: NDArray[Any] | None = None
    weight_scales: NDArray[np.float32] | None = None
    stride: tuple[int, int] = (1, 1)
    padding: str = "VALID"  # or "SAME", which for stride 1 pads symmetrically; pools leave what it adds out of the mean
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    window: tuple[int, int] = (1, 1)
    axes: tuple[int, ...] = ()
    keep_dims: bool = True
    shape: tuple[int, ...] = ()  # what RESHAPE gives
    relu: bool = False
    ceiling: float | None = None

    @property
    def name(self) -> str:
        """The op's name, which is its output's."""
        return self.output


@dataclass(frozen=True, eq=False)
class Graph:
    """Ops in the order they run, from the tensor `input` to the tensor `output`."""

    name: str
    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    input: str
    output: str

    @cached_property
    def tensor(self) -> Mapping[str, Tensor]:
        """Tensors by name."""
        return {tensor.name: tensor for tensor in self.tensors}

    @property
    def is_int8(self) -> bool:
        """True when the graph carries quantisation."""
        return self.tensor[self.input].quant is not None

    @property
    def wide(self) -> frozenset[str]:
        """Names of the tensors that are held in 16 bits."""
        return frozenset(t.name for t in self.tensors if t.quant is not None and t.quant.bits == 16)

    @property
    def input_quant(self) -> Quant:
        """How the input is quantised; raises `InputError` on a float graph."""
        return _quant_of(self, self.input)

    @property
    def output_quant(self) -> Quant:
        """How the logits are quantised; raises `InputError` on a float graph."""
        return _quant_of(self, self.output)

    def validate(self) -> Graph:
        """Return the graph itself when shapes, order, dtypes, ranges and TFLite's int8 rules all hold.

        Raises `InputError` naming the first tensor or op that breaks one.
        """
        from .graph_check import check

        check(self)
        return self

    def costs(self) -> list[LayerCost]:
        """Cost of each convolution of the artefact: plain multiply-accumulates, and int8 weights with int32 biases.

        Constant operands of other ops count as parameters of that op.
        """
        costs = []
        for op in self.ops:
            constants = [self.tensor[name].data for name in op.inputs]
            extra = sum(data.size for data in constants if data is not None)
            if op.weight is None:
                if extra:
                    costs.append(LayerCost(op.name, extra, 0, extra))
                continue
            shape = self.tensor[op.output].shape
            positions = int(np.prod(shape[1:3])) if len(shape) == 4 else 1
            biases = 0 if op.bias is None else op.bias.size
            bias_bytes = biases * (8 if op.bias is not None and op.bias.dtype == np.int64 else 4)
            costs.append(
                LayerCost(op.name, op.weight.size + biases, op.weight.size * positions, op.weight.size + bias_bytes)
            )
        return costs

    def live_activation_bytes(self) -> list[int]:
        """Activation memory while each op runs, in a plan that runs one after another and reuses no buffer in place."""
        last = {name: index for index, op in enumerate(self.ops) for name in op.inputs}
        last[self.output] = len(self.ops)
        live, held = {self.input}, []
        for index, op in enumerate(self.ops):
            live.add(op.output)
            held.append(sum(self.tensor[name].stored_bytes for name in live))
            live = {name for name in live if last.get(name, -1) > index}
        return held

    def peak_activation_bytes(self) -> int:
        """The most activation memory that any op needs, see `live_activation_bytes`."""
        return max(self.live_activation_bytes(), default=0)

    def differences(self, other: Graph) -> list[str]:
        """One line for each thing in which two graphs differ, bit for bit; empty when they are the same."""
        lines = [
            f"{key}: {getattr(self, key)!r} != {getattr(other, key)!r}"
            for key in ("name", "input", "output")
            if getattr(self, key) != getattr(other, key)
        ]
        mine, theirs = self.tensor, other.tensor
        lines += [f"tensor {name}: in one graph only" for name in sorted(set(mine) ^ set(theirs))]
        lines += [
            line for name in mine if name in theirs for line in _differing(f"tensor {name}", mine[name], theirs[name])
        ]
        if [op.name for op in self.ops] != [op.name for op in other.ops]:
            lines.append("ops: not the same ops in the same order")
            return lines
        for op, twin in zip(self.ops, other.ops, strict=True):
            lines += _differing(f"op {op.name}", op, twin)
        return lines


def to_nchw(values: NDArray[Any]) -> NDArray[Any]:
    """A copy of an activation or constant (NHWC) as torch and ONNX have it; fewer than four axes stay as they are."""
    return np.ascontiguousarray(np.moveaxis(values, 3, 1) if values.ndim == 4 else values)


def to_nhwc(values: NDArray[Any]) -> NDArray[Any]:
    """A copy of what torch and ONNX have, in the graph's layout."""
    return np.ascontiguousarray(np.moveaxis(values, 1, 3) if values.ndim == 4 else values)


def quant_source(graph: Graph) -> dict[str, str]:
    """For each activation, the tensor whose quantisation it carries: itself, or what a chain of PAD and pools read."""
    source = {graph.input: graph.input}
    for op in graph.ops:
        source[op.output] = source[op.inputs[0]] if op.kind in SAME_QUANT else op.output
    return source


def _quant_of(graph: Graph, name: str) -> Quant:
    quant = graph.tensor[name].quant
    if quant is None:
        raise InputError(f"graph {graph.name} is float: quantise it first")
    return quant


def _differing(name: str, mine: Tensor | Op, theirs: Tensor | Op) -> list[str]:
    lines = []
    for field in fields(mine):
        a, b = getattr(mine, field.name), getattr(theirs, field.name)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            equal = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
            if not equal:
                count = int((a != b).sum()) if a.shape == b.shape else -1
                lines.append(f"{name}: {field.name} differs ({count} elements)")
        elif type(a) is not type(b) or a != b:
            lines.append(f"{name}: {field.name}: {a!r} != {b!r}")
    return lines
