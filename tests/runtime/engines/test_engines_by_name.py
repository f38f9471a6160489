"""Engines by name: the same network in each, and what is said of one that is not here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from ai_edge_litert import interpreter as litert_interpreter
from band_network import band_network, write_band_bundle
from onnx import TensorProto, helper

from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.engines.catalogue import open_named_engine, warm_up
from tinyscene.runtime.engines.engine import TensorDetails
from tinyscene.runtime.engines.onnx import OnnxEngine
from tinyscene.runtime.errors import InputError, UnavailableError


def band_means(path: Path) -> Path:
    """An ONNX network from float log-mel (1, 1, 6, 4) to the mean of its upper, middle and lower thirds."""
    nodes = [
        helper.make_node("Reshape", ["log_mel", "shape"], ["parts"]),
        helper.make_node("ReduceMean", ["parts"], ["logits"], axes=[2], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "bands",
        [helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, [1, 1, 6, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor("shape", TensorProto.INT64, [3], [1, 3, 8])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


INPUT, OUTPUT = TensorDetails("log_mel", (1, 6, 4, 1), 0.1, 3), TensorDetails("logits", (1, 3), 0.05, -2)


def test_onnx_runtime_takes_and_gives_what_the_others_do(tmp_path: Path) -> None:
    engine = OnnxEngine(band_means(tmp_path / "model.onnx"), INPUT, OUTPUT, threads=2)
    log_mel = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    expected = log_mel.reshape(3, 8).mean(axis=1)
    np.testing.assert_allclose(engine.logits(log_mel), expected, rtol=1e-5)
    # A window is a view whose bands lie next to each other in memory: it is read as what it says, not as it lies.
    view = np.ascontiguousarray(log_mel.T).T
    np.testing.assert_allclose(engine.logits(view), expected, rtol=1e-5)
    q = np.random.default_rng(1).integers(-128, 128, (1, 6, 4, 1)).astype(np.int8)
    means = (0.1 * (q.astype(float) - 3)).reshape(3, 8).mean(axis=1)
    np.testing.assert_array_equal(engine.run_int8(q)[0], np.clip(np.rint(means / 0.05) - 2, -128, 127))
    with pytest.raises(InputError, match=r"takes int8 \[1, 6, 4, 1\], got float32 \[6, 4\]"):
        engine.run_int8(log_mel)  # type: ignore[arg-type]


def test_an_onnx_file_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no protobuf")
    with pytest.raises(InputError, match="is not an ONNX model that can run"):
        OnnxEngine(tmp_path / "model.onnx", INPUT, OUTPUT)
    other = TensorDetails("log_mel", (1, 256, 64, 1), 0.1, 3)
    with pytest.raises(InputError, match=r"input has shape \[1, 1, 6, 4\], expected 16,384 values"):
        OnnxEngine(band_means(tmp_path / "model.onnx"), other, OUTPUT)
    with pytest.raises(InputError, match="threads is 0"):
        OnnxEngine(tmp_path / "model.onnx", INPUT, OUTPUT, threads=0)


def test_tflite_runtime_is_taken_by_name(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in: the wheel does not work beside numpy 2. `make pi-test` runs the real one."""
    package, module = ModuleType("tflite_runtime"), ModuleType("tflite_runtime.interpreter")
    made: list[dict[str, object]] = []

    def interpreter(**options: object) -> object:
        made.append(options)
        return litert_interpreter.Interpreter(**options)

    module.Interpreter = interpreter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tflite_runtime", package)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", module)
    engine = open_named_engine(bundle, "tflite-runtime", threads=2)
    assert engine.name == "tflite-runtime default"
    assert made[0]["num_threads"] == 2
    q = np.random.default_rng(0).integers(-128, 128, (1, 256, 64, 1)).astype(np.int8)
    np.testing.assert_array_equal(engine.run_int8(q), open_named_engine(bundle).run_int8(q))


def test_without_tflite_runtime_the_install_line_is_shown(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", None)
    with pytest.raises(UnavailableError, match="run `pip install tflite-runtime 'numpy<2'`"):
        open_named_engine(bundle, "tflite-runtime")


def test_a_name_that_is_none(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="unknown engine 'onxx': did you mean 'onnx'"):
        open_named_engine(bundle, "onxx")
    with pytest.raises(InputError, match="expected one of litert, tflite-runtime, onnx, coral, native"):
        open_named_engine(bundle, "gpu")
    with pytest.raises(InputError, match="--kernels reference chooses LiteRT's kernels"):
        open_named_engine(bundle, "onnx", kernels="reference")


def test_warm_up_runs_as_often_as_asked(tmp_path: Path) -> None:
    engine = open_named_engine(write_band_bundle(tmp_path / "bands", band_network()))
    durations = warm_up(engine, np.zeros((256, 64), np.float32), runs=4)
    assert len(durations) == 4
    assert min(durations) > 0
