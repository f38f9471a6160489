"""The kernels for Arm's DSP extension (Cortex-M4, M7, M33): int8 weights in the order in which SXTB16 widens them.

A convolution is finished the short way (`ts_dsp_finish`) when that is exact for every sum that its weights can give.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..families import Constants, Family, Packed

#: Right shifts for which 256 * 2^(shift - 1) and a high word of at most 2^30 add up within int32.
_SHORT_SHIFTS = (1, 22)

#: Where w[row][column] of a 3x3 window goes in a channel's 12 bytes; w[2][1] is there twice.
_WINDOW_PLACES = (((0, 0), 0), ((0, 1), 1), ((1, 0), 2), ((1, 1), 3), ((0, 2), 4), ((2, 0), 5), ((1, 2), 6))
_LAST_PLACES = (((2, 1), 7), ((2, 1), 8), ((2, 2), 10))


def short_requant(constants: Constants, magnitudes: NDArray[np.int64]) -> NDArray[np.int32] | None:
    """(outputs, 3) of 2 * bias, multiplier and right shift - 1, or None where that is not exact for every input.

    `magnitudes` (outputs,) int64 is each output's sum of absolute weights: with int8 inputs no sum is larger than 128
    times that. An output that rounds to zero whatever its sum is (pruned channels: shifts of -31) gets multiplier 0.
    """
    bias, multiplier = constants.bias.astype(np.int64), constants.multiplier.astype(np.int64)
    shift = constants.shift.astype(np.int64)
    bound = 128 * magnitudes + np.abs(bias)
    if np.any(bound >= 1 << 30) or np.any(multiplier < 0):
        return None
    highest = (bound * multiplier + (1 << 30)) >> 31
    constant = (shift <= 0) & (2 * highest < np.int64(1) << np.maximum(-shift, 0))
    least, most = _SHORT_SHIFTS
    if np.any(~constant & ((-shift < least) | (-shift > most))):
        return None
    rows = np.stack([2 * bias, np.where(constant, 0, multiplier), np.where(constant, 1, -shift) - 1], axis=1)
    return rows.astype(np.int32)


def _requant(constants: Constants, magnitudes: NDArray[np.int64]) -> NDArray[np.int32]:
    """[1 if short, then (outputs rounded up to even, 3)] flat; else the rows are bias, multiplier, shift."""
    rows = short_requant(constants, magnitudes)
    short = rows is not None
    if rows is None:
        rows = np.stack([constants.bias, constants.multiplier, constants.shift], axis=1).astype(np.int32)
    rows = np.pad(rows, ((0, len(rows) % 2), (0, 0)))
    return np.concatenate([np.array([short], np.int32), rows.reshape(-1)])


def _magnitudes(weight: NDArray[np.int8], axes: tuple[int, ...]) -> NDArray[np.int64]:
    total: NDArray[np.int64] = np.abs(weight.astype(np.int64)).sum(axis=axes)
    return total


def _pack_runs(constants: Constants, runs: NDArray[np.int8]) -> Packed:
    """`runs` (outputs, height, taps): each run padded to groups of four, two outputs interleaved."""
    outputs, height, taps = runs.shape
    padded = np.zeros((outputs + outputs % 2, height, -(-taps // 4) * 4), np.int8)
    padded[:outputs, :, :taps] = runs
    # (pairs of outputs, a or b, groups, k high bit, k low bit) -> per group: low bit, high bit, a or b
    words = padded.reshape(len(padded) // 2, 2, -1, 2, 2).transpose(0, 2, 4, 3, 1)
    return Packed(np.ascontiguousarray(words).reshape(-1), _requant(constants, _magnitudes(runs, (1, 2))))


def _pack_pointwise(constants: Constants) -> Packed:
    return _pack_runs(constants, constants.weight[:, None, :])


def _pack_conv(constants: Constants) -> Packed:
    weight = constants.weight  # (outputs, height, kernel, inputs)
    return _pack_runs(constants, weight.reshape(weight.shape[0], weight.shape[1], -1))


def _pack_depthwise3(constants: Constants) -> Packed:
    weight = constants.weight  # (3, 3, channels)
    packed = np.zeros((weight.shape[2], 12), np.int8)
    for (row, column), place in (*_WINDOW_PLACES, *_LAST_PLACES):
        packed[:, place] = weight[row, column]
    return Packed(packed.reshape(-1), _requant(constants, _magnitudes(weight, (0, 1))))


FAMILY = Family(
    "dsp",
    (
        "ts_kernels_dsp_conv.c",
        "ts_kernels_dsp_tile.c",
        "ts_kernels_dsp_depthwise.c",
        "ts_kernels_dsp_block.c",
        "ts_kernels_dsp_add.c",
    ),
    _pack_pointwise,
    _pack_depthwise3,
    _pack_conv,
    lambda height, kernel, inputs: 0,
)
