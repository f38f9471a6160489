"""From a float graph and measured ranges to an int8 graph, by TFLite's rules.

Weights: per output channel, symmetric, [-127, 127]. Biases: int32 at input scale * weight scale. Activations: per
tensor, asymmetric, zero exactly representable. `choose_quant` and `weight_scales` are the only places where a scale is
made, so fake quantisation in training and the exported file cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import InputError
from .graph import Graph, Op, Quant, Tensor, quant_source

#: Measured (lowest, highest) value of each activation that carries a quantisation of its own.
Ranges = Mapping[str, tuple[float, float]]

#: A bias may use this much of int32: the accumulator still has room for the products.
_BIAS_LIMIT = float(1 << 30)

#: No scale is smaller: keeps a silent tensor or a dead channel from dividing by zero.
_SMALLEST_SCALE = 1e-9


def choose_quant(low: float, high: float) -> Quant:
    """Quantisation of an activation seen in [low, high], widened to hold zero exactly; computed in float32."""
    low32, high32 = np.float32(min(low, 0.0)), np.float32(max(high, 0.0))
    scale = max(np.float32(high32 - low32) / np.float32(255.0), np.float32(_SMALLEST_SCALE))
    zero_point = int(np.clip(np.rint(np.float32(-128.0) - low32 / scale), -128, 127))
    return Quant(float(scale), zero_point)


def weight_scales(weight: NDArray[np.float32], bias: NDArray[np.float32], input_scale: float) -> NDArray[np.float32]:
    """Scale of each output channel, (out,) float32, from `weight` with the channel first, (out, ...).

    A channel whose weights are so small that its bias would leave int32 gets a coarser scale instead.
    """
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    scales = largest.astype(np.float32) / np.float32(127.0)
    floor = np.abs(bias).astype(np.float32) / np.float32(_BIAS_LIMIT * input_scale)
    return np.maximum(np.maximum(scales, floor), np.float32(_SMALLEST_SCALE)).astype(np.float32)


def quantize(graph: Graph, ranges: Ranges) -> Graph:
    """The int8 graph of a float `graph`, with activation scales from `ranges` (by tensor name).

    Raises `InputError` naming the tensor whose range is missing or not finite.
    """
    source = quant_source(graph)
    quants = {name: choose_quant(*_range(ranges, name)) for name in set(source.values())}
    tensors: list[Tensor] = []
    for tensor in graph.tensors:
        if tensor.data is None:
            tensors.append(replace(tensor, quant=quants[source[tensor.name]]))
        else:
            tensors.append(_quantize_constant(tensor))
    ops = tuple(_quantize_op(op, quants[source[op.inputs[0]]]) if op.weight is not None else op for op in graph.ops)
    return Graph(graph.name, tuple(tensors), ops, graph.input, graph.output).validate()


def dequantize(tensor: Tensor) -> NDArray[np.float32]:
    """The real values of an int8 constant operand, float32."""
    assert tensor.data is not None
    assert tensor.quant is not None
    return (tensor.data.astype(np.float32) - np.float32(tensor.quant.zero_point)) * np.float32(tensor.quant.scale)


def dequantize_weights(op: Op) -> NDArray[np.float32]:
    """The real weights of an int8 convolution, float32 in the op's own layout."""
    assert op.weight is not None
    assert op.weight_scales is not None
    scales = op.weight_scales[:, None, None, None] if op.kind == "CONV_2D" else op.weight_scales
    return np.asarray(op.weight.astype(np.float32) * scales, np.float32)


def channels_first(op: Op) -> NDArray[np.float32]:
    """A convolution's weights with the output channel as the first axis."""
    assert op.weight is not None
    return op.weight if op.kind == "CONV_2D" else np.moveaxis(op.weight, 3, 0)


def _quantize_op(op: Op, input_quant: Quant) -> Op:
    assert op.weight is not None
    assert op.bias is not None
    scales = weight_scales(channels_first(op), op.bias, input_quant.scale)
    spread = scales[:, None, None, None] if op.kind == "CONV_2D" else scales
    weight = np.clip(np.rint(op.weight / spread), -127, 127).astype(np.int8)
    bias = np.rint(op.bias.astype(np.float64) / (np.float32(input_quant.scale) * scales).astype(np.float64))
    return replace(op, weight=weight, bias=bias.astype(np.int32), weight_scales=scales)


def _quantize_constant(tensor: Tensor) -> Tensor:
    assert tensor.data is not None
    quant = choose_quant(float(tensor.data.min()), float(tensor.data.max()))
    data = np.clip(np.rint(tensor.data / np.float32(quant.scale)) + quant.zero_point, -128, 127).astype(np.int8)
    return replace(tensor, quant=quant, data=data)


def _range(ranges: Ranges, name: str) -> tuple[float, float]:
    if name not in ranges or not np.isfinite(ranges[name]).all():
        raise InputError(f"no finite range for tensor {name}: calibrate the graph with `ptq.calibrate` first")
    return ranges[name]
