"""The ONNX files: the same bytes every time, ONNX Runtime's answers, and the .tflite's own scales inside."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from networks import lively, mels
from numpy.typing import NDArray
from onnx import numpy_helper
from random_graphs import float_graphs, int8_graphs
from test_lower import logits

from tinyscene.export.formats.onnx_writer import write_onnx
from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph
from tinyscene.export.lower import lower
from tinyscene.export.quantization.fake_quant import GraphNet
from tinyscene.export.quantization.freeze import freeze_norm
from tinyscene.export.quantization.ptq import calibrate, quantize_calibrated
from tinyscene.export.quantization.quantize import quantize
from tinyscene.export.verification.golden import run_layers
from tinyscene.export.verification.verify import run_onnx
from tinyscene.runtime.int8 import dequantize
from tinyscene.runtime.int8 import quantize as to_int8
from tinyscene.training.run import Run


@settings(deadline=None, max_examples=60)
@given(float_graphs())
def test_float_graphs_compute_what_torch_computes(graph: Graph) -> None:
    clips = mels(2, *graph.tensor["in"].shape[1:3])
    expected = logits(GraphNet(graph), clips)
    np.testing.assert_allclose(run_onnx(write_onnx(graph), clips), expected, rtol=1e-3, atol=1e-3)


@settings(deadline=None, max_examples=25)
@given(int8_graphs())
def test_every_int8_graph_is_valid_onnx_and_runs(graph: Graph) -> None:
    data = write_onnx(graph)
    assert data == write_onnx(graph)
    clips = mels(2, *graph.tensor["in"].shape[1:3])
    assert np.isfinite(run_onnx(data, clips)).all()


def steps_from_reference(graph: Graph, clips: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The reference kernels' real logits, and by how many steps ONNX Runtime's differ."""
    model, quant, output = write_tflite(graph), graph.input_quant, graph.output_quant
    rows = [run_layers(model, to_int8(clip, quant.scale, quant.zero_point))["logits"] for clip in clips]
    reference = dequantize(np.concatenate(rows), output.scale, output.zero_point)
    assert reference.std(axis=0).max() > 10 * output.scale, "the network says the same whatever it hears"
    return reference, np.abs(run_onnx(write_onnx(graph), clips) - reference) / output.scale


@pytest.mark.parametrize("norm", ["none", "frozen", "grn"])
def test_qdq_is_nearer_to_the_reference_kernels_than_int8_is_to_float(norm: str) -> None:
    """The bound for small random networks, which magnify every tie that an engine rounds the other way."""
    clips = mels(24)
    graph = lower(lively(norm), *clips.shape[1:])
    int8 = quantize_calibrated(graph, clips).graph
    reference, steps = steps_from_reference(int8, clips)
    own = np.abs(reference - logits(GraphNet(graph), clips)) / int8.output_quant.scale
    assert steps.mean() <= own.mean()


@pytest.mark.parametrize("norm", ["frozen", "grn"])
def test_qdq_of_the_published_student(norm: str, tau22: Run, real_clips: NDArray[np.float32]) -> None:
    model = freeze_norm(tau22, real_clips[:48])[0] if norm == "frozen" else tau22.build()
    graph = quantize_calibrated(lower(model, 256, 64), real_clips[:48]).graph
    _, steps = steps_from_reference(graph, real_clips[48:72])
    assert steps.max() <= 16
    assert steps.mean() <= 2


def test_scales_are_the_graphs() -> None:
    clips = mels(8)
    graph = lower(lively("frozen"), *clips.shape[1:])
    int8 = quantize(graph, calibrate(graph, clips))
    model = onnx.load_from_string(write_onnx(int8))
    constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    for op in int8.ops:
        quant = int8.tensor[op.output].quant
        assert quant is not None
        if op.kind != "PAD":
            assert constants[f"{op.output}/scale"] == np.float32(quant.scale)
            assert constants[f"{op.output}/zero_point"] == quant.zero_point
        if op.weight_scales is not None:
            assert constants[f"{op.name}/weight/scale"].tobytes() == op.weight_scales.tobytes()
            assert constants[f"{op.name}/weight/int"].dtype == np.int8
            assert constants[f"{op.name}/bias/int"].dtype == np.int32
    assert model.opset_import[0].version == 17
    assert [entry.name for entry in (*model.graph.input, *model.graph.output)] == ["log_mel", "logits"]
