"""TFLite's int8 arithmetic as numbers: the parameters and tables that the C ops take.

Everything here equals what LiteRT's reference kernels work out when they prepare an op, so that the C of `c/ts_ops.h`
and the kernels' families give the same bytes. The dataclasses have the fields of the C structs in their order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..export.graph import Graph, Op, Quant
from ..runtime.errors import InputError
from .families import Constants

#: Bits that ADD gains on its operands before it brings them to one scale.
ADD_LEFT_SHIFT = 20

_INT32 = (-(2**31), 2**31 - 1)


@dataclass(frozen=True)
class Clamp:
    """Zero point and limits of an op's int8 result."""

    zero_point: int
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Dense:
    """A fully connected layer before it is written as the C struct `ts_dense`.

    `weight` (outputs, inputs) int8; `bias` (outputs,) int32 with the input's zero point folded in; `scales` (outputs,)
    float64: LiteRT rounds the real product of sum and scale here, not a fixed-point one.
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    scales: NDArray[np.float64]


@dataclass(frozen=True)
class Addition:
    """The C struct `ts_add`."""

    zero_point_a: int
    zero_point_b: int
    zero_point: int
    multiplier_a: int
    shift_a: int
    multiplier_b: int
    shift_b: int
    multiplier: int
    shift: int
    left_shift: int
    low: int
    high: int


@dataclass(frozen=True)
class Product:
    """The C struct `ts_mul`."""

    zero_point_a: int
    zero_point_b: int
    zero_point: int
    multiplier: int
    shift: int
    low: int
    high: int


@dataclass(frozen=True)
class Mean:
    """The C struct `ts_mean`."""

    count: int
    zero_point_in: int
    zero_point: int
    multiplier: int
    shift: int


@dataclass(frozen=True)
class Pool:
    """The C struct `ts_pool`, and the same of the rows: output row y reads rows y * row_stride - rows_before up to
    `rows` more, those that exist."""

    channels: int
    columns: int
    kernel: int
    stride: int
    before: int
    low: int
    high: int
    rows: int
    row_stride: int
    rows_before: int


def quantize_multiplier(real: float) -> tuple[int, int]:
    """`real` >= 0 as (multiplier, shift): real = multiplier * 2^(shift - 31), multiplier 0 or in [2^30, 2^31).

    As TFLite's QuantizeMultiplier: what would need a shift below -31 becomes 0. Raises `InputError` above a shift of
    30, which the kernels cannot shift by.
    """
    if not math.isfinite(real) or real < 0:
        raise InputError(f"a ratio of scales is {real}, expected a finite number that is not negative")
    mantissa, shift = math.frexp(real)
    multiplier = math.floor(mantissa * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    if multiplier == 0 or shift < -31:
        return 0, 0
    if shift > 30:
        raise InputError(f"a ratio of scales is {real}, expected below 2^30: calibrate the model again")
    return multiplier, shift


def int8_quant(graph: Graph, name: str) -> Quant:
    """How an int8 tensor is quantised; raises `InputError` for a float or 16-bit one."""
    quant = graph.tensor[name].quant
    if quant is None or quant.bits != 8:
        found = "float" if quant is None else f"int{quant.bits}"
        raise InputError(f"{graph.name}: tensor {name} is {found}, the C kernels take int8: export without --int16")
    return quant


def clamp(graph: Graph, op: Op) -> Clamp:
    """Where `op`'s int8 result begins and ends, its ReLU and ceiling included."""
    quant = int8_quant(graph, op.output)
    low, high = quant.limits
    if op.relu:
        low = max(low, quant.zero_point)
        if op.ceiling is not None:
            steps = np.float32(op.ceiling) / np.float32(quant.scale)
            if not steps < 2**31:
                raise InputError(f"{op.name}: scale {quant.scale} is too fine for a ceiling of {op.ceiling}")
            high = min(high, quant.zero_point + math.floor(float(steps) + 0.5))
    return Clamp(quant.zero_point, low, high)


def constants(graph: Graph, op: Op) -> Constants:
    """A convolution's numbers, the input's zero point folded into the bias.

    Weight (outputs, height, kernel, inputs) of CONV_2D, (height, kernel, outputs) of DEPTHWISE_CONV_2D; `as_pointwise`
    flattens a 1x1. Raises `InputError` when a sum may leave int32.
    """
    assert op.weight is not None
    assert op.weight_scales is not None
    source, target = int8_quant(graph, op.inputs[0]), int8_quant(graph, op.output)
    depthwise = op.kind == "DEPTHWISE_CONV_2D"
    weight = op.weight[0] if depthwise else op.weight
    bias = _folded_bias(op, np.moveaxis(weight, -1, 0) if depthwise else weight, source.zero_point)
    pairs = [quantize_multiplier(ratio) for ratio in _ratios(op, source, target)]
    multiplier, shift = (np.array(values, np.int32) for values in zip(*pairs, strict=True))
    return Constants(np.ascontiguousarray(weight, np.int8), bias, multiplier, shift)


