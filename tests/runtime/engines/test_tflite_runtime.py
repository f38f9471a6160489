"""tflite-runtime as an engine: the real one in an environment of its own, as it does not work beside numpy 2."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert_interpreter
from band_network import band_network
from elsewhere import run_elsewhere

from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.engines.catalogue import engine_choices, open_named_engine
from tinyscene.runtime.errors import UnavailableError

#: Runs in the other environment: the answers to inputs.npy, and the names of the engines.
CHILD = """
import sys
from pathlib import Path
import numpy as np
from tinyscene.runtime.bundle import load_bundle
from tinyscene.runtime.engines.catalogue import open_named_engine
bundle, folder = load_bundle(Path(sys.argv[1])), Path(sys.argv[2])
for name in ("tflite-runtime", "litert"):
    for threads in (1, 2):
        engine = open_named_engine(bundle, name, threads=threads)
        print(engine.name)
        np.save(folder / f"{name}-{threads}.npy", [engine.run_int8(row)[0] for row in np.load(folder / "inputs.npy")])
assert "ai_edge_litert" not in sys.modules
"""


def test_the_real_one_runs_the_network(bundle: Bundle, tmp_path: Path) -> None:
    network = band_network()
    inputs = np.random.default_rng(0).integers(-128, 128, (6, 1, 256, 64, 1)).astype(np.int8)
    for number in range(6):
        inputs[number, 0, 85 * (number % 3) :][:85] //= 2
    np.save(tmp_path / "inputs.npy", inputs)
    said = run_elsewhere(CHILD, tmp_path, bundle.path, tmp_path)
    # "litert" is the first interpreter that there is, so that one command line fits every board.
    assert said.split("\n")[:2] == ["tflite-runtime default"] * 2
    for name in ("tflite-runtime-1", "tflite-runtime-2", "litert-1", "litert-2"):
        answers = np.load(tmp_path / f"{name}.npy")
        for row, answer in zip(inputs, answers, strict=True):
            exact = network.expected_logits(row) / network.output_scale + network.output_zero_point
            # Requantisation may round twice, which is at most one step off.
            assert np.abs(answer - np.clip(exact, -128, 127)).max() < 1.01
        np.testing.assert_array_equal(answers, np.load(tmp_path / "litert-1.npy"))


def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """A module in tflite-runtime's place that is LiteRT and keeps the options it is called with."""
    module = ModuleType("tflite_runtime.interpreter")
    made: list[dict[str, object]] = []

    def interpreter(**options: object) -> object:
        made.append(options)
        return litert_interpreter.Interpreter(**options)

    module.Interpreter = interpreter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tflite_runtime", ModuleType("tflite_runtime"))
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", module)
    return made


def test_it_is_taken_by_name(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    made = stand_in(monkeypatch)
    engine = open_named_engine(bundle, "tflite-runtime", threads=2)
    assert engine.name == "tflite-runtime default"
    assert made[0]["num_threads"] == 2
    q = np.random.default_rng(0).integers(-128, 128, (1, 256, 64, 1)).astype(np.int8)
    np.testing.assert_array_equal(engine.run_int8(q), open_named_engine(bundle).run_int8(q))


def test_beside_a_numpy_that_it_was_not_built_for(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """tflite-runtime 2.14 is imported beside numpy 2, and its first call raises a SystemError."""

    def interpreter(**options: object) -> object:
        raise SystemError("CreateWrapperFromFile returned a result with an exception set") from ImportError(
            "numpy.core.multiarray failed to import"
        )

    stand_in(monkeypatch)
    monkeypatch.setattr(sys.modules["tflite_runtime.interpreter"], "Interpreter", interpreter)
    with pytest.raises(UnavailableError, match=r"with numpy .*multiarray failed to import\): run `pip install tflite"):
        open_named_engine(bundle, "tflite-runtime")
    choices = {choice.name: choice for choice in engine_choices(bundle, cores=1)}
    assert not choices["tflite-runtime"].available
    assert "in an environment of its own" in choices["tflite-runtime"].why


def test_without_it_the_install_line_is_shown(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", None)
    with pytest.raises(
        UnavailableError, match="run `pip install tflite-runtime 'numpy<2'` in an environment of its own"
    ):
        open_named_engine(bundle, "tflite-runtime")
