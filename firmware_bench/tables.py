"""Tables of ops that map one int8 value to one number: RSQRT, QUANTIZE, and SOFTMAX's exponentials.

Worked out in Python's integers exactly as LiteRT's reference kernels do in fixed point: a number of `i` integer bits is
an int32 of 31 - i fractional ones, and multiplications round twice.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..export.graph import Graph, Op
from ..runtime.errors import InputError
from .arithmetic import clamp, int8_quant, quantize_multiplier

_LARGEST = 2**31 - 1

#: RSQRT keeps this many bits below one between its two multiplications.
_RSQRT_SHIFT = 20

#: Values of which SOFTMAX's sum keeps its bits.
MAX_SOFTMAX = 511

#: Integer bits of SOFTMAX's differences.
_DIFFERENCE_BITS = 5


def high_multiply(a: int, b: int) -> int:
    """round(a * b / 2^31) of two int32, halves towards +infinity, saturating for -2^31 squared."""
    return min((a * b + 2**30) >> 31, _LARGEST)


def round_shift(x: int, exponent: int) -> int:
    """round(x / 2^exponent), halves away from zero."""
    half = (1 << exponent) >> 1
    return (x + half) >> exponent if x >= 0 else -((-x + half) >> exponent)


def requantize(x: int, multiplier: int, shift: int) -> int:
    """x * multiplier * 2^(shift - 31), rounded twice; left shifts wrap as int32."""
    shifted = _wrap(x << max(shift, 0))
    return round_shift(high_multiply(shifted, multiplier), max(-shift, 0))


def lut(graph: Graph, op: Op) -> NDArray[np.int8]:
    """What RSQRT or QUANTIZE makes of -128 .. 127, (256,) int8, its ReLU and ceiling included."""
    source, target = int8_quant(graph, op.inputs[0]), int8_quant(graph, op.output)
    limits = clamp(graph, op)
    values = [q - source.zero_point for q in range(-128, 128)]
    if op.kind == "QUANTIZE":
        ratio = source.scale / target.scale
        if op.relu:  # a RELU to TFLite, which divides in float32
            ratio = float(np.float32(source.scale) / np.float32(target.scale))
        pair = quantize_multiplier(ratio)
        results = [requantize(value, *pair) + target.zero_point for value in values]
    else:
        root = np.sqrt(np.float32(source.scale)) * np.float32(target.scale)
        multiplier, shift = quantize_multiplier(1.0 / float(root))
        results = []
        for value in values:
            if value <= 0:  # below zero no value of a checked graph lies
                results.append(127)
                continue
            inverse, right = _inverse_square_root(value)
            one = requantize(1, inverse, _RSQRT_SHIFT - right)
            results.append(requantize(one, multiplier, shift - _RSQRT_SHIFT) + target.zero_point)
    return np.clip(results, limits.low, limits.high).astype(np.int8)


def exponentials(graph: Graph, op: Op) -> NDArray[np.int32]:
    """exp(-d * scale) of a SOFTMAX for d = 0 .. 255 steps below the largest, (256,) int32 in Q0.31.

    0 where TFLite leaves a value out. Raises `InputError` when the result is not at scale 1/256, zero point -128, or
    when there are more values than LiteRT's kernel can sum (it ends the program then).
    """
    source, target = int8_quant(graph, op.inputs[0]), int8_quant(graph, op.output)
    values = graph.tensor[op.output].shape[-1]
    if values > MAX_SOFTMAX:
        raise InputError(f"{op.name}: SOFTMAX of {values} values, expected at most {MAX_SOFTMAX}")
    if target.scale != 1 / 256 or target.zero_point != -128:
        raise InputError(f"{op.name}: SOFTMAX to {target}, expected scale 1/256 and zero point -128")
    multiplier, shift = quantize_multiplier(min(source.scale * 2 ** (31 - _DIFFERENCE_BITS), 2**31 - 1.0))
    if shift < 1:
        raise InputError(f"{op.name}: SOFTMAX of scale {source.scale}, expected above 2^-26: calibrate it again")
    furthest = math.floor((2**_DIFFERENCE_BITS - 1) * 2.0 ** (31 - _DIFFERENCE_BITS - shift))
    table = [_exp(high_multiply(-d << shift, multiplier)) if d <= furthest else 0 for d in range(256)]
    return np.array(table, np.int32)


def _exp(x: int) -> int:
    """exp of x <= 0 with 5 integer bits, in Q0.31: a polynomial around -1/8 times powers of e by the bits of x."""
    if x == 0:
        return _LARGEST
    quarter = 1 << 24
    below = (x & (quarter - 1)) - quarter
    offset = (below << _DIFFERENCE_BITS) + (1 << 28)
    square = high_multiply(offset, offset)
    cube, fourth = high_multiply(square, offset), high_multiply(square, square)
    third = _fixed(1 / 3)
    tail = round_shift(high_multiply(round_shift(fourth, 2) + cube, third) + square, 1)
    result = _fixed(math.exp(-1 / 8)) + high_multiply(_fixed(math.exp(-1 / 8)), offset + tail)
    for exponent in range(-2, _DIFFERENCE_BITS):
        if (below - x) >> (26 + exponent) & 1:
            result = high_multiply(result, _fixed(math.exp(-(2.0**exponent))))
    return result


def _inverse_square_root(value: int) -> tuple[int, int]:
    """1 / sqrt(value) as (multiplier, right shift) for 1 <= value <= 255, by five Newton steps from 1 in Q3.28."""
    if value == 1:
        return _LARGEST, 0
    pairs = (31 - value.bit_length()) // 2 - 1
    right = 11 - pairs
    half = round_shift((value << 2 * pairs) >> 1, 1)
    x = 1 << 28
    for _ in range(5):
        cube = _rescale(high_multiply(high_multiply(x, x), x), 6)
        x = _rescale(_wrap(high_multiply((1 << 28) + (1 << 27), x) - high_multiply(half, cube)), 3)
    x = high_multiply(x, _fixed(math.sqrt(2) / 2))
    return (_wrap(x << -right), 0) if right < 0 else (x, right)


def _fixed(real: float) -> int:
    """A real number below one in Q0.31."""
    return math.floor(real * 2**31 + 0.5)


def _rescale(x: int, bits: int) -> int:
    """x * 2^bits, held at int32's ends."""
    return min(max(x << bits, -(2**31)), _LARGEST)


def _wrap(x: int) -> int:
    return (x + 2**31) % 2**32 - 2**31
