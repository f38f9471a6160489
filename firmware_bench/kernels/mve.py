"""The kernels for Arm's Helium (Cortex-M55): layouts that let one vector load serve many multiplications.

Channels are permuted within a vector so that narrowing, which interleaves two vectors, puts them back in order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..families import Constants, Family, Packed

_LANES = 16  # int8 in a vector
_TRIPLE = 3  # outputs that are summed at once
_EIGHT = np.array([0, 2, 4, 6, 1, 3, 5, 7])  # 1x1: the even results' lanes, then the odd ones'
_SIXTEEN = np.arange(16).reshape(4, 4).T  # depthwise: row r holds channels 4 * lane + r


def _header(constants: Constants, any_way: bool = False) -> NDArray[np.int32]:
    """Four words, the first 1 where the fast ways of finishing a sum do not apply: a shift that is not to the right.
    The second is for dense convolutions."""
    return np.array([any_way or bool(np.any(_shift(constants) >= 0)), 0, 0, 0], np.int32)


def _shift(constants: Constants) -> NDArray[np.int32]:
    """Shifts; a multiplier of 0 comes with shift 0, but gives 0 for any."""
    return np.where(constants.multiplier == 0, -1, constants.shift).astype(np.int32)


def _padded(values: NDArray[np.int32], size: int, padding: int = 0) -> NDArray[np.int32]:
    return np.pad(values, (0, size - len(values)), constant_values=padding)


def _pack_dense(constants: Constants) -> Packed:
    """Of (outputs, ...): weights (padded / 3, steps, 3, 16); requant: header, bias (padded), then (padded / 4, 2, 4).

    `padded` is the outputs rounded up to 24, `steps` the inputs of one output in sixteens, rounded up.
    """
    weight = constants.weight.reshape(len(constants.weight), -1)
    outputs, inputs = weight.shape
    padded, steps = -(-outputs // 24) * 24, -(-inputs // _LANES)
    order = (np.arange(padded).reshape(-1, 8)[:, _EIGHT]).reshape(-1)
    full = np.zeros((padded, steps * _LANES), np.int8)
    full[:outputs, :inputs] = weight
    weights = full[order].reshape(-1, _TRIPLE, steps, _LANES).transpose(0, 2, 1, 3)
    scales = np.stack(
        [_padded(constants.multiplier, padded)[order], _padded(_shift(constants), padded, -1)[order]]
    )  # (2, padded)
    requant = [
        _header(constants),
        _padded(constants.bias, padded)[order],
        scales.reshape(2, -1, 4).transpose(1, 0, 2).reshape(-1),
    ]
    return Packed(np.ascontiguousarray(weights).reshape(-1), np.concatenate(requant).astype(np.int32))


def _segment(height: int, kernel: int, inputs: int) -> int:
    """Bytes of each row from which one load gathers a pixel's taps; 0 where they do not fit a vector.

    Offsets of eight bits have to reach the last row.
    """
    return 240 // height if height * kernel * inputs <= _LANES else 0


def _conv_scratch_bytes(height: int, kernel: int, inputs: int) -> int:
    """Four pixels' taps, or a segment of each row."""
    return max(4 * height * kernel * inputs, height * _segment(height, kernel, inputs))


def _pack_conv(constants: Constants) -> Packed:
    """Of (outputs, height, kernel, inputs): as a 1x1 convolution's, or where all taps fit a vector weights
    (outputs, 16); requant: header, offsets (16,) of bytes, bias (outputs), then (outputs / 4, 2, 4)."""
    outputs, height, kernel, inputs = constants.weight.shape
    header, segment = _header(constants), _segment(height, kernel, inputs)
    if header[0] or not segment or outputs % 4:
        return _pack_dense(constants)
    taps = height * kernel * inputs
    header[1] = segment
    offsets = np.zeros(_LANES, np.uint8)
    offsets[:taps] = np.add.outer(np.arange(height) * segment, np.arange(kernel * inputs)).reshape(-1)
    weights = np.zeros((outputs, _LANES), np.int8)
    weights[:, :taps] = constants.weight.reshape(outputs, taps)
    scales = np.stack([constants.multiplier, _shift(constants)]).reshape(2, -1, 4).transpose(1, 0, 2)
    requant = np.concatenate([header, offsets.view("<i4"), constants.bias, scales.reshape(-1)])
    return Packed(weights.reshape(-1), requant.astype(np.int32))


def _pack_depthwise3(constants: Constants) -> Packed:
    """Of (3, 3, channels): weights (blocks, 9, 16); requant: header, then (blocks, 4, 3, 4), bias, multiplier, shift of
    channels 4 * lane + r of each block."""
    channels = constants.weight.shape[-1]
    blocks = -(-channels // _LANES)
    taps = np.zeros((9, blocks * _LANES), np.int8)
    taps[:, :channels] = constants.weight.reshape(9, channels)
    weights = taps.reshape(9, blocks, _LANES).transpose(1, 0, 2)
    numbers = [
        _padded(values, blocks * _LANES, padding).reshape(blocks, _LANES)[:, _SIXTEEN]
        for values, padding in ((constants.bias, 0), (constants.multiplier, 0), (_shift(constants), -1))
    ]  # each (blocks, 4, 4)
    lowest = taps == -128
    overflows = bool(np.any(lowest[0:8:2] & lowest[1:8:2]))  # two products of -128 * -128 do not fit 16 bits
    requant = np.concatenate([_header(constants, overflows), np.stack(numbers, axis=2).reshape(-1)])
    return Packed(np.ascontiguousarray(weights).reshape(-1), requant.astype(np.int32))


FAMILY = Family(
    "mve",
    ("ts_kernels_mve.h", "ts_kernels_mve.c", "ts_kernels_mve_dense.c", "ts_kernels_mve_row.c"),
    _pack_dense,
    _pack_depthwise3,
    _pack_conv,
    _conv_scratch_bytes,
)