def as_pointwise(numbers: Constants) -> Constants:
    """The same with its weight as (outputs, inputs): of a 1x1 convolution, or one whose window is its input."""
    return replace(numbers, weight=numbers.weight.reshape(len(numbers.bias), -1))


def dense(graph: Graph, op: Op) -> Dense:
    """A FULLY_CONNECTED's numbers; raises `InputError` when a sum may leave int32."""
    assert op.weight is not None
    source, target = int8_quant(graph, op.inputs[0]), int8_quant(graph, op.output)
    bias = _folded_bias(op, op.weight, source.zero_point)
    scales = np.array(_ratios(op, source, target), np.float64)
    return Dense(np.ascontiguousarray(op.weight, np.int8), bias, scales)


def _ratios(op: Op, source: Quant, target: Quant) -> list[float]:
    assert op.weight_scales is not None
    return [source.scale * float(scale) / target.scale for scale in op.weight_scales]


def _folded_bias(op: Op, by_output: NDArray[np.int8], zero_point: int) -> NDArray[np.int32]:
    assert op.bias is not None
    flat = by_output.reshape(len(by_output), -1).astype(np.int64)
    bias = op.bias.astype(np.int64) - zero_point * flat.sum(axis=1)
    # The largest and smallest sums that any input gives, before the bias and with it.
    up, down = np.maximum(flat * 127, flat * -128).sum(axis=1), np.minimum(flat * 127, flat * -128).sum(axis=1)
    for values in (bias, up, down, bias + up, bias + down):
        if values.min() < _INT32[0] or values.max() > _INT32[1]:
            worst = int(values[np.abs(values).argmax()])
            raise InputError(f"{op.name}: a sum of its products may reach {worst}, which is no int32: train it again")
    return bias.astype(np.int32)


def addition(graph: Graph, op: Op) -> Addition:
    """Parameters of an ADD; raises `InputError` when its result's scale is too fine for TFLite's kernel."""
    a, b, target = (int8_quant(graph, name) for name in (*op.inputs, op.output))
    twice = 2 * max(a.scale, b.scale)
    limits = clamp(graph, op)
    ratio = twice / (2**ADD_LEFT_SHIFT * target.scale)
    multiplier, shift = quantize_multiplier(ratio)
    if shift > 0 or ratio >= 1:
        raise InputError(f"{op.name}: ADD to scale {target.scale} from {a.scale} and {b.scale}: calibrate it again")
    return Addition(
        a.zero_point,
        b.zero_point,
        target.zero_point,
        *quantize_multiplier(a.scale / twice),
        *quantize_multiplier(b.scale / twice),
        multiplier,
        shift,
        ADD_LEFT_SHIFT,
        limits.low,
        limits.high,
    )


def product(graph: Graph, op: Op) -> Product:
    """Parameters of a MUL."""
    a, b, target = (int8_quant(graph, name) for name in (*op.inputs, op.output))
    limits = clamp(graph, op)
    # TFLite works in float32 here.
    ratio = np.float32(a.scale) * np.float32(b.scale) / np.float32(target.scale)
    multiplier, shift = quantize_multiplier(float(ratio))
    return Product(a.zero_point, b.zero_point, target.zero_point, multiplier, shift, limits.low, limits.high)


def mean(graph: Graph, op: Op) -> Mean:
    """Parameters of a MEAN: the division by the count goes into the multiplier, as far as it keeps its 31 bits.

    Raises `InputError` when its sums may leave int32.
    """
    source, target = int8_quant(graph, op.inputs[0]), int8_quant(graph, op.output)
    shape = graph.tensor[op.inputs[0]].shape
    count = math.prod(shape[axis] for axis in set(op.axes))
    if count * 255 > _INT32[1]:
        raise InputError(f"{op.name}: MEAN over {count} values leaves int32, expected at most {_INT32[1] // 255}")
    multiplier, shift = quantize_multiplier(source.scale / target.scale)
    spare = min(count.bit_length() - 1, 32, 31 + shift)
    return Mean(count, source.zero_point, target.zero_point, (multiplier << spare) // count, shift - spare)


def pool(graph: Graph, op: Op) -> Pool:
    """Parameters of AVERAGE_POOL_2D and MAX_POOL_2D."""
    _, height, width, channels = graph.tensor[op.inputs[0]].shape
    limits = clamp(graph, op)
    before = [0, 0]
    if op.padding == "SAME":
        for axis, size in enumerate((height, width)):
            steps, taps = op.stride[axis], op.window[axis]
            before[axis] = max((-(-size // steps) - 1) * steps + taps - size, 0) // 2
    return Pool(
        channels,
        width,
        op.window[1],
        op.stride[1],
        before[1],
        limits.low,
        limits.high,
        op.window[0],
        op.stride[0],
        before[0],
    )
