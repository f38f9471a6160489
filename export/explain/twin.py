"""An int8 graph beside its float twin: the same ops, run in float, in int8, or with any part of them in either.

Values are (batch, channels, freq, time) torch tensors, as in `fake_quant`, whose arithmetic this is. Both networks keep
every tensor in the same units, so that a tensor of one can be put into the other and the two be subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...runtime.errors import InputError, require
from ..graph import SAME_QUANT, Graph, Op, Quant
from ..quantization.fake_quant import dequantized, oihw, run_op

#: Fine-tuning moves the size of a channel's weights by a per cent or two; other units move it by tens.
_SAME_UNITS = 0.05

Values = dict[str, Tensor]


@dataclass(frozen=True)
class Mode:
    """How one op runs: with int8 weights or float ones, its result rounded or not, and clipped to int8's range.

    The result of a `wide` op is rounded only where an op that is not wide reads it, as at the border of 16-bit layers.
    """

    weights: bool = False
    rounded: bool = False
    clipped: bool = True
    wide: bool = False


FLOAT = Mode()
INT8 = Mode(weights=True, rounded=True)
WIDE = Mode(weights=True, wide=True)


@dataclass(frozen=True, eq=False)
class FloatTwin:
    """A float graph of the int8 graph's structure; without `exact` its weights are the int8 network's own."""

    graph: Graph
    exact: bool
    origin: str


def float_twin(graph: Graph, float_model: bytes | None) -> FloatTwin:
    """The float twin of an int8 `graph`: with the weights of `float_model` (model_float.onnx) by the ops' names.

    Without it, or when its tensors are in other units than the graph's, the int8 weights in float stand in, and what
    their rounding costs cannot be seen. Raises `InputError` when the file is no ONNX model.
    """
    plain = dequantized(graph)
    if float_model is None:
        return FloatTwin(plain, False, "the int8 weights in float: the model has no float network beside it")
    constants = _initializers(float_model)
    ops, tensors, distances = [], [], []
    for op in plain.ops:
        if op.weight is None or op.bias is None:
            ops.append(op)
            continue
        weight, bias = constants.get(f"{op.name}/weight"), constants.get(f"{op.name}/bias")
        weight = None if weight is None else _stored(weight, op)
        if weight is None or bias is None or weight.shape != op.weight.shape or bias.shape != op.bias.shape:
            return FloatTwin(plain, False, f"the int8 weights in float: model_float.onnx has no such layer {op.name}")
        distances.append(_distance(weight, op))
        ops.append(replace(op, weight=weight, bias=bias))
    for tensor in plain.tensors:
        data = constants.get(tensor.name) if tensor.data is not None else None
        fits = data is not None and data.ndim == 4 and np.moveaxis(data, 1, 3).shape == tensor.shape
        tensors.append(replace(tensor, data=np.moveaxis(data, 1, 3).copy()) if fits and data is not None else tensor)
    if not distances or float(np.mean(distances)) > _SAME_UNITS:
        return FloatTwin(plain, False, "the int8 weights in float: model_float.onnx keeps its tensors in other units")
    twin = Graph(plain.name, tuple(tensors), tuple(ops), plain.input, plain.output).validate()
    return FloatTwin(twin, True, "model_float.onnx")


class Twin:
    """Runs an int8 graph and its float twin, op by op, in any mixture of the two."""

    def __init__(self, graph: Graph, twin: FloatTwin) -> None:
        self.graph = graph
        self.exact = twin.exact
        plain = dequantized(graph)
        self.quants: dict[str, Quant] = {t.name: t.quant for t in graph.tensors if t.quant is not None}
        self._float, self._int8 = _parameters(twin.graph), _parameters(plain)
        self._constants = {False: _operands(twin.graph), True: _operands(plain)}
        self._last = {name: index for index, op in enumerate(graph.ops) for name in op.inputs}

    def result(self, op: Op, values: Mapping[str, Tensor], weights: bool) -> Tensor:
        """What `op` gives for `values`, not rounded, with the int8 or the float `weights` and constants."""
        constants = self._constants[weights]
        inputs = [values[name] if name in values else constants[name] for name in op.inputs]
        weight, bias = (self._int8 if weights else self._float).get(op.name, (None, None))
        return run_op(op, inputs, weight, bias)

    def round(self, name: str, value: Tensor, clipped: bool = True) -> Tensor:
        """A tensor's value as its quantisation holds it, or with steps of that size and no ends.

        The same numbers as `fake_quant.fake_quantize` in a fourth of its time, for lack of a gradient.
        """
        quant = self.quants[name]
        steps = (value * float(np.float32(1.0) / np.float32(quant.scale))).round_()
        if clipped:
            low, high = quant.limits
            steps.clamp_(low - quant.zero_point, high - quant.zero_point)
        return steps.mul_(quant.scale)

    def start(self, log_mel: Tensor, mode: Mode) -> Values:
        """The values before the first op."""
        name = self.graph.input
        return {name: self.round(name, log_mel, mode.clipped) if mode.rounded else log_mel}

    def run(self, values: Mapping[str, Tensor], first: int, mode: Callable[[int], Mode]) -> Tensor:
        """Logits from the `values` that stand before op `first`, each op in its `mode` by number."""
        live, wide = dict(values), set[str]()
        for index in range(first, len(self.graph.ops)):
            op, how = self.graph.ops[index], mode(index)
            inputs = live
            if wide and not how.wide and not wide.isdisjoint(op.inputs):
                inputs = live | {name: self.round(name, live[name]) for name in wide.intersection(op.inputs)}
            value = self.result(op, inputs, how.weights)
            live[op.output] = self.round(op.output, value, how.clipped) if how.rounded else value
            if how.wide:
                wide.add(op.output)
            for name in op.inputs:
                if self._last[name] == index:
                    live.pop(name, None)
                    wide.discard(name)
        logits = live[self.graph.output]
        return self.round(self.graph.output, logits) if self.graph.output in wide else logits

    def before(self, values: Mapping[str, Tensor], index: int) -> Values:
        """Those of `values` that op `index` or a later one reads, as they stand before it."""
        written = {self.graph.input, *(op.output for op in self.graph.ops[:index])}
        return {name: values[name] for name in written if self._last.get(name, -1) >= index}


def layers(graph: Graph) -> list[int]:
    """Numbers of the ops that quantisation can hurt: all but those that only move what is there."""
    return [number for number, op in enumerate(graph.ops) if op.kind not in SAME_QUANT or op.kind == "AVERAGE_POOL_2D"]


def block_of(name: str) -> str:
    """The block that a tensor belongs to: `blocks.3.norm.copy` to `blocks.3`, `head` to itself."""
    parts = name.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 and parts[1].isdigit() else parts[0]


def _parameters(graph: Graph) -> dict[str, tuple[Tensor, Tensor]]:
    return {
        op.name: (torch.from_numpy(oihw(op.weight, op).copy()), torch.from_numpy(op.bias.copy()))
        for op in graph.ops
        if op.weight is not None and op.bias is not None
    }


def _operands(graph: Graph) -> dict[str, Tensor]:
    return {
        t.name: torch.from_numpy(np.moveaxis(t.data, 3, 1).copy() if t.data.ndim == 4 else t.data.copy())
        for t in graph.tensors
        if t.data is not None
    }


def _initializers(model: bytes) -> dict[str, NDArray[np.float32]]:
    onnx = require("onnx", "export")
    try:
        tree: Any = onnx.load_model_from_string(model)
        return {
            entry.name: np.array(onnx.numpy_helper.to_array(entry), np.float32)
            for entry in tree.graph.initializer
            if entry.data_type == onnx.TensorProto.FLOAT
        }
    except Exception as error:  # protobuf's kinds differ between its versions
        raise InputError(f"model_float.onnx is damaged ({error}): export the model again") from error


def _distance(weight: NDArray[np.float32], op: Op) -> float:
    """How far apart the sizes of an op's channels are in two networks: mean absolute difference of the logarithms."""
    assert op.weight is not None
    axis = 3 if op.kind == "DEPTHWISE_CONV_2D" else 0
    axes = tuple(other for other in range(weight.ndim) if other != axis)
    a, b = (np.sqrt(np.square(values.astype(np.float64)).sum(axis=axes)) for values in (weight, op.weight))
    alive = np.minimum(a, b) > 1e-3 * max(a.max(), b.max())
    return float(np.abs(np.log(a[alive] / b[alive])).mean()) if alive.any() else 0.0


def _stored(weight: NDArray[np.float32], op: Op) -> NDArray[np.float32]:
    """A weight as ONNX has it in the graph's layout, the reverse of `oihw`."""
    if weight.ndim != 4 or op.weight is None or op.weight.ndim != 4:
        return weight
    axes = (1, 2, 3, 0) if op.kind == "DEPTHWISE_CONV_2D" else (0, 2, 3, 1)
    return np.ascontiguousarray(weight.transpose(axes))
