"""The way to a Coral Edge TPU, with a stand-in for its library that LiteRT loads and runs as it would the real one.

No Edge TPU was at hand: this proves what happens on our side of the delegate's interface, and nothing beyond it.
"""

from __future__ import annotations

import gc
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from band_network import band_network, write_band_bundle
from elsewhere import compile_stand_in, compiled_model, run_elsewhere
from numpy.typing import NDArray
from processes import PROGRAM, json_lines

from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.cli import main
from tinyscene.runtime.engines import coral
from tinyscene.runtime.engines.catalogue import engine_choices, open_named_engine
from tinyscene.runtime.engines.coral import MODEL, open_coral
from tinyscene.runtime.errors import InputError, UnavailableError


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in, compiled."""
    return compile_stand_in(tmp_path_factory.mktemp("edgetpu"))


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


@pytest.mark.parametrize("verb", ["listen", "bench"])
def test_another_model_by_an_option(
    verb: str, coral_bundle: Bundle, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TINYSCENE_CORAL_MODEL", raising=False)
    path, elsewhere = str(coral_bundle.path), tmp_path / "elsewhere.tflite"
    (coral_bundle.path / MODEL).rename(elsewhere)
    rate = coral_bundle.frontend.sample_rate_hz
    soundfile.write(tmp_path / "some.wav", np.random.default_rng(0).normal(0, 0.1, 2 * rate), rate)
    clip = str(tmp_path / "some.wav")
    options = {
        "listen": ["--source", clip],
        "bench": ["--clip", clip, "--no-rows", "--fast", "--listen-s", "1.5", "--starts", "1", "--out", "-"],
    }[verb]
    arguments = [*PROGRAM, verb, path, *options]
    runs = {
        wanted: subprocess.run([*arguments, *wanted], capture_output=True, text=True, timeout=120, check=False)
        for wanted in (("--engine", "coral"), ("--engine", "coral", "--coral-model", str(elsewhere)))
    }
    without, with_it = runs.values()
    assert (without.returncode, "--coral-model" in without.stderr) == (3, True)
    assert with_it.returncode == 0, with_it.stderr
    assert "run" in log.read_text().splitlines()


@pytest.mark.parametrize("verb", ["listen", "bench"])
def test_a_model_by_an_option_that_cannot_be(
    verb: str, coral_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled = str(coral_bundle.path / MODEL)
    for options, message in (
        (["--engine", "litert", "--coral-model", compiled], "the engine is litert: set --engine coral"),
        (["--engine", "coral", "--coral-model", "nothing.tflite"], "--coral-model nothing.tflite is not there"),
    ):
        source = ["--source", "-", "--rate", "32000"] if verb == "listen" else ["--no-rows"]
        assert main([verb, str(coral_bundle.path), *source, *options]) == 2
        assert message in capsys.readouterr().err


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


#: Runs in the environment with tflite-runtime: the answer to inputs.npy.
CHILD = """
import sys
from pathlib import Path
import numpy as np
from tinyscene.runtime.bundle import load_bundle
from tinyscene.runtime.engines.catalogue import open_named_engine
engine = open_named_engine(load_bundle(Path(sys.argv[1])), "coral")
print(engine.name, *engine.run_int8(np.load(sys.argv[2]))[0])
assert "ai_edge_litert" not in sys.modules
"""


def test_the_delegate_in_tflite_runtime(coral_bundle: Bundle, library: Path, log: Path, tmp_path: Path) -> None:
    """A 32-bit Raspberry Pi has no other interpreter."""
    inputs = windows()[1]
    np.save(tmp_path / "inputs.npy", inputs)
    said = run_elsewhere(CHILD, tmp_path, coral_bundle.path, tmp_path / "inputs.npy")
    assert said.split() == ["Coral", "Edge", "TPU", *map(str, stand_in_answer(inputs))]
    assert log.read_text().splitlines().count("run") == 2


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
