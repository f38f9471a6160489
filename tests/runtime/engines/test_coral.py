"""The way to a Coral Edge TPU, with a stand-in for its library that LiteRT loads and runs as it would the real one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from band_network import band_network, write_band_bundle

from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.engines.catalogue import engine_choices, open_named_engine
from tinyscene.runtime.engines.coral import MODEL
from tinyscene.runtime.errors import InputError, UnavailableError

#: What a TfLiteTensor takes in the interpreter of the ai-edge-litert that the tests install (2.3): the stand-in walks
#: over them.
TENSOR_BYTES = 112


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in, compiled."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler for the stand-in: run `apt-get install -y gcc libc6-dev`")
    path = tmp_path_factory.mktemp("edgetpu") / "libedgetpu.so"
    source = Path(__file__).with_name("edgetpu_stand_in.c")
    warnings = ["-std=c99", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(
        ["gcc", "-shared", "-fPIC", *warnings, f"-DTENSOR_BYTES={TENSOR_BYTES}", "-o", str(path), str(source)],
        check=True,
    )
    return path


def compiled_model(bundle: Bundle, classes: int = 3) -> bytes:
    """What the compiler makes of a network that it takes whole: one operator of its own, the borders as they were."""
    spec, quantization = bundle.frontend, bundle.quantization
    tensors = []
    for name, shape, scale, zero_point in (
        (b"log_mel", [1, spec.n_mels, spec.n_frames(), 1], quantization.input_scale, quantization.input_zero_point),
        (b"logits", [1, classes], quantization.output_scale, quantization.output_zero_point),
    ):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, schema.TensorType.INT8, 0
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        tensors.append(tensor)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = b"edgetpu-custom-op", 1
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    operator.customOptions = np.frombuffer(b"the TPU's own program", np.uint8)
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [1], [operator]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture
def coral_bundle(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    bundle = write_band_bundle(tmp_path / "bands", band_network())
    (bundle.path / MODEL).write_bytes(compiled_model(bundle))
    monkeypatch.setenv("TINYSCENE_EDGETPU_LIBRARY", str(library))
    return bundle


def test_the_delegate_runs_the_compiled_model(coral_bundle: Bundle) -> None:
    engine = open_named_engine(coral_bundle, "coral")
    assert engine.name == "Coral Edge TPU"
    for seed in range(5):
        inputs = np.random.default_rng(seed).integers(-128, 128, (1, 256, 64, 1)).astype(np.int8)
        inputs[0, 80 * seed % 200 :][:60] = 90
        parts = inputs.reshape(-1)[: 3 * (inputs.size // 3)].reshape(3, -1)
        np.testing.assert_array_equal(engine.run_int8(inputs)[0], np.floor(parts.mean(axis=1)).astype(np.int8))


def test_a_tpu_that_is_not_there(coral_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYSCENE_EDGETPU_DEVICE", "absent")
    with pytest.raises(UnavailableError, match=r"(?s)no Edge TPU answers .*no device of that name.* is it plugged in"):
        open_named_engine(coral_bundle, "coral")


def test_without_the_library(coral_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYSCENE_EDGETPU_LIBRARY", "libedgetpu-of-nobody.so.1")
    with pytest.raises(UnavailableError, match=r"the Edge TPU needs its library .*install libedgetpu1-std"):
        open_named_engine(coral_bundle, "coral")


def test_a_model_that_was_not_compiled(coral_bundle: Bundle) -> None:
    (coral_bundle.path / MODEL).write_bytes(coral_bundle.file("model.tflite").read_bytes())
    with pytest.raises(InputError, match=r"was not compiled for the Edge TPU .* it would run on the CPU"):
        open_named_engine(coral_bundle, "coral")
    (coral_bundle.path / MODEL).unlink()
    with pytest.raises(UnavailableError, match=r"no model for the Edge TPU at .*: run `edgetpu_compiler -o"):
        open_named_engine(coral_bundle, "coral")


def test_a_model_of_another_bundle_is_refused(coral_bundle: Bundle) -> None:
    (coral_bundle.path / MODEL).write_bytes(compiled_model(coral_bundle, classes=4))
    with pytest.raises(InputError, match=r"differ in number of labels: .* has 4, the bundle's contract says 3"):
        open_named_engine(coral_bundle, "coral")


def test_more_than_one_thread_is_refused(coral_bundle: Bundle) -> None:
    with pytest.raises(InputError, match="the Edge TPU has one"):
        open_named_engine(coral_bundle, "coral", threads=2)


def test_it_is_among_the_choices(coral_bundle: Bundle) -> None:
    choices = {choice.name: choice for choice in engine_choices(coral_bundle, cores=4)}
    assert choices["coral"].available
    assert choices["coral"].threads == (1,)
    assert choices["litert"].available
    assert choices["litert"].threads == (1, 2, 4)
    assert not choices["onnx"].available
    assert "has no model.onnx" in choices["onnx"].why
