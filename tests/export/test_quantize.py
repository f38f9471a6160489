"""Scales: zero is exact, everything measured fits, no bias leaves int32."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_graph import tiny

from tinyscene.export.graph import Quant
from tinyscene.export.quantization.quantize import choose_quant, dequantize_weights, quantize, weight_scales
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.int8 import dequantize
from tinyscene.runtime.int8 import quantize as to_int8

reals = st.floats(-1e4, 1e4)


def test_known_answers() -> None:
    assert choose_quant(0.0, 255.0) == Quant(1.0, -128)
    assert choose_quant(-255.0, 0.0) == Quant(1.0, 127)
    assert choose_quant(-128.0, 127.0) == Quant(1.0, 0)
    # A range away from zero is widened to hold it.
    assert choose_quant(51.0, 255.0) == choose_quant(0.0, 255.0)


@given(reals, reals)
def test_zero_is_exact_and_the_range_fits(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    quant = choose_quant(low, high)
    assert float(np.float32(quant.scale)) == quant.scale
    assert -128 <= quant.zero_point <= 127
    ends = np.array([min(low, 0.0), 0.0, max(high, 0.0)], np.float32)
    back = dequantize(to_int8(ends, quant.scale, quant.zero_point), quant.scale, quant.zero_point)
    assert back[1] == 0.0
    # Half a step of rounding, and half a step by which the zero point was moved to a whole number.
    np.testing.assert_allclose(back, ends, atol=1.01 * quant.scale)


@given(st.lists(reals, min_size=2, max_size=8), st.floats(1e-4, 10.0))
def test_weights_and_biases_fit_their_integers(values: list[float], input_scale: float) -> None:
    weight = np.array([[value] for value in values], np.float32)
    bias = np.array(values[::-1], np.float32)
    scales = weight_scales(weight, bias, input_scale)
    assert scales.dtype == np.float32
    assert (scales > 0).all()
    assert np.abs(np.rint(weight[:, 0] / scales)).max() <= 127
    assert np.abs(bias.astype(np.float64) / (np.float64(input_scale) * scales)).max() <= 2**30 * (1 + 1e-6)


def test_a_dead_channel_keeps_its_bias() -> None:
    weight, bias = np.array([[1e-12], [1.0]], np.float32), np.array([5.0, 0.0], np.float32)
    scales = weight_scales(weight, bias, 0.01)
    steps = np.rint(bias / (np.float32(0.01) * scales))
    assert abs(steps[0]) < 2**31
    assert steps[0] * np.float32(0.01) * scales[0] == pytest.approx(5.0, rel=1e-6)


def test_weights_are_within_half_a_step() -> None:
    graph = quantize(tiny(), {"in": (-1.0, 1.0), "conv": (0.0, 6.0), "out": (0.0, 3.0)})
    op, plain = graph.ops[0], tiny().ops[0]
    assert op.weight_scales is not None
    error = np.abs(dequantize_weights(op) - plain.weight)
    assert (error <= 0.5001 * op.weight_scales[:, None, None, None]).all()


@pytest.mark.parametrize("ranges", [{}, {"in": (0.0, 1.0)}, {"in": (0, 1), "conv": (0, float("nan")), "out": (0, 1)}])
def test_missing_ranges_are_named(ranges: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(InputError, match=r"no finite range for tensor (conv|out|in)"):
        quantize(tiny(), ranges)
