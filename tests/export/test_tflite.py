"""Writing a graph as .tflite, reading it back bit for bit, and refusing everything else."""

from __future__ import annotations

import re
import struct
import subprocess
import sys

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from networks import lively, mels
from random_graphs import int8_graphs
from test_graph import tiny, tiny_int8

from tinyscene.export.formats.tflite_reader import read_tflite
from tinyscene.export.formats.tflite_writer import IDENTIFIER, write_tflite
from tinyscene.export.graph import Graph
from tinyscene.export.lower import lower
from tinyscene.export.quantization.fake_quant import GraphNet
from tinyscene.export.quantization.ptq import calibrate
from tinyscene.export.quantization.quantize import quantize
from tinyscene.runtime.errors import InputError


@settings(deadline=None)
@given(int8_graphs())
def test_reading_gives_back_every_bit_and_writing_repeats_itself(graph: Graph) -> None:
    data = write_tflite(graph)
    assert read_tflite(data).differences(graph) == []
    assert write_tflite(read_tflite(data)) == data


@settings(deadline=None, max_examples=40)
@given(int8_graphs())
def test_litert_takes_every_graph_and_sees_its_scales(graph: Graph) -> None:
    interpreter = Interpreter(
        model_content=write_tflite(graph), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    details = {entry["name"]: entry for entry in interpreter.get_tensor_details()}
    for tensor in graph.tensors:
        scales = details[tensor.name]["quantization_parameters"]["scales"]
        assert tensor.quant is not None
        assert scales.dtype == np.float32
        assert scales.tolist() == [tensor.quant.scale]
        assert tuple(details[tensor.name]["shape"]) == tensor.shape
    for op in graph.ops:
        if op.weight_scales is not None:
            found = details[f"{op.name}/weight"]["quantization_parameters"]["scales"]
            assert found.tobytes() == op.weight_scales.tobytes()


@pytest.mark.parametrize("norm", ["none", "frozen", "grn"])
def test_a_students_graph_survives_the_file(norm: str) -> None:
    clips = mels(8)
    graph = lower(lively(norm), *clips.shape[1:])
    int8 = quantize(graph, calibrate(graph, clips))
    assert read_tflite(write_tflite(int8)).differences(int8) == []


def test_zero_points_of_channels_are_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = mels(8)
    graph = lower(lively("none"), *clips.shape[1:])
    int8 = quantize(graph, calibrate(graph, clips))
    shared = write_tflite(int8)
    monkeypatch.setattr("tinyscene.export.formats.tflite_writer._SharingBuilder", flatbuffers.Builder)
    apart = write_tflite(int8)
    channels = sum(op.weight_scales.size for op in int8.ops if op.weight_scales is not None)
    assert len(apart) - len(shared) > 8 * channels  # those of the weights or those of the biases, at the least
    assert read_tflite(shared).differences(read_tflite(apart)) == []


def test_constants_are_aligned_for_simd_loads() -> None:
    data = write_tflite(tiny_int8())
    model = schema.Model.GetRootAs(data, 0)
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if not buffer.DataIsNone():
            start = buffer._tab.Vector(flatbuffers.number_types.UOffsetTFlags.py_type(buffer._tab.Offset(4)))
            assert start % 16 == 0


def test_float_graphs_are_not_written() -> None:
    with pytest.raises(InputError, match="is float"):
        write_tflite(tiny())


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.8, 0.95, 0.999])
def test_truncated_files_are_refused(share: float) -> None:
    clips = mels(4)
    graph = lower(lively(), *clips.shape[1:])
    data = write_tflite(quantize(graph, calibrate(graph, clips)))
    with pytest.raises(InputError, match=re.escape("cut.tflite")):
        read_tflite(data[: int(share * len(data))], "cut.tflite")


@pytest.mark.parametrize("data", [b"", b"\0" * 7, b"not a model at all", b"\x08\0\0\0TFL3", b"\xff" * 4 + b"TFL3" * 9])
def test_foreign_files_are_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read_tflite(data)


def unpack(graph: Graph) -> schema.ModelT:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(write_tflite(graph), 0))


def pack(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def test_models_that_the_graph_cannot_express_are_refused() -> None:
    model = unpack(tiny_int8())
    model.subgraphs[0].tensors[0].type = schema.TensorType.FLOAT32
    with pytest.raises(InputError, match="float models are not read"):
        read_tflite(pack(model))
    model = unpack(tiny_int8())
    model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.TANH
    with pytest.raises(InputError, match="which this toolkit does not write"):
        read_tflite(pack(model))
    model = unpack(tiny_int8())
    model.subgraphs[0].operators[0].builtinOptions.dilationHFactor = 2
    with pytest.raises(InputError, match="dilated"):
        read_tflite(pack(model))
    model = unpack(tiny_int8())
    model.subgraphs[0].operators[0].builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.TANH
    with pytest.raises(InputError, match="expected none, ReLU or ReLU6"):
        read_tflite(pack(model))
    model = unpack(tiny_int8())
    bias = next(t for t in model.subgraphs[0].tensors if t.name == b"conv/bias")
    bias.quantization.scale = bias.quantization.scale * np.float32(1.01)
    with pytest.raises(InputError, match="bias"):
        read_tflite(pack(model))


def test_offsets_into_nowhere_are_refused() -> None:
    data = bytearray(write_tflite(tiny_int8()))
    struct.pack_into("<I", data, 0, len(data) + 1000)
    with pytest.raises(InputError, match="truncated or damaged"):
        read_tflite(bytes(data))


def test_graph_tools_import_no_torch() -> None:
    modules = (
        "graph",
        "graph_builder",
        "quantization.quantize",
        "formats.tflite_reader",
        "formats.tflite_writer",
        "formats.onnx_writer",
        "formats.model_file",
        "verification.golden",
        "verification.verify",
        "engines.catalogue",
        "lint.targets",
    )
    code = f"import sys; [__import__('tinyscene.export.' + m) for m in {modules!r}]; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_scales_of_training_reach_the_file() -> None:
    clips = mels(8)
    graph = lower(lively("frozen"), *clips.shape[1:])
    net = GraphNet(graph, calibrate(graph, clips))
    read = read_tflite(write_tflite(net.to_graph()))
    simulated = net.quants()
    for name, quant in simulated.items():
        assert read.tensor[name].quant == quant
