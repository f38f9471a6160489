"""Quantisation against hand-worked values, its error bound, and ONNX Runtime's QuantizeLinear."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyscene.runtime.int8 import dequantize, quantize

SCALES = st.floats(1e-4, 10.0).map(lambda value: float(np.float32(value)))
ZERO_POINTS = st.integers(-128, 127)


def test_known_values() -> None:
    x = np.array([0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 200.0, -200.0, np.inf, -np.inf], np.float32)
    # Ties to even before the zero point is added, then saturation.
    assert quantize(x, 1.0, 3).tolist() == [3, 3, 5, 5, 3, 1, 127, -128, 127, -128]
    assert dequantize(np.array([[-128, 0, 127]], np.int8), 0.5, -1).tolist() == [[-63.5, 0.5, 64.0]]


@given(scale=SCALES, zero_point=ZERO_POINTS)
def test_int8_survives_the_way_there_and_back(scale: float, zero_point: int) -> None:
    q = np.arange(-128, 128).astype(np.int8)
    np.testing.assert_array_equal(quantize(dequantize(q, scale, zero_point), scale, zero_point), q)


@given(scale=SCALES, zero_point=ZERO_POINTS, share=st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=20))
def test_error_is_at_most_half_a_step(scale: float, zero_point: int, share: list[float]) -> None:
    middle, half = scale * (-0.5 - zero_point), scale * 127.5
    x = np.array([middle + half * value for value in share], np.float32)
    error = np.abs(dequantize(quantize(x, scale, zero_point), scale, zero_point) - x)
    assert error.max() <= scale * (0.5 + 1e-4)  # float32 rounding of values up to 255 steps


def test_equals_onnx_runtime() -> None:
    onnx = pytest.importorskip("onnx", reason="needs the export extra: pip install 'tinyscene[export]'")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the export extra: pip install 'tinyscene[export]'")
    helper, kind = onnx.helper, onnx.TensorProto
    scale, zero_point = float(np.float32(0.0234)), -37
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])],
        "quantize",
        [helper.make_tensor_value_info("x", kind.FLOAT, [None])],
        [helper.make_tensor_value_info("q", kind.INT8, [None])],
        [helper.make_tensor("s", kind.FLOAT, [], [scale]), helper.make_tensor("z", kind.INT8, [], [zero_point])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    steps = np.arange(-400, 401, dtype=np.float32) * np.float32(0.5) * np.float32(scale)  # every other one is a tie
    x = np.concatenate([steps, np.random.default_rng(0).normal(0, 2, 20_000).astype(np.float32)])
    np.testing.assert_array_equal(quantize(x, scale, zero_point), session.run(None, {"x": x})[0])
