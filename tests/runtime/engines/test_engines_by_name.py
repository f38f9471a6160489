"""Engines by name: the same network in each, and what is said of one that is not here."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from band_network import LABELS, band_network, write_band_bundle
from onnx import TensorProto, helper

from tinyscene.export.formats.metadata import Metadata
from tinyscene.export.formats.onnx_writer import write_onnx
from tinyscene.export.formats.tflite_reader import read_tflite
from tinyscene.runtime.bundle import Bundle, Quantization, write_bundle
from tinyscene.runtime.engines.catalogue import open_named_engine, warm_up
from tinyscene.runtime.engines.engine import TensorDetails
from tinyscene.runtime.engines.onnx import OnnxEngine
from tinyscene.runtime.errors import InputError, UnavailableError
from tinyscene.runtime.frontend_spec import STUDENT


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


#: The student's front end with another lowest frequency: the windows have the same shape.
OTHER_FRONTEND = replace(STUDENT, fmin_hz=50.0)


def two_format_bundle(path: Path) -> Bundle:
    """The network that hears low, middle and high as .tflite and as ONNX."""
    network = band_network()
    model = write_onnx(read_tflite(network.tflite()), Metadata(LABELS, STUDENT))
    return write_bundle(
        path,
        name="bands",
        labels=LABELS,
        frontend=STUDENT,
        quantization=Quantization(
            network.input_scale, network.input_zero_point, network.output_scale, network.output_zero_point, "ptq"
        ),
        model={},
        budget={},
        metrics={},
        provenance={},
        files={"model.tflite": network.tflite(), "model.onnx": model},
    )


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


def test_a_real_network_in_onnx_is_that_of_the_tflite_file(tmp_path: Path) -> None:
    """The same graph by both writers: integers in between, so that the two differ by rounding alone."""
    bundle, network = two_format_bundle(tmp_path / "bands"), band_network()
    engine = open_named_engine(bundle, "onnx", threads=2)
    assert engine.name == "ONNX Runtime, QDQ"
    reference = open_named_engine(bundle, kernels="reference")
    winners = set()
    for seed in range(6):
        q = np.random.default_rng(seed).integers(-128, 100, (1, *network.weight.shape[1:])).astype(np.int8)
        q[0, 85 * (seed % 3) :][:85] += 25
        answer = engine.run_int8(q)
        assert answer.shape == (1, 3)
        assert np.abs(answer.astype(int) - reference.run_int8(q)).max() <= 1
        log_mel = ((q[0, :, :, 0].astype(np.float32)) - network.input_zero_point) * np.float32(network.input_scale)
        steps = (engine.logits(log_mel) - reference.logits(log_mel)) / network.output_scale
        assert np.abs(steps).max() < 1.01
        winners.add(int(answer.argmax()))
    assert winners == {0, 1, 2}


@pytest.mark.parametrize(
    ("field", "change"), [("labels", {"labels": ("a", "b", "c")}), ("frontend_hash", {"frontend": OTHER_FRONTEND})]
)
def test_another_bundles_onnx_file_is_refused(tmp_path: Path, field: str, change: dict[str, Any]) -> None:
    bundle = replace(two_format_bundle(tmp_path / "bands"), **change)
    with pytest.raises(InputError, match=f"model and contract differ in {field}: "):
        open_named_engine(bundle, "onnx")


def test_without_onnx_runtime_the_install_line_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = two_format_bundle(tmp_path / "bands")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UnavailableError, match=r"cannot be imported \(.*\): run `pip install onnxruntime`"):
        open_named_engine(bundle, "onnx")


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
