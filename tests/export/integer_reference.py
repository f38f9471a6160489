"""TFLite's integer arithmetic in plain numpy integers, written from its specification for the tests alone.

int32 accumulators, one multiplier and shift a channel, double rounding: a saturating rounding doubling high multiply,
then a rounding right shift (both round half away from zero). Convolutions of 16-bit activations sum in int64 and are
requantised by a multiplier of 15 bits, rounded once, half up.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyscene.export.graph import Graph, Op

Array = NDArray[np.int64]


def multiplier(real: float) -> tuple[int, int]:
    """`real` as (q, shift): real = q * 2**(shift - 31) with q in [2**30, 2**31)."""
    mantissa, shift = math.frexp(real)
    q = round_half_away(mantissa * 2**31)
    return (q // 2, shift + 1) if q == 2**31 else (q, shift)


def round_half_away(value: float) -> int:
    return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)


def requantize(x: Array, q: Any, shift: Any) -> Array:
    """x * q * 2**(shift - 31), rounded twice."""
    q, shift = np.asarray(q, np.int64), np.asarray(shift, np.int64)
    x = x << np.maximum(shift, 0)
    product = x * q
    # C++ divides towards zero after the nudge.
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    total = product + nudge
    high = np.sign(total) * (np.abs(total) >> 31)
    right = np.maximum(-shift, 0)
    mask = (np.int64(1) << right) - 1
    remainder = high & mask
    threshold = (mask >> 1) + (high < 0)
    return (high >> right) + (remainder > threshold)


def requantize_wide(x: Array, q: Any, shift: Any) -> Array:
    """x * q * 2**(shift - 31) of a sum of products with 16-bit activations."""
    q, shift = np.asarray(q, np.int64), np.asarray(shift, np.int64)
    short = np.where(q < 0x7FFF0000, (q + (1 << 15)) >> 16, 0x7FFF)
    down = 15 - shift
    return (x * short + (np.int64(1) << (down - 1))) >> down


def run(graph: Graph, inputs: NDArray[np.int8]) -> dict[str, NDArray[Any]]:
    """Every activation of a graph without RSQRT, for one int8 input (n_mels, n_frames)."""
    values: dict[str, NDArray[Any]] = {graph.input: inputs[None, :, :, None]}
    values |= {tensor.name: tensor.data for tensor in graph.tensors if tensor.data is not None}
    for op in graph.ops:
        values[op.output] = _OPS[op.kind](graph, op, *(values[name] for name in op.inputs))
    return values


def _finish(graph: Graph, op: Op, x: Array) -> NDArray[Any]:
    quant = graph.tensor[op.output].quant
    assert quant is not None
    low, high = quant.limits
    low = max(low, quant.zero_point) if op.relu else low
    return np.clip(x + quant.zero_point, low, high).astype(quant.dtype)


def _around(x: NDArray[Any], kernel: tuple[int, ...], stride: tuple[int, int]) -> list[tuple[int, int]]:
    """SAME padding of the four axes: what does not halve goes behind."""
    pads = []
    for size, taps, step in zip(x.shape[1:3], kernel, stride, strict=True):
        total = max((-(-size // step) - 1) * step + taps - size, 0)
        pads.append((total // 2, total - total // 2))
    return [(0, 0), *pads, (0, 0)]


def _convolution(graph: Graph, op: Op, x: NDArray[Any]) -> NDArray[Any]:
    source, target = graph.tensor[op.inputs[0]].quant, graph.tensor[op.output].quant
    assert op.weight is not None
    assert op.bias is not None
    assert op.weight_scales is not None
    assert source is not None
    assert target is not None
    kernel = op.weight.shape[1:3]
    padded = x.astype(np.int64) - source.zero_point
    if op.padding == "SAME":
        padded = np.pad(padded, _around(x, kernel, op.stride))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))
    windows = windows[:, :: op.stride[0], :: op.stride[1]]  # (1, h, w, c, kh, kw)
    weight = op.weight.astype(np.int64)
    if op.kind == "CONV_2D":
        sums = np.einsum("nhwcij,oijc->nhwo", windows, weight, optimize=True)
    else:
        sums = np.einsum("nhwcij,ijc->nhwc", windows, weight[0], optimize=True)
    scales = [float(np.float32(source.scale)) * float(s) / float(np.float32(target.scale)) for s in op.weight_scales]
    q, shift = np.array([multiplier(scale) for scale in scales], np.int64).T
    scale_down = requantize_wide if source.bits == 16 else requantize
    return _finish(graph, op, scale_down(sums + op.bias, q, shift))


def _pad(graph: Graph, op: Op, x: NDArray[Any]) -> NDArray[Any]:
    quant = graph.tensor[op.output].quant
    assert quant is not None
    return np.pad(x, [(0, 0), *op.pads, (0, 0)], constant_values=quant.zero_point)


def _add(graph: Graph, op: Op, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    quants = [graph.tensor[name].quant for name in (*op.inputs, op.output)]
    scales = [float(np.float32(quant.scale)) for quant in quants if quant is not None]
    twice = 2 * max(scales[:2])
    room = 15 if a.dtype == np.int16 else 20
    total = np.zeros(np.broadcast_shapes(a.shape, b.shape), np.int64)
    for x, quant, scale in zip((a, b), quants, scales, strict=False):
        assert quant is not None
        total = total + requantize((x.astype(np.int64) - quant.zero_point) << room, *multiplier(scale / twice))
    return _finish(graph, op, requantize(total, *multiplier(twice / (2**room * scales[2]))))


def _mul(graph: Graph, op: Op, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    quants = [graph.tensor[name].quant for name in (*op.inputs, op.output)]
    scales = [float(np.float32(quant.scale)) for quant in quants if quant is not None]
    zeros = [quant.zero_point for quant in quants if quant is not None]
    product = (a.astype(np.int64) - zeros[0]) * (b.astype(np.int64) - zeros[1])
    return _finish(graph, op, requantize(product, *multiplier(scales[0] * scales[1] / scales[2])))


def _quantize(graph: Graph, op: Op, x: NDArray[Any]) -> NDArray[Any]:
    source, target = graph.tensor[op.inputs[0]].quant, graph.tensor[op.output].quant
    assert source is not None
    assert target is not None
    ratio = float(np.float32(source.scale)) / float(np.float32(target.scale))
    return _finish(graph, op, requantize(x.astype(np.int64) - source.zero_point, *multiplier(ratio)))


def _average_pool(graph: Graph, op: Op, x: NDArray[Any]) -> NDArray[Any]:
    pads = _around(x, op.window, op.stride) if op.padding == "SAME" else [(0, 0)] * 4

    def sums(values: NDArray[Any]) -> NDArray[Any]:
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, pads), op.window, axis=(1, 2))
        return np.asarray(windows[:, :: op.stride[0], :: op.stride[1]].sum(axis=(4, 5)))

    total, count = sums(x.astype(np.int64)), sums(np.ones(x.shape, np.int64))
    rounded = np.where(total > 0, total + count // 2, total - count // 2)
    return np.asarray(np.sign(rounded) * (np.abs(rounded) // count)).astype(x.dtype)


def _mean(graph: Graph, op: Op, x: NDArray[Any]) -> NDArray[Any]:
    source, target = graph.tensor[op.inputs[0]].quant, graph.tensor[op.output].quant
    assert source is not None
    assert target is not None
    count = int(np.prod([x.shape[axis] for axis in op.axes]))
    total = x.astype(np.int64).sum(axis=op.axes, keepdims=op.keep_dims) - count * source.zero_point
    q, shift = multiplier(float(np.float32(source.scale)) / float(np.float32(target.scale)))
    # The division by the count goes into the multiplier, as far as it keeps its 31 bits.
    spare = min(count.bit_length() - 1, 32, 31 + shift)
    return _finish(graph, op, requantize(total, (q << spare) // count, shift - spare))


_OPS = {
    "MEAN": _mean,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "PAD": _pad,
    "ADD": _add,
    "MUL": _mul,
    "QUANTIZE": _quantize,
    "AVERAGE_POOL_2D": _average_pool,
}
