"""From a float graph and measured ranges to an int8 graph, by TFLite's rules.

Weights: per output channel, symmetric, [-127, 127]. Biases: int32 at input scale * weight scale. Activations: per
tensor, asymmetric, zero exactly representable; or symmetric in 16 bits (`widen`), with int64 biases behind them.
`choose_quants` and `weight_scales` are the only places where a scale is made, so fake quantisation in training and the
exported file cannot disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ..graph import SAME_QUANT, Graph, Op, Quant, Tensor

#: Measured (lowest, highest) value of each activation that carries a quantisation of its own.
Ranges = Mapping[str, tuple[float, float]]

#: A bias may use this much of its accumulator, which still has room for the products: 32 bits, or behind a 16-bit
#: activation the 47 that TFLite's kernels requantise from.
_BIAS_LIMIT = {8: float(1 << 30), 16: float(1 << 45)}

#: A 16-bit activation has room for this many times what calibration saw: one bit of many buys that nothing clips.
ROOM = 2.0

#: Steps of 16 bits in one of 8 where an int8 activation is widened: a power of two, so that it loses nothing.
_WIDENED = 128

#: No scale is smaller: keeps a silent tensor or a dead channel from dividing by zero.
_SMALLEST_SCALE = 1e-9


def choose_quant(low: float, high: float, bits: int = 8) -> Quant:
    """Quantisation of an activation seen in [low, high], widened to hold zero exactly; computed in float32.

    With 16 `bits` it is symmetric, as TFLite's int16 kernels ask.
    """
    if bits == 16:
        largest = np.float32(max(abs(low), abs(high)))
        return Quant(float(max(largest / np.float32(32767.0), np.float32(_SMALLEST_SCALE))), 0, 16)
    low32, high32 = np.float32(min(low, 0.0)), np.float32(max(high, 0.0))
    scale = max(np.float32(high32 - low32) / np.float32(255.0), np.float32(_SMALLEST_SCALE))
    zero_point = int(np.clip(np.rint(np.float32(-128.0) - low32 / scale), -128, 127))
    return Quant(float(scale), zero_point)


def choose_quants(graph: Graph, ranges: Ranges, wide: Collection[str] = ()) -> dict[str, Quant]:
    """Quantisation of every activation of `graph` by name, of those in `wide` with 16 bits.

    Raises `InputError` naming the tensor whose range is missing or not finite.
    """
    quants = {graph.input: _choose(ranges, graph.input, wide)}
    for op in graph.ops:
        source = quants.get(op.inputs[0])
        if op.kind in SAME_QUANT and source is not None:
            quants[op.output] = source
        elif op.kind == "QUANTIZE" and source is not None and source.bits == 8 and op.output in wide:
            quants[op.output] = Quant(source.scale / _WIDENED, 0, 16)
        elif op.kind == "SOFTMAX":
            wide_answer = op.output in wide
            quants[op.output] = Quant(1 / 32768, 0, 16) if wide_answer else Quant(1 / 256, -128)  # as its kernels ask
        else:
            quants[op.output] = _choose(ranges, op.output, wide)
    return quants


def weight_scales(
    weight: NDArray[np.float32], bias: NDArray[np.float32], input_scale: float, input_bits: int = 8
) -> NDArray[np.float32]:
    """Scale of each output channel, (out,) float32, from `weight` with the channel first, (out, ...).

    A channel whose weights are so small that its bias would leave its integers gets a coarser scale instead.
    """
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    scales = largest.astype(np.float32) / np.float32(127.0)
    floor = np.abs(bias).astype(np.float32) / np.float32(_BIAS_LIMIT[input_bits] * input_scale)
    return np.maximum(np.maximum(scales, floor), np.float32(_SMALLEST_SCALE)).astype(np.float32)


def quantize(graph: Graph, ranges: Ranges, wide: Collection[str] = ()) -> Graph:
    """The int8 graph of a float `graph`, with activation scales from `ranges` (by tensor name).

    Tensors in `wide` get 16 bits; `widen` says which, and puts the QUANTIZE ops between. Raises `InputError` naming
    the tensor whose range is missing or not finite.
    """
    quants = choose_quants(graph, ranges, wide)
    tensors: list[Tensor] = []
    for tensor in graph.tensors:
        if tensor.data is None:
            tensors.append(replace(tensor, quant=quants[tensor.name]))
        else:
            tensors.append(_quantize_constant(tensor, 16 if tensor.name in wide else 8))
    ops = tuple(_quantize_op(op, quants[op.inputs[0]]) if op.weight is not None else op for op in graph.ops)
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
    scales = spread_scales(op, op.weight_scales)
    return np.asarray(op.weight.astype(np.float32) * scales, np.float32)


def channels_first(op: Op) -> NDArray[np.float32]:
    """An op's weights with the output channel as the first axis."""
    assert op.weight is not None
    return np.moveaxis(op.weight, 3, 0) if op.kind == "DEPTHWISE_CONV_2D" else op.weight


def spread_scales(op: Op, scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scales of output channels in a shape that multiplies the op's weights."""
    assert op.weight is not None
    return scales if op.kind == "DEPTHWISE_CONV_2D" else scales.reshape(-1, *(1,) * (op.weight.ndim - 1))


def _quantize_op(op: Op, input_quant: Quant) -> Op:
    assert op.weight is not None
    assert op.bias is not None
    scales = weight_scales(channels_first(op), op.bias, input_quant.scale, input_quant.bits)
    spread = spread_scales(op, scales)
    weight = np.clip(np.rint(op.weight / spread), -127, 127).astype(np.int8)
    bias = np.rint(op.bias.astype(np.float64) / (np.float32(input_quant.scale) * scales).astype(np.float64))
    return replace(op, weight=weight, bias=bias.astype(bias_dtype(input_quant)), weight_scales=scales)


def bias_dtype(input_quant: Quant) -> np.dtype[Any]:
    """The integers of a bias behind an activation of `input_quant`."""
    return np.dtype(np.int64 if input_quant.bits == 16 else np.int32)


def _quantize_constant(tensor: Tensor, bits: int) -> Tensor:
    assert tensor.data is not None
    quant = choose_quant(float(tensor.data.min()), float(tensor.data.max()), bits)
    data = np.clip(np.rint(tensor.data / np.float32(quant.scale)) + quant.zero_point, *quant.limits)
    return replace(tensor, quant=quant, data=data.astype(quant.dtype))


def _choose(ranges: Ranges, name: str, wide: Collection[str]) -> Quant:
    if name not in ranges or not np.isfinite(ranges[name]).all():
        raise InputError(f"no finite range for tensor {name}: calibrate the graph with `ptq.calibrate` first")
    low, high = ranges[name]
    return choose_quant(ROOM * low, ROOM * high, 16) if name in wide else choose_quant(low, high)
