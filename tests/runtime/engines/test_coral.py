"""The way to a Coral Edge TPU, with a stand-in for its library that LiteRT loads and runs as it would the real one.

No Edge TPU was at hand: this proves what happens on our side of the delegate's interface, and nothing beyond it.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import soundfile
from ai_edge_litert import schema_py_generated as schema
from band_network import band_network, write_band_bundle
from numpy.typing import NDArray
from processes import PROGRAM, json_lines

from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.engines import coral
from tinyscene.runtime.engines.catalogue import engine_choices, open_named_engine
from tinyscene.runtime.engines.coral import MODEL, open_coral
from tinyscene.runtime.errors import InputError, UnavailableError

#: What a TfLiteTensor takes in the interpreter of the ai-edge-litert that the tests install (2.3): the stand-in walks
#: over them.
TENSOR_BYTES = 112


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in, compiled."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler for the stand-in: run `apt-get install -y gcc libc6-dev`")
    path = tmp_path_factory.mktemp("edgetpu") / "libedgetpu.so.1"
    source = Path(__file__).with_name("edgetpu_stand_in.c")
    warnings = ["-std=c99", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(
        ["gcc", "-shared", "-fPIC", *warnings, f"-DTENSOR_BYTES={TENSOR_BYTES}", "-o", str(path), str(source)],
        check=True,
    )
    return path


def compiled_model(bundle: Bundle, classes: int = 3, relu: bool = False) -> bytes:
    """What the compiler makes of a network that it takes whole: one operator of its own, the borders as they were.

    With `relu`, of one whose last operator it leaves to the processor.
    """
    spec, quantization = bundle.frontend, bundle.quantization
    output = ([1, classes], quantization.output_scale, quantization.output_zero_point)
    tensors = []
    for name, shape, scale, zero_point in (
        (b"log_mel", [1, spec.n_mels, spec.n_frames(), 1], quantization.input_scale, quantization.input_zero_point),
        (b"before", *output),
        (b"logits", *output),
    )[:: 1 if relu else 2]:
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
    activation, rectified = schema.OperatorCodeT(), schema.OperatorT()
    activation.builtinCode = activation.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    activation.version, rectified.opcodeIndex, rectified.inputs, rectified.outputs = 2, 1, [1], [2]
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.inputs, graph.outputs = tensors, [0], [len(tensors) - 1]
    graph.operators = [operator, rectified] if relu else [operator]
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    model.operatorCodes = [code, activation] if relu else [code]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def stand_in_answer(inputs: NDArray[np.int8], classes: int = 3) -> NDArray[np.int8]:
    """What the stand-in gives for an int8 window, worked out in numpy."""
    parts = inputs.reshape(-1)[: classes * (inputs.size // classes)].reshape(classes, -1)
    answer: NDArray[np.int8] = np.floor(parts.mean(axis=1)).astype(np.int8)
    return answer


def windows() -> list[NDArray[np.int8]]:
    """Windows in which another band is loud each time."""
    made = []
    for seed in range(5):
        q = np.random.default_rng(seed).integers(-128, 128, (1, 256, 64, 1)).astype(np.int8)
        q[0, 80 * seed % 200 :][:60] = 90
        made.append(q)
    return made


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What happened in the stand-in, a line each, of all processes."""
    path = tmp_path / "stand_in.log"
    monkeypatch.setenv("STAND_IN_LOG", str(path))
    return path


