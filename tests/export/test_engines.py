"""Engines in processes of their own: right answers, and a line where one crashes, hangs, lies or is missing."""

from __future__ import annotations

import ast
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import integer_reference
import numpy as np
import pytest
from networks import lively, mels
from numpy.typing import NDArray

from tinyscene.export.engines import catalogue, places
from tinyscene.export.engines.catalogue import choose
from tinyscene.export.engines.engine import Engine, EngineError, Replay
from tinyscene.export.engines.process import run_child
from tinyscene.export.engines.tap import tap_onnx, tap_tflite
from tinyscene.export.formats.onnx_writer import write_onnx
from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph
from tinyscene.export.lower import lower
from tinyscene.export.quantization.ptq import quantize_calibrated
from tinyscene.export.verification.golden import channel_steps, run_layers, to_integers
from tinyscene.export.verification.traces import rounded_trace
from tinyscene.runtime.errors import InputError, UnavailableError

EXACT = ("litert-reference", "tflite-micro", "tflite-runtime", "tensorflow")


@pytest.fixture(scope="module")
def graph() -> Graph:
    """A small int8 network with every op of the student."""
    return quantize_calibrated(lower(lively(), 64, 32), mels(16), "minmax").graph


@pytest.fixture(scope="module")
def model(graph: Graph) -> bytes:
    return write_tflite(graph)


@pytest.fixture(scope="module")
def inputs(graph: Graph) -> NDArray[np.int8]:
    return to_integers(mels(3, seed=5), graph.input_quant)[..., None]


def at_hand(key: str) -> Engine:
    """The engine of this key, or a skip with the line that installs it."""
    (engine,) = choose([key])
    modules = {
        "tflite-micro": ("tflite_micro", None),
        "tflite-runtime": ("tflite_runtime", "tflite-runtime"),
        "tensorflow": ("tensorflow", "tensorflow"),
    }
    try:
        if key in modules:
            places.python_with(*modules[key], engine.name, engine.install)
        elif key == "onnx-web":
            places.node_with("onnxruntime-web", "web", engine.name, engine.install)
    except UnavailableError as error:
        pytest.skip(str(error))
    return engine


@pytest.mark.parametrize("key", EXACT)
def test_exact_engines_give_what_the_specification_says(
    key: str, graph: Graph, model: bytes, inputs: NDArray[np.int8], engine_environments: None
) -> None:
    replay = at_hand(key).replay(model, inputs, layers=True, digests=True)
    expected = [integer_reference.run(graph, values[..., 0]) for values in inputs]
    np.testing.assert_array_equal(replay.logits, np.concatenate([layers[graph.output] for layers in expected]))
    assert replay.layers is not None
    for op in graph.ops:
        np.testing.assert_array_equal(replay.layers[op.output], expected[0][op.output], err_msg=op.output)
    assert replay.digests is not None
    assert replay.digests.shape == (3, 32)


def test_inner_tensors_are_those_that_litert_keeps_itself(model: bytes, inputs: NDArray[np.int8]) -> None:
    found = choose(["litert-reference"])[0].replay(model, inputs[:1], layers=True).layers
    kept = run_layers(model, inputs[0, :, :, 0])
    assert found is not None
    for name, values in found.items():
        np.testing.assert_array_equal(values, kept[name], err_msg=name)


@pytest.mark.parametrize("key", ["litert-default", "onnx-qdq", "onnx-web"])
def test_tolerant_engines_round_once(
    key: str, graph: Graph, model: bytes, inputs: NDArray[np.int8], engine_environments: None
) -> None:
    """They compute what torch does when it rounds each activation once: on x86-64 to a step, a tie here and there."""
    engine = at_hand(key)
    quant = graph.input_quant
    real = np.float32(quant.scale) * (inputs.astype(np.float32) - quant.zero_point)
    is_onnx = engine.file == "model.onnx"
    if is_onnx:
        replay = engine.replay(write_onnx(graph), np.ascontiguousarray(np.moveaxis(real, -1, 1)), layers=True)
    else:
        replay = engine.replay(model, inputs, layers=True)
    assert not engine.exact
    assert replay.logits.dtype == (np.float32 if is_onnx else np.int8)
    assert replay.layers is not None
    expected = rounded_trace(graph)(real[:1, ..., 0])
    for name, values in replay.layers.items():
        found = np.moveaxis(values, 1, -1) if is_onnx and values.ndim == 4 else values
        assert found.dtype == np.int8
        assert channel_steps(expected[name], found) <= 1.5, name


