"""The kernels for 32-bit processors without SIMD (Cortex-M0+, RV32): weights unsigned, in blocks of four outputs.

A weight is held as w + 128 and the kernels read activations as x + 128, so that products are never negative and two
pixels fit one multiplication. The bias takes up the difference that the weights make:
sum(w x) = sum((w + 128) (x + 128)) - 128 sum(w + 128) - 128 sum(x).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..families import Constants, Family, Packed

#: Outputs side by side in memory.
BLOCK = 4

#: Right shifts for which the rounding constant, the zero point and a high word below 2^30 add up within int32.
_SHORT_SHIFTS = (1, 22)


def _requant(constants: Constants, magnitudes: NDArray[np.int64], weight_sums: NDArray[np.int64]) -> NDArray[np.int32]:
    """[1 if short, then (outputs, 3)] flat: bias - 128 * `weight_sums` (wrapping), multiplier, right shift.

    Short: each output's right shift is 1 .. 22 and no sum reaches 2^30; `magnitudes` (outputs,) are sums of absolute
    weights, and no int8 input gives more than 128 times that. An output that is zero whatever its sum (a pruned
    channel) gets multiplier 0. Otherwise the shift is TFLite's, to the left where it is positive.
    """
    bias, multiplier = constants.bias.astype(np.int64), constants.multiplier.astype(np.int64)
    right = -constants.shift.astype(np.int64)
    bound = 128 * magnitudes + np.abs(bias)
    least, most = _SHORT_SHIFTS
    zero = (right >= 0) & (2 * ((bound * multiplier + (1 << 30)) >> 31) < np.int64(1) << np.maximum(right, 0))
    short = bool(np.all(bound < 1 << 30) and np.all(multiplier >= 0))
    short = short and bool(np.all(zero | ((right >= least) & (right <= most))))
    if short:
        multiplier, right = np.where(zero, 0, multiplier), np.where(zero, least, right)
    folded = ((bias - 128 * weight_sums + 2**31) % 2**32 - 2**31).astype(np.int32)
    third = right if short else -right
    rows = np.stack([folded, multiplier.astype(np.int32), third.astype(np.int32)], axis=1)
    return np.concatenate([np.array([short], np.int32), rows.reshape(-1)])


def _pack_runs(constants: Constants) -> Packed:
    """Weights (outputs, ...) as (blocks, inputs, BLOCK), inputs padded to a multiple of 4."""
    flat = constants.weight.reshape(len(constants.bias), -1).astype(np.int64)
    outputs, inputs = flat.shape
    padded = np.zeros((-(-outputs // BLOCK) * BLOCK, -(-inputs // 4) * 4), np.int64)
    padded[:outputs, :inputs] = flat
    blocks = padded.reshape(-1, BLOCK, padded.shape[1]).transpose(0, 2, 1) + 128
    magnitudes, sums = np.abs(flat).sum(axis=1), (flat + 128).sum(axis=1)
    weights = np.ascontiguousarray(blocks.astype(np.uint8)).reshape(-1).view(np.int8)
    return Packed(weights, _requant(constants, magnitudes, sums))


def _pack_depthwise3(constants: Constants) -> Packed:
    """Signed weights (channels, 9), a channel's by column: the three rows of the last column first."""
    columns = constants.weight.transpose(2, 1, 0)[:, ::-1]  # (channels, columns, rows)
    magnitudes = np.abs(constants.weight.astype(np.int64)).sum(axis=(0, 1))
    requant = _requant(constants, magnitudes, np.zeros_like(magnitudes))
    return Packed(np.ascontiguousarray(columns, np.int8).reshape(-1), requant)


FAMILY = Family(
    "word",
    (
        "ts_kernels_word.c",
        "ts_kernels_word_tile.c",
        "ts_kernels_word_block.c",
        "ts_kernels_word_depthwise.c",
        "ts_kernels_word_add.c",
    ),
    _pack_runs,
    _pack_depthwise3,
    _pack_runs,
    lambda height, kernel, inputs: 0,
)
