"""The DSP kernels' constants: when their short requantisation is exact, and in which order they lie."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyscene.firmware_bench.families import Constants
from tinyscene.firmware_bench.kernels.dsp import FAMILY, short_requant


@settings(deadline=None)
@given(seed=st.integers(0, 1 << 32), shift=st.integers(1, 22), zero=st.integers(-128, 127))
def test_the_short_way_is_double_rounding(seed: int, shift: int, zero: int) -> None:
    """In exact integers, for sums that include every tie of the second rounding nearby."""
    rng = np.random.default_rng(seed)
    bias, multiplier = int(rng.integers(-(1 << 20), 1 << 20)), int(rng.integers(1 << 30, 1 << 31))
    constants = Constants(np.zeros((1, 1), np.int8), *(np.array([v], np.int32) for v in (bias, multiplier, -shift)))
    rows = short_requant(constants, np.array([1 << 21]))
    assert rows is not None
    ties = ((rng.integers(-140, 141, 200) * 2 + 1) << shift >> 1) + rng.integers(-2, 3, 200)
    for tie in map(int, ties):
        total = tie * (1 << 31) // multiplier - bias
        if abs(total) > 128 << 21:
            continue
        product = (total + bias) * multiplier
        high = (product + (1 << 30)) >> 31
        away = -((-high + (1 << shift >> 1)) >> shift) if high < 0 else (high + (1 << shift >> 1)) >> shift
        doubled = int(rows[0, 0]) + 2 * total
        nudge = ((2 * zero + 1) << int(rows[0, 2])) + (doubled >> 31)
        summed = nudge + ((doubled * int(rows[0, 1]) + (1 << 31)) >> 32)
        assert max(abs(summed), abs(doubled)) < 1 << 31
        assert summed >> int(rows[0, 2]) >> 1 == away + zero


def test_layers_that_the_short_way_does_not_fit() -> None:
    def way(bias: int, multiplier: int, shift: int, magnitude: int = 1000) -> NDArray[np.int32] | None:
        constants = Constants(np.zeros((1, 1), np.int8), *(np.array([v], np.int32) for v in (bias, multiplier, shift)))
        return short_requant(constants, np.array([magnitude]))

    half = 1 << 30
    assert way(0, half, -1) is not None
    for bias, shift, magnitude in (
        (0, 0, 1000),
        (0, 5, 1000),
        (half, -8, 1000),
        (0, -8, 1 << 23),
        (1 << 28, -23, 1000),
    ):
        assert way(bias, half, shift, magnitude) is None, (bias, shift, magnitude)


def test_outputs_that_are_always_zero_take_the_short_way() -> None:
    """Pruned channels: multiplier 0, or shifts that leave nothing of the largest sum."""
    shifts = np.array([0, -31, -17, -16], np.int32)
    multipliers = np.array([0, 1 << 30, 1 << 30, 1 << 30], np.int32)
    rows = short_requant(Constants(np.zeros((4, 1), np.int8), 0 * shifts, multipliers, shifts), np.full(4, 1023))
    assert rows is not None
    # 128 * 1023 / 2 is just below half of 2^17, and above half of 2^16
    assert rows.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1 << 30, 15]]


def test_the_order_of_packed_weights() -> None:
    weight = np.arange(15, dtype=np.int8).reshape(3, 5) + 1  # outputs a, b and c, which is padded to a pair
    zeros = np.zeros(3, np.int32)
    packed = FAMILY.pack_pointwise(Constants(weight, zeros, zeros + (1 << 30), zeros - 8))
    pairs = packed.weights.reshape(2, 2, 8).tolist()
    assert pairs[0] == [[1, 6, 3, 8, 2, 7, 4, 9], [5, 10, 0, 0, 0, 0, 0, 0]]
    assert pairs[1] == [[11, 0, 13, 0, 12, 0, 14, 0], [15, 0, 0, 0, 0, 0, 0, 0]]
    assert packed.requant.tolist() == [1, *[0, 1 << 30, 7] * 3, 0, 0, 0]