def test_sixteen_bits_travel(engine_environments: None) -> None:
    """A network with some 16-bit layers: each tensor comes in its own dtype, the same from both exact engines."""
    mixed = quantize_calibrated(lower(lively(), 64, 32), mels(16), "minmax", ["blocks.3"]).graph
    inputs = to_integers(mels(2, seed=5), mixed.input_quant)[..., None]
    replays = [at_hand(key).replay(write_tflite(mixed), inputs, layers=True) for key in EXACT[:2]]
    first, second = (replay.layers for replay in replays)
    assert first is not None
    assert second is not None
    dtypes = {tensor.name: tensor.quant.dtype for tensor in mixed.tensors if tensor.quant is not None}
    assert {np.dtype(np.int8), np.dtype(np.int16)} == set(dtypes.values())
    for name, values in first.items():
        assert values.dtype == dtypes[name]
        np.testing.assert_array_equal(values, second[name], err_msg=name)
    np.testing.assert_array_equal(replays[0].logits, replays[1].logits)


SCRIPTS = {
    "os.kill(os.getpid(), signal.SIGSEGV)": r"crashed \(SIGSEGV\)",
    "os.abort()": r"crashed \(SIGABRT\)",
    "print('no room left'); sys.exit(7)": "ended with status 7 and no answer, after saying 'no room left'",
    "sys.exit(0)": "no answer",
    "write('[]')": "no answer",
    "write('{')": "no answer",
    "write('{}'); bytes_(8)": "an answer that cannot be read",
    "write(arrays('float32', [1 << 62])); bytes_(8)": "an answer that cannot be read",
    "write(arrays('float32', [-1])); bytes_(8)": "an answer that cannot be read",
    "write(arrays('object', [1])); bytes_(8)": "an answer that cannot be read",
    "write(json.dumps({'error': 'unknown op FOO'}))": r"cannot run the model \(unknown op FOO\)",
}

PRELUDE = """
import json, os, pathlib, signal, sys
folder = pathlib.Path(sys.argv[-1])
def write(text): (folder / "reply.json").write_text(text)
def bytes_(count): (folder / "reply.bin").write_bytes(bytes(count))
def arrays(dtype, shape): return json.dumps({"arrays": [{"name": "logits", "dtype": dtype, "shape": shape}]})
"""


@pytest.mark.parametrize("script", SCRIPTS)
def test_whatever_a_child_does_becomes_a_line(script: str) -> None:
    command = [sys.executable, "-c", PRELUDE + script]
    with pytest.raises(EngineError, match=SCRIPTS[script]) as error:
        run_child("Engine X", command, {}, {}, np.zeros((1, 2), np.int8))
    assert str(error.value).startswith("Engine X ")
    assert "\n" not in str(error.value)