@pytest.fixture
def coral_bundle(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    bundle = write_band_bundle(tmp_path / "bands", band_network())
    (bundle.path / MODEL).write_bytes(compiled_model(bundle))
    monkeypatch.setenv("TINYSCENE_EDGETPU_LIBRARY", str(library))
    return bundle


def test_the_delegate_runs_the_compiled_model(coral_bundle: Bundle, log: Path) -> None:
    engine = open_named_engine(coral_bundle, "coral")
    assert engine.name == "Coral Edge TPU"
    trial = ["created", "claimed 1 of 1 operators", "kernel prepared", "run", "destroyed"]
    assert log.read_text().splitlines() == [*trial, *trial[:3]]
    for inputs in windows():
        np.testing.assert_array_equal(engine.run_int8(inputs)[0], stand_in_answer(inputs))
    assert log.read_text().splitlines()[8:] == ["run"] * 5
    # The delegate has to outlive the interpreter, and then to go.
    del engine
    gc.collect()
    assert log.read_text().splitlines()[13:] == ["destroyed"]


def test_the_device_that_is_asked_for_is_passed_on(
    coral_bundle: Bundle, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYSCENE_EDGETPU_DEVICE", "usb:1")
    open_named_engine(coral_bundle, "coral")
    assert [line for line in log.read_text().splitlines() if "created" in line] == ["created usb:1"] * 2


def test_what_the_compiler_left_to_the_processor_runs_there_and_is_told(coral_bundle: Bundle, log: Path) -> None:
    (coral_bundle.path / MODEL).write_bytes(compiled_model(coral_bundle, relu=True))
    engine = open_named_engine(coral_bundle, "coral")
    assert engine.name == "Coral Edge TPU, 1 operator on the processor"
    assert "claimed 1 of 2 operators" in log.read_text()
    for inputs in windows():
        expected = np.maximum(stand_in_answer(inputs), coral_bundle.quantization.output_zero_point)
        np.testing.assert_array_equal(engine.run_int8(inputs)[0], expected)


def test_another_model_by_its_name(coral_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (coral_bundle.path / MODEL).rename(tmp_path / "elsewhere.tflite")
    with pytest.raises(UnavailableError, match="no model for the Edge TPU at"):
        open_coral(coral_bundle)
    assert open_coral(coral_bundle, model=tmp_path / "elsewhere.tflite").model == tmp_path / "elsewhere.tflite"
    monkeypatch.setenv("TINYSCENE_CORAL_MODEL", str(tmp_path / "elsewhere.tflite"))
    assert open_coral(coral_bundle).model == tmp_path / "elsewhere.tflite"


@pytest.mark.parametrize(
    ("device", "error", "message"),
    [
        (
            "absent",
            UnavailableError,
            r"(?s)no Edge TPU answers to 'absent' .*no device of that name.* is it plugged in",
        ),
        ("newer", InputError, r"compiled for runtime 14, libedgetpu has 13: run `edgetpu_compiler -m 13`"),
        (
            "foreign",
            UnavailableError,
            r"does not understand this interpreter .*RuntimeVersion\(13\); ai-edge-litert is 2",
        ),
        ("blind", UnavailableError, r"does not understand this interpreter .*install a libedgetpu made for it"),
        # In this process it would be the end of the test run.
        (
            "crashing",
            UnavailableError,
            r"ends the process that uses it \(SIGSEGV\): it was built for another TensorFlow",
        ),
    ],
)
def test_a_library_or_a_tpu_that_does_not_work(
    coral_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, device: str, error: type[Exception], message: str
) -> None:
    monkeypatch.setenv("TINYSCENE_EDGETPU_DEVICE", device)
    with pytest.raises(error, match=message):
        open_named_engine(coral_bundle, "coral")


def test_a_tpu_that_does_not_answer(coral_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coral, "TRIAL_S", 0.0)
    with pytest.raises(UnavailableError, match=r"gave no answer within 0 s: unplug it, plug it in again"):
        open_named_engine(coral_bundle, "coral")


def test_no_tpu_at_all(coral_bundle: Bundle, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_TPUS", "0")
    with pytest.raises(UnavailableError, match=r"no Edge TPU was found: is it plugged in, .*1a6e:089a"):
        open_named_engine(coral_bundle, "coral")
    assert not log.exists()


def test_listening_with_the_stand_in(coral_bundle: Bundle, library: Path, log: Path, tmp_path: Path) -> None:
    """The whole program in a process of its own, which finds the library as it would find the system's."""
    rate = coral_bundle.frontend.sample_rate_hz
    t = np.arange(3 * rate) / rate
    noise = 0.01 * np.random.default_rng(0).standard_normal(t.size)
    soundfile.write(tmp_path / "high.wav", 0.3 * np.sin(2 * np.pi * 9000 * t) + noise, rate)
    environment = {name: value for name, value in os.environ.items() if name != "TINYSCENE_EDGETPU_LIBRARY"}
    environment["LD_LIBRARY_PATH"] = str(library.parent)
    arguments = [str(coral_bundle.path), "--source", str(tmp_path / "high.wav"), "--engine", "coral", "--json"]
    done = subprocess.run(
        [*PROGRAM, "listen", *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    decisions = [line for line in json_lines(done.stdout) if line["schema"].startswith("tinyscene.decision/")]
    assert len(decisions) == 9
    assert {decision["top"] for decision in decisions} == {"high"}
    assert log.read_text().splitlines().count("run") == 1 + len(decisions)


def test_without_the_library(coral_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYSCENE_EDGETPU_LIBRARY", "libedgetpu-of-nobody.so.1")
    with pytest.raises(
        UnavailableError, match=r"the Edge TPU needs its library .*run `apt-get install libedgetpu1-std`"
    ):
        open_named_engine(coral_bundle, "coral")


def test_a_model_that_was_not_compiled(coral_bundle: Bundle) -> None:
    (coral_bundle.path / MODEL).write_bytes(coral_bundle.file("model.tflite").read_bytes())
    with pytest.raises(InputError, match=r"was not compiled for the Edge TPU .* it would run on the CPU"):
        open_named_engine(coral_bundle, "coral")
    (coral_bundle.path / MODEL).unlink()
    with pytest.raises(UnavailableError, match=r"no model for the Edge TPU at .*: run `edgetpu_compiler -s -o"):
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
