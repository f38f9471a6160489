"""The kernels of this machine: one layout that AVX-512, AVX2, NEON and plain C read in order.

Layout and fields are those of `c/ts_kernels_host.h`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..families import Constants, Family, Packed

#: Outputs of a block and inputs of a group.
LANES, GROUP = 16, 4

#: Pixels whose taps a dense convolution gathers at a time: TS_HOST_CHUNK.
CHUNK = 16

#: The fast form adds its rounding to sums below this.
_FAST_SUM = 1 << 30


def _pack_dense(constants: Constants) -> Packed:
    """(blocks, groups, 16, 4): a vector of weights is 16 outputs of 4 inputs."""
    weight = constants.weight.reshape(len(constants.weight), -1)
    outputs, inputs = weight.shape
    padded = np.zeros((_up(outputs, LANES), _up(inputs, GROUP)), np.int8)
    padded[:outputs, :inputs] = weight
    blocks = padded.reshape(-1, LANES, padded.shape[1] // GROUP, GROUP).transpose(0, 2, 1, 3)
    return Packed(np.ascontiguousarray(blocks).reshape(-1), _requant(constants, weight))


def _pack_depthwise3(constants: Constants) -> Packed:
    """(blocks, 3 columns, 16, 4): a vector is 16 channels of one column, its three rows and a zero."""
    weight = constants.weight  # (row, column, channel)
    channels = weight.shape[2]
    padded = np.zeros((GROUP, 3, _up(channels, LANES)), np.int8)
    padded[:3, :, :channels] = weight
    blocks = padded.reshape(GROUP, 3, -1, LANES).transpose(2, 1, 3, 0)
    return Packed(np.ascontiguousarray(blocks).reshape(-1), _requant(constants, weight.reshape(9, channels).T))


def _requant(constants: Constants, weight: NDArray[np.int8]) -> NDArray[np.int32]:
    """(1 + 8 * blocks, 16) flat; `weight` is (outputs, taps)."""
    outputs = len(weight)
    size = _up(outputs, LANES)

    def lanes(values: NDArray[np.int64] | NDArray[np.int32], fill: int = 0) -> NDArray[np.int64]:
        padded = np.full(size, fill, np.int64)
        padded[:outputs] = values
        return padded.reshape(-1, LANES)

    wide = weight.astype(np.int64)
    # The largest and the smallest sum that int8 inputs can give.
    up, down = np.maximum(wide, 0).sum(axis=1), np.minimum(wide, 0).sum(axis=1)
    bias = constants.bias.astype(np.int64)
    reach = np.maximum(np.abs(bias + 127 * up - 128 * down), np.abs(bias - 128 * up + 127 * down))
    # TFLite writes scales below 2^-32 as a multiplier of 0 with no shift: the result is 0 with any.
    shifts = np.where(constants.multiplier == 0, -1, constants.shift)
    fast = bool((shifts <= -1).all() and (reach < _FAST_SUM).all())
    shift = lanes(shifts, fill=-1)
    multiplier = lanes(constants.multiplier)
    rounding = (1 << 30) + (np.int64(1) << (30 - np.minimum(shift, -1)))
    odd = np.zeros_like(multiplier)
    odd[:, ::2] = multiplier[:, 1::2]
    lines = (
        lanes(bias),
        lanes(bias - 128 * wide.sum(axis=1)),
        multiplier,
        shift,
        np.maximum(-shift - 1, 0),
        odd,
        _words(rounding[:, ::2]),
        _words(rounding[:, 1::2]),
    )
    head = np.zeros(LANES, np.int64)
    head[0] = fast
    flat = np.concatenate([head, np.stack(lines, axis=1).reshape(-1)])
    return flat.astype(np.uint64).astype(np.uint32).view(np.int32)  # modulo 2^32, as the sums are


def _words(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """(blocks, 8) int64 as (blocks, 16): low and high words, the order of memory on x86."""
    return np.stack([values & 0xFFFFFFFF, values >> 32], axis=-1).reshape(len(values), -1)


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _conv_scratch_bytes(height: int, kernel: int, inputs: int) -> int:
    return CHUNK * _up(height * kernel * inputs, GROUP)


FAMILY = Family(
    "host",
    (
        "ts_kernels_host.c",
        "ts_kernels_host_plain.c",
        "ts_kernels_host_avx2.c",
        "ts_kernels_host_avx512.c",
        "ts_kernels_host_neon.c",
    ),
    _pack_dense,
    _pack_depthwise3,
    _pack_dense,
    _conv_scratch_bytes,
)