def ended(pid: int) -> bool:
    """Whether a process that was killed is gone; a busy machine takes a moment to give it the signal."""
    status, deadline = Path(f"/proc/{pid}/stat"), time.monotonic() + 30.0
    while time.monotonic() < deadline:
        try:
            if status.read_text().split(")")[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        os.sched_yield()
    return False


def test_a_hanging_child_is_stopped_with_its_children(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    script = (
        "import os, sys\n"
        "os.fork()\n"
        f"os.write(os.open({str(file)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND), b'%d\\n' % os.getpid())\n"
        "while True: pass\n"
    )
    with pytest.raises(EngineError, match="did not answer within 1 s"):
        run_child("Engine X", [sys.executable, "-I", "-c", script], {}, {}, np.zeros((1, 2), np.int8), timeout_s=1.0)
    pids = [int(line) for line in file.read_text().split()]
    assert len(pids) == 2
    for pid in pids:
        assert ended(pid)


def test_a_program_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="Engine X cannot be started"):
        run_child("Engine X", [str(tmp_path / "python")], {}, {}, np.zeros((1, 2), np.int8))


def test_a_broken_environment_is_unavailable_with_its_install_line(
    model: bytes, inputs: NDArray[np.int8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tflite-runtime" / "bin").mkdir(parents=True)
    (tmp_path / "tflite-runtime" / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setenv(places.VARIABLE, str(tmp_path))
    with pytest.raises(UnavailableError, match=r"tflite_runtime.*make engines"):
        choose(["tflite-runtime"])[0].replay(model, inputs)


@pytest.mark.parametrize("key", ["tflite-runtime", "tensorflow", "onnx-web"])
def test_missing_environments_name_the_line_that_builds_them(
    key: str, model: bytes, inputs: NDArray[np.int8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(places.VARIABLE, str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(UnavailableError, match="make engines"):
        choose([key])[0].replay(model, inputs)


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: b"", lambda data: data[:-999] + bytes(999)])
def test_engines_never_see_a_broken_flatbuffer(
    damage: Callable[[bytes], bytes], model: bytes, inputs: NDArray[np.int8]
) -> None:
    with pytest.raises(InputError):
        choose(["litert-reference"])[0].replay(damage(model), inputs)


def test_inputs_of_another_shape_are_refused_by_the_engine(model: bytes) -> None:
    with pytest.raises(EngineError, match="cannot run the model"):
        choose(["litert-reference"])[0].replay(model, np.zeros((1, 2, 2, 1), np.int8))


def test_keys_are_known_or_the_nearest_is_named() -> None:
    assert [engine.key for engine in choose(["onnx-qdq", "litert-default", "onnx-qdq"])] == [
        "onnx-qdq",
        "litert-default",
    ]
    assert [engine.key for engine in choose(None)][:8] == [
        "litert-reference",
        "litert-default",
        "tflite-micro",
        "tflite-runtime",
        "tensorflow",
        "onnx-qdq",
        "onnx-float",
        "onnx-web",
    ]
    with pytest.raises(InputError, match="did you mean 'tflite-micro'"):
        choose(["tflite-mikro"])


def test_packages_add_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: bytes) -> None:
    """As an installed distribution does it: an entry point in its metadata."""
    info = tmp_path / "fake_engine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tinyscene.engines]\nfake = fake_engine:ENGINE\n")
    (tmp_path / "fake_engine.py").write_text(
        "import numpy as np\n"
        "from tinyscene.export.engines.engine import Engine, Replay\n"
        "def run(model, inputs, layers, digests):\n"
        "    return Replay(np.full((len(inputs), 4), len(model) % 100, np.int8), {} if layers else None)\n"
        "ENGINE = Engine('fake', 'A fake', True, 'pip install fake', run)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (fake,) = choose(["fake"])
    assert fake.exact
    replay = fake.replay(model, np.zeros((2, 64, 32, 1), np.int8))
    np.testing.assert_array_equal(replay.logits, np.full((2, 4), len(model) % 100))
    assert choose(None)[-1] is fake
    (tmp_path / "fake_engine.py").write_text("ENGINE = 'no engine'\n")
    monkeypatch.delitem(sys.modules, "fake_engine")
    with pytest.raises(InputError, match=r"'fake'.*is not an Engine"):
        catalogue.catalogue()


def test_nonsense_of_an_engine_is_refused() -> None:
    def run(model: bytes, inputs: object, layers: bool, digests: bool) -> Replay:
        return Replay(np.zeros((1, 4), np.int8))

    engine = Engine("x", "Engine X", True, "", run)
    with pytest.raises(EngineError, match="expected a row for each"):
        engine.replay(b"", np.zeros((2, 4), np.int8))


def test_the_child_needs_numpy_and_the_interpreter_only() -> None:
    tree = ast.parse((Path(catalogue.__file__).parent / "child.py").read_text())
    names = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    names |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - set(sys.stdlib_module_names) == {"numpy"}


def test_taps_keep_the_order_and_the_answer(graph: Graph, model: bytes) -> None:
    tap = tap_tflite(model)
    assert list(tap.names) == [op.output for op in graph.ops]
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tap.model)
    interpreter.allocate_tensors()
    outputs = [details["name"] for details in interpreter.get_output_details()]
    assert outputs == [graph.output, *(name for name in tap.names if name != graph.output)]
    folded = {op.output for op in graph.ops if op.kind == "PAD"}
    assert set(tap_onnx(write_onnx(graph)).names) == {graph.input} | {op.output for op in graph.ops} - folded
    with pytest.raises(InputError, match="ONNX model is damaged"):
        tap_onnx(b"not onnx")
