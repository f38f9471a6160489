"""Parameters and tables of the int8 ops against known answers and LiteRT's reference kernels."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_layer import one_layer, quants, reference

from tinyscene.export.graph import Quant
from tinyscene.firmware_bench.arithmetic import addition, clamp, constants, mean, pool, product, quantize_multiplier
from tinyscene.firmware_bench.tables import exponentials, high_multiply, lut, round_shift
from tinyscene.runtime.errors import InputError

EVERY = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16, 1)
PIXEL = (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.0, (0, 0)),
        (0.5, (2**30, 0)),
        (1.0, (2**30, 1)),
        (0.75, (3 * 2**29, 0)),
        (1 - 2**-40, (2**30, 1)),  # rounds up to 2^31, which is halved
        (2.0**-32, (2**30, -31)),
        (2.0**-33, (0, 0)),  # would shift everything out
        (2.0**29, (2**30, 30)),
    ],
)
def test_multiplier_known_answers(real: float, expected: tuple[int, int]) -> None:
    assert quantize_multiplier(real) == expected


@pytest.mark.parametrize("real", [2.0**30, math.inf, math.nan, -0.5])
def test_multiplier_out_of_range(real: float) -> None:
    with pytest.raises(InputError, match="ratio of scales"):
        quantize_multiplier(real)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(0, 31))
def test_roundings_against_fractions(a: int, b: int, exponent: int) -> None:
    assert round_shift(a, exponent) == _away(Fraction(a, 2**exponent))
    if (a, b) == (-(2**31), -(2**31)):
        assert high_multiply(a, b) == 2**31 - 1
        return
    assert high_multiply(a, b) == math.floor(Fraction(a * b, 2**31) + Fraction(1, 2))


def _away(value: Fraction) -> int:
    return math.floor(abs(value) + Fraction(1, 2)) * (1 if value >= 0 else -1)


@pytest.mark.parametrize("clamps", [{}, {"relu": True}, {"relu": True, "ceiling": 6.0}])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_quantize_table(data: st.DataObject, clamps: dict[str, Any]) -> None:
    source = data.draw(quants())
    ratio = data.draw(st.floats(0.1, 8))
    target = Quant(float(np.float32(source.scale * ratio)), data.draw(quants()).zero_point)
    graph = one_layer("QUANTIZE", [EVERY.shape], [source], target, **clamps)
    np.testing.assert_array_equal(lut(graph, graph.ops[0]), reference(graph, EVERY).ravel())


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        (0.3994925022125244, 0.7600101232528687, 39, 20),
        (0.015007383190095425, 0.06225284934043884, 14, 4),
        (0.8306760191917419, 1.2683440446853638, 71, 47),
    ],
)
def test_a_relu_divides_its_scales_in_float32(source: float, target: float, value: int, expected: int) -> None:
    graph = one_layer("QUANTIZE", [PIXEL], [Quant(source, 0)], Quant(target, 0), relu=True)
    assert reference(graph, np.full(PIXEL, value, np.int8)) == expected
    assert lut(graph, graph.ops[0])[value + 128] == expected


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_rsqrt_table(data: st.DataObject) -> None:
    source = Quant(data.draw(quants(1e-4, 10)).scale, -128)
    largest = 1 / math.sqrt(source.scale)
    target = Quant(float(np.float32(largest / 2 ** data.draw(st.floats(2, 8)))), data.draw(quants()).zero_point)
    graph = one_layer("RSQRT", [EVERY.shape], [source], target)
    np.testing.assert_array_equal(lut(graph, graph.ops[0]), reference(graph, EVERY).ravel())


@settings(max_examples=60, deadline=None)
@given(quants(1e-3, 8.0))
def test_exponentials_fall_as_exp_does(source: Quant) -> None:
    graph = one_layer("SOFTMAX", [(1, 4)], [source], Quant(1 / 256, -128))
    table = exponentials(graph, graph.ops[0]) / 2.0**31
    expected = np.exp(-np.arange(256) * source.scale)
    # Differences of 31 and more are left out: exp(-31) is 3e-14.
    np.testing.assert_allclose(table, expected, atol=2e-7)


def test_softmax_scales_that_its_kernel_cannot_take() -> None:
    other = one_layer("SOFTMAX", [(1, 4)], [Quant(0.5, 0)], Quant(1 / 256, -127))
    with pytest.raises(InputError, match="expected scale 1/256 and zero point -128"):
        exponentials(other, other.ops[0])
    fine = one_layer("SOFTMAX", [(1, 4)], [Quant(2.0**-28, 0)], Quant(1 / 256, -128))
    with pytest.raises(InputError, match="expected above"):
        exponentials(fine, fine.ops[0])
    long = one_layer("SOFTMAX", [(1, 512)], [Quant(0.5, 0)], Quant(1 / 256, -128))
    with pytest.raises(InputError, match="at most 511"):
        exponentials(long, long.ops[0])


@pytest.mark.parametrize(
    ("clamps", "zero_point", "expected"),
    [({}, 5, (-128, 127)), ({"relu": True}, 5, (5, 127)), ({"relu": True, "ceiling": 6.0}, 5, (5, 65))],
)
def test_clamp_known_answers(clamps: dict[str, Any], zero_point: int, expected: tuple[int, int]) -> None:
    graph = one_layer("QUANTIZE", [PIXEL], [Quant(0.25, 0)], Quant(0.10000000149011612, zero_point), **clamps)
    found = clamp(graph, graph.ops[0])
    assert (found.low, found.high) == expected
    assert found.zero_point == zero_point


def test_the_zero_point_folds_into_the_bias() -> None:
    weight = np.array([[1, -2, 3], [4, 5, 6]], np.int8).reshape(2, 1, 1, 3)
    values = {"weight": weight, "bias": np.array([10, 20], np.int32), "weight_scales": np.ones(2, np.float32)}
    graph = one_layer("CONV_2D", [(1, 1, 1, 3)], [Quant(1.0, -7)], Quant(1.0, 0), **values)
    numbers = constants(graph, graph.ops[0])
    np.testing.assert_array_equal(numbers.bias, [10 + 7 * 2, 20 + 7 * 15])
    np.testing.assert_array_equal(numbers.multiplier, [2**30, 2**30])
    np.testing.assert_array_equal(numbers.shift, [1, 1])


@pytest.mark.parametrize("bias", [2**31 - 1, -(2**31)])
def test_a_sum_that_leaves_int32_is_refused(bias: int) -> None:
    weight = np.full((1, 1, 1, 1), 3, np.int8)
    values = {"weight": weight, "bias": np.array([bias], np.int32), "weight_scales": np.ones(1, np.float32)}
    graph = one_layer("CONV_2D", [PIXEL], [Quant(1.0, 0)], Quant(1.0, 0), **values)
    with pytest.raises(InputError, match="is no int32"):
        constants(graph, graph.ops[0])


def test_an_addition_to_a_scale_that_is_too_fine_is_refused() -> None:
    held = {1: np.zeros(PIXEL, np.int8)}
    graph = one_layer("ADD", [PIXEL, PIXEL], [Quant(1.0, 0), Quant(1.0, 0)], Quant(2.0**-20, 0), held)
    with pytest.raises(InputError, match="calibrate it again"):
        addition(graph, graph.ops[0])


def test_sixteen_bits_are_refused() -> None:
    wide = Quant(1.0, 0, 16)
    graph = one_layer("MUL", [PIXEL, PIXEL], [wide, wide], wide, {1: np.zeros(PIXEL, np.int16)})
    with pytest.raises(InputError, match="take int8: export without --int16"):
        product(graph, graph.ops[0])


def test_mean_and_pool_known_answers() -> None:
    graph = one_layer("MEAN", [(1, 4, 3, 2)], [Quant(1.0, 3)], Quant(1.0, -1), axes=(1, 2))
    found = mean(graph, graph.ops[0])
    # 1.0 is 2^30 * 2^1; 12 takes 3 bits of the shift: 2^33 // 12.
    assert (found.count, found.multiplier, found.shift) == (12, 2**33 // 12, -2)
    huge = one_layer("MEAN", [(1, 4096, 4096, 1)], [Quant(1.0, 3)], Quant(1.0, -1), axes=(1, 2))
    with pytest.raises(InputError, match="leaves int32"):
        mean(huge, huge.ops[0])
    same = {"window": (3, 2), "stride": (2, 1), "padding": "SAME"}
    graph = one_layer("MAX_POOL_2D", [(1, 6, 5, 2)], [Quant(1.0, 3)], Quant(1.0, 3), **same)
    found_pool = pool(graph, graph.ops[0])
    assert (found_pool.rows_before, found_pool.before) == (0, 0)  # one row after, one column after
    graph = one_layer("MAX_POOL_2D", [(1, 5, 5, 2)], [Quant(1.0, 3)], Quant(1.0, 3), **same)
    assert pool(graph, graph.ops[0]).rows_before == 1
