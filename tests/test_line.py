"""The whole line as its user runs it: data, teacher, student, fine-tuning, bundle, decisions; and wrong input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(sys.executable).with_name("tinyscene")


def tinyscene(*arguments: object, expect: int = 0, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [str(PROGRAM), *(str(argument) for argument in arguments)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == expect, f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done


def records(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every verb of the line has run once, in seconds."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "tiny.yaml").write_text(
        "teacher: {epochs: 1, batch_size: 20, base_channels: 16}\n"
        "student: {epochs: 2, batch_size: 20, base_channels: 8, lr: 3e-3}\n"
        "qat: {epochs: 1, batch_size: 20}\n"
    )
    common = ("--data", "corpus", "--config", "tiny.yaml", "--out")
    tinyscene("data", "synth", "corpus", "--clips-per-scene", 14, folder=folder)
    tinyscene("data", "check", "corpus", "--fold", 1, folder=folder)
    tinyscene("train", "teacher", "--arch", "cpr", *common, "teacher", folder=folder)
    tinyscene("train", "student", "--teacher", "teacher", *common, "student", folder=folder)
    tinyscene("train", "qat", "student", *common, "qat", folder=folder)
    tinyscene("export", "qat", "--data", "corpus", "--out", "bundle", folder=folder)
    return folder


def test_the_bundle_carries_the_scales_that_training_learnt(line: Path) -> None:
    from tinyscene.export.formats.tflite_reader import read_tflite

    learnt = read_tflite((line / "qat" / "model.tflite").read_bytes())
    shipped = read_tflite((line / "bundle" / "model.tflite").read_bytes())
    assert learnt.differences(shipped) == []


def test_verification_says_so(line: Path) -> None:
    assert "verdict: verified" in tinyscene("verify", "bundle", folder=line).stdout


def test_every_form_is_scored_in_the_bundle(line: Path) -> None:
    metrics = json.loads((line / "bundle" / "bundle.json").read_text())["metrics"]
    rows = {row["name"]: row for row in json.loads((line / "bundle" / "report.json").read_text())["waterfall"]["rows"]}
    assert rows["int8, LiteRT reference"]["accuracy"] == metrics["accuracy"]
    assert {"folded, float ONNX", "int8, torch fake-quant", "int8, LiteRT default", "int8, ONNX QDQ"} < set(rows)


def test_run_and_bundle_are_compared_on_the_same_snippets(line: Path) -> None:
    done = tinyscene("evaluate", "student", "bundle", "--data", "corpus", "--json", folder=line)
    float_run, bundle = records(done)
    assert float_run["agreement"] == 1.0
    assert bundle["n"] == float_run["n"] > 0
    assert 0.0 <= bundle["agreement"] <= 1.0


def test_listening_decides_every_hop(line: Path) -> None:
    from numpy import concatenate
    from soundfile import read, write

    snippets = sorted((line / "corpus" / "audio").glob("tram-*.wav"))[:3]
    write(line / "tram.wav", concatenate([read(path)[0] for path in snippets]), 44_100)
    done = tinyscene("listen", "bundle", "--source", "tram.wav", "--json", folder=line)
    *decisions, summary = records(done)
    assert [decision["t_s"] for decision in decisions] == [1.0 + 0.25 * k for k in range(9)]
    assert all(abs(sum(decision["probabilities"].values()) - 1.0) < 1e-9 for decision in decisions)
    assert summary["dropped_samples"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("train", "student", "--data", "corpus", "--out", "new", "base_channels=40"), 1, "cheapest fix"),
        (("train", "student", "--data", "corpus", "--out", "new", "base_chanels=16"), 2, "base_channels"),
        (("train", "student", "--data", "nowhere", "--out", "new"), 2, "nowhere"),
        (("train", "qat", "nowhere", "--data", "corpus", "--out", "new"), 2, "nowhere"),
        (("export", "student", "--out", "new"), 2, "--ptq"),
        (("evaluate", "nowhere", "--data", "corpus"), 2, "nowhere"),
        (("verify", "student"), 2, "bundle"),
        (("listen", "bundle", "--source", "nowhere.wav"), 2, "nowhere.wav"),
        (("listen", "nowhere", "--source", "tram.wav"), 2, "nowhere"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    line: Path, arguments: tuple[str, ...], code: int, named: str
) -> None:
    done = tinyscene(*arguments, folder=line, expect=code)
    complaints = [text for text in done.stderr.splitlines() if text.startswith("tinyscene: ")]
    assert len(complaints) == 1
    assert named in complaints[0]
    assert "Traceback" not in done.stderr
    assert not (line / "new").exists()


def test_a_corrupt_recording_is_named_before_training(line: Path, tmp_path: Path) -> None:
    from shutil import copytree

    copytree(line / "corpus", tmp_path / "corpus")
    victim = sorted((tmp_path / "corpus" / "audio").iterdir())[3]
    victim.write_bytes(victim.read_bytes()[:30])
    done = tinyscene("train", "student", "--data", "corpus", "--out", "new", folder=tmp_path, expect=2)
    assert victim.name in done.stderr
    assert not (tmp_path / "new").exists()
    found = tinyscene("data", "check", "corpus", "--json", folder=tmp_path, expect=1)
    assert victim.name in found.stdout
