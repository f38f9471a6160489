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
)

#: Ops whose int8 kernel copies the input's scale and zero point instead of requantising.
SAME_QUANT = ("PAD", "AVERAGE_POOL_2D")


@dataclass(frozen=True)
class Quant:
    """Per-tensor quantisation, real = scale * (q - zero_point); `scale` is exactly a float32."""

    scale: float
    zero_point: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """One activation, or a constant operand when `data` is there (float32, or int8 in an int8 graph)."""

    name: str
    shape: tuple[int, ...]
    quant: Quant | None = None
    data: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class Op:
    """One op. `weight` is (out, kh, kw, in) for CONV_2D and (1, kh, kw, out) for DEPTHWISE_CONV_2D (multiplier 1).

    float32 weights and bias in a float graph; int8 weights with `weight_scales` (out,) float32 and int32 bias at
    input scale * weight scale in an int8 graph. `pads` is ((before, after) of frequency, of time) in zeros;
    `relu` clamps the result at zero.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    weight: NDArray[Any] | None = None
    bias: NDArray[Any] | None = None
    weight_scales: NDArray[np.float32] | None = None
    stride: tuple[int, int] = (1, 1)
    padding: str = "VALID"  # or "SAME", which for stride 1 pads symmetrically
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    window: tuple[int, int] = (1, 1)
    axes: tuple[int, ...] = ()
    keep_dims: bool = True
    relu: bool = False

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
        _check_tensors(self)
        written = {self.input} | {tensor.name for tensor in self.tensors if tensor.data is not None}
        for op in self.ops:
            unknown = [name for name in op.inputs if name not in written]
            if op.kind not in KINDS or unknown or op.output in written or op.output not in self.tensor:
                raise InputError(f"graph {self.name}: op {op.name} ({op.kind}) is unknown or out of order: {unknown}")
            shape = output_shape(op, [self.tensor[name].shape for name in op.inputs])
            if shape != self.tensor[op.output].shape:
                raise InputError(f"graph {self.name}: {op.name} gives {shape}, recorded {self.tensor[op.output].shape}")
            _check_constants(self, op)
            written.add(op.output)
        if self.output not in written or len(written) != len(self.tensors):
            raise InputError(f"graph {self.name}: tensors {sorted(set(self.tensor) - written)} are never written")
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
            positions = int(np.prod(self.tensor[op.output].shape[1:3]))
            biases = 0 if op.bias is None else op.bias.size
            costs.append(
                LayerCost(op.name, op.weight.size + biases, op.weight.size * positions, op.weight.size + 4 * biases)
            )
        return costs

    def peak_activation_bytes(self) -> int:
        """Least int8 activation memory of a plan that runs one op after another, no buffer reused in place."""
        last = {name: index for index, op in enumerate(self.ops) for name in op.inputs}
        last[self.output] = len(self.ops)
        live, peak = {self.input}, 0
        for index, op in enumerate(self.ops):
            live.add(op.output)
            peak = max(peak, sum(int(np.prod(self.tensor[name].shape)) for name in live))
            live = {name for name in live if last.get(name, -1) > index}
        return peak

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


def quant_source(graph: Graph) -> dict[str, str]:
    """For each activation, the tensor whose quantisation it carries: itself, or what a chain of PAD and pools read."""
    source = {graph.input: graph.input}
    for op in graph.ops:
        source[op.output] = source[op.inputs[0]] if op.kind in SAME_QUANT else op.output
    return source


def output_shape(op: Op, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Shape that `op` gives for input `shapes` (NHWC); raises `InputError` when they do not fit the op."""
    first = shapes[0]
    if op.kind in ("ADD", "MUL"):
        try:
            return tuple(np.broadcast_shapes(*shapes))
        except ValueError:
            raise InputError(f"{op.name}: {op.kind} cannot join shapes {shapes}") from None
    if op.kind == "RSQRT":
        return first
    if len(first) != 4:
        raise InputError(f"{op.name}: {op.kind} needs a 4-D input, got {first}")
    if op.kind == "MEAN":
        if op.keep_dims:
            return tuple(1 if axis in op.axes else size for axis, size in enumerate(first))
        return tuple(size for axis, size in enumerate(first) if axis not in op.axes)
    n, height, width, channels = first
    if op.kind == "PAD":
        return (n, height + sum(op.pads[0]), width + sum(op.pads[1]), channels)
    kernel = op.window if op.weight is None else op.weight.shape[1:3]
    if op.weight is not None:
        fits = op.weight.shape[3] == channels and (op.kind == "CONV_2D" or op.weight.shape[0] == 1)
        if op.weight.ndim != 4 or not fits:
            raise InputError(f"{op.name}: weight {op.weight.shape} does not fit {channels} input channels")
        channels = op.weight.shape[0] if op.kind == "CONV_2D" else channels
    same = op.padding == "SAME"
    sides = [
        -(-size // step) if same else (size - k) // step + 1
        for size, k, step in zip((height, width), kernel, op.stride, strict=True)
    ]
    if min(sides) < 1:
        raise InputError(f"{op.name}: window {kernel} is larger than its input {first}")
    return (n, sides[0], sides[1], channels)


def _quant_of(graph: Graph, name: str) -> Quant:
    quant = graph.tensor[name].quant
    if quant is None:
        raise InputError(f"graph {graph.name} is float: quantise it first")
    return quant


def _check_tensors(graph: Graph) -> None:
    if len(graph.tensor) != len(graph.tensors) or not {graph.input, graph.output} <= set(graph.tensor):
        raise InputError(f"graph {graph.name}: tensor names repeat, or the input or output is missing")
    for tensor in graph.tensors:
        if not tensor.shape or min(tensor.shape) < 1:
            raise InputError(f"graph {graph.name}: tensor {tensor.name} has shape {tensor.shape}")
        if (tensor.quant is not None) != graph.is_int8:
            raise InputError(f"graph {graph.name}: tensor {tensor.name} mixes float and int8")
        if tensor.quant is not None:
            scale = tensor.quant.scale
            exact = np.isfinite(scale) and scale > 0 and float(np.float32(scale)) == scale
            if not exact or not -128 <= tensor.quant.zero_point <= 127:
                raise InputError(f"graph {graph.name}: tensor {tensor.name} has impossible quantisation {tensor.quant}")
        if tensor.data is not None:
            _check_array(graph, tensor.name, tensor.data, np.int8 if graph.is_int8 else np.float32, tensor.shape)


def _check_constants(graph: Graph, op: Op) -> None:
    source, quant = graph.tensor[op.inputs[0]].quant, graph.tensor[op.output].quant
    if op.kind in SAME_QUANT and source != quant:
        raise InputError(f"graph {graph.name}: {op.name} ({op.kind}) must keep its input's quantisation {source}")
    if op.kind == "AVERAGE_POOL_2D" and op.padding != "VALID":
        raise InputError(f"graph {graph.name}: {op.name}: pools take no padding (torch and TFLite would differ)")
    if op.kind == "RSQRT" and source is not None and source.zero_point != -128:
        raise InputError(f"graph {graph.name}: {op.name}: RSQRT reads values below zero (zero point must be -128)")
    if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return
    if op.weight is None or op.bias is None:
        raise InputError(f"graph {graph.name}: {op.name} lacks its weight or bias")
    channels = graph.tensor[op.output].shape[3]
    _check_array(graph, op.name, op.weight, np.int8 if graph.is_int8 else np.float32, op.weight.shape)
    _check_array(graph, op.name, op.bias, np.int32 if graph.is_int8 else np.float32, (channels,))
    if graph.is_int8:
        if op.weight_scales is None or op.weight.min() < -127:
            raise InputError(f"graph {graph.name}: {op.name}: int8 weights need scales and must lie in -127..127")
        _check_array(graph, op.name, op.weight_scales, np.float32, (channels,))
        if op.weight_scales.min() <= 0:
            raise InputError(f"graph {graph.name}: {op.name} has a weight scale that is not positive")


def _check_array(graph: Graph, name: str, array: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape or not np.isfinite(array).all():
        raise InputError(
            f"graph {graph.name}: constant of {name} is {array.dtype} {array.shape} (or not finite), "
            f"expected {np.dtype(dtype)} {shape}"
        )


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
