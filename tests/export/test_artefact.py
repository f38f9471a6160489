"""From a run to a bundle by the command line: what is printed, what is written, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinyscene.export.formats.tflite_reader import read_tflite
from tinyscene.export.graph import Graph
from tinyscene.export.quantization.qat import QatSettings
from tinyscene.runtime.bundle import load_bundle
from tinyscene.runtime.engines.litert import open_engine
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend_spec import STUDENT
from tinyscene.training.config import load_settings
from tinyscene.training.run import load_run

Program = Callable[..., int]


def records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def graph_of(path: Path) -> Graph:
    return read_tflite((path / "model.tflite").read_bytes())


def test_a_qat_runs_graph_reaches_the_bundle_bit_for_bit(qat_run: Path, bundle: Path) -> None:
    assert graph_of(qat_run).differences(graph_of(bundle)) == []
    loaded, graph = load_bundle(bundle), graph_of(bundle)
    assert loaded.quantization.input_scale == graph.input_quant.scale
    assert loaded.quantization.method == "qat"
    assert loaded.labels == ("bus", "park", "tram")
    assert loaded.frontend == STUDENT
    assert open_engine(loaded).logits(np.zeros((256, 64), np.float32)).shape == (3,)


def test_a_qat_run_keeps_its_sources_float_weights(qat_run: Path, student: Path) -> None:
    run, source = load_run(qat_run), load_run(student)
    assert run.kind == "qat"
    assert run.files["weights.safetensors"] == source.files["weights.safetensors"]
    assert run.provenance["source_weights"] == source.files["weights.safetensors"]


def test_qat_changes_the_network_it_starts_from(
    qat_run: Path, student: Path, tmp_path: Path, tinyscene: Program
) -> None:
    assert tinyscene("export", student, "--ptq", "--calibrate", *clips_of(tmp_path), "--out", tmp_path / "ptq") == 0
    trained, calibrated = graph_of(qat_run), graph_of(tmp_path / "ptq")
    assert [op.name for op in trained.ops] == [op.name for op in calibrated.ops]
    assert trained.differences(calibrated)


def clips_of(folder: Path) -> list[Path]:
    """A folder with one second of noise at another rate, in stereo, and a longer one."""
    import soundfile

    rng = np.random.default_rng(0)
    files = [folder / "short.wav", folder / "long.flac"]
    soundfile.write(files[0], 0.1 * rng.standard_normal((44_100, 2)), 44_100)
    soundfile.write(files[1], 0.1 * rng.standard_normal(3 * 16_000), 16_000)
    return files


def test_a_finished_qat_run_is_left_alone(
    qat_run: Path, student: Path, corpus: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (qat_run / "model.tflite").read_bytes()
    options = ["epochs=3", "batch_size=8", "evaluate_every=3", "device=cpu", "threads=1"]
    assert tinyscene("train", "qat", student, "--data", corpus, "--out", qat_run, *options) == 0
    assert "finished already" in capsys.readouterr().err
    assert (qat_run / "model.tflite").read_bytes() == before
    assert tinyscene("train", "qat", student, "--data", corpus, "--out", qat_run, "lr=0.1", *options) == 2
    assert "lr" in capsys.readouterr().err


KILLED = """
import os, signal, sys
from tinyscene.export.quantization import qat
from tinyscene.runtime.cli import main

start = qat.RangeSchedule.on_train_epoch_start

def until_killed(self, trainer, module):
    if trainer.current_epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    start(self, trainer, module)

qat.RangeSchedule.on_train_epoch_start = until_killed
main(sys.argv[1:])
"""


def test_a_killed_fine_tuning_ends_where_an_uninterrupted_one_does(
    qat_run: Path, student: Path, corpus: Path, tmp_path: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["epochs=3", "batch_size=8", "evaluate_every=3", "device=cpu", "threads=1"]
    command = ["train", "qat", str(student), "--data", str(corpus), "--out", str(tmp_path / "qat"), *options]
    killed = subprocess.run([sys.executable, "-c", KILLED, *command], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "qat" / "run.json").exists()
    assert tinyscene(*command) == 0
    assert "going on from" in capsys.readouterr().err
    assert graph_of(tmp_path / "qat").differences(graph_of(qat_run)) == []


def test_export_says_what_it_made(
    qat_run: Path, corpus: Path, tmp_path: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    assert tinyscene("export", qat_run, "--data", corpus, "--out", out, "--json") == 0
    (record,) = records(capsys)
    assert record["schema"] == "tinyscene.export/1"
    assert record["verified"] is True
    rows = {row["name"]: row for row in record["waterfall"]["rows"]}  # type: ignore[index]
    assert list(rows) == [
        "float, torch (qat)",
        "folded, float ONNX",
        "int8, torch fake-quant",
        "int8, LiteRT reference",
        "int8, LiteRT default",
        "int8, ONNX QDQ",
        "generated C",
    ]
    assert rows["float, torch (qat)"]["agreement"] == rows["folded, float ONNX"]["agreement"] == 1.0
    assert all(0 <= row["accuracy"] <= 1 and row["agreement"] >= 0.5 for row in rows.values())
    assert record["waterfall"]["snippets"] == record["waterfall"]["scored"] == 12  # type: ignore[index]
    sizes = record["sizes"]
    assert sizes["tflite_bytes"] == (out / "model.tflite").stat().st_size  # type: ignore[index]
    assert sizes["parameters"] > sizes["artefact_parameters"]  # type: ignore[index] # batch norm is gone
    card = (out / "README.md").read_text()
    assert "bus, park, tram" in card
    assert "quantisation-aware" in card
    assert str(tmp_path) not in card + (out / "bundle.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "without int8 scales"),
        (["--ptq", "--norm", "frozen"], "only a network with norm 'grn' can be frozen"),
        (["--ptq", "--calibrate", "nowhere.wav"], "no audio at nowhere.wav"),
    ],
)
def test_wrong_requests_are_refused(
    student: Path,
    tmp_path: Path,
    tinyscene: Program,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    if "--calibrate" not in arguments:
        arguments = [*arguments, "--calibrate", *map(str, clips_of(tmp_path))]
    assert tinyscene("export", student, *arguments, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_bundle_is_not_touched(
    qat_run: Path, tmp_path: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    assert tinyscene("export", qat_run, "--calibrate", *clips_of(tmp_path), "--out", tmp_path) == 2
    assert "is not a bundle" in capsys.readouterr().err
    assert (tmp_path / "photo.jpg").read_bytes() == b"mine"


def test_a_broken_budget_leaves_nothing_behind(
    qat_run: Path,
    tmp_path: Path,
    tinyscene: Program,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tinyscene.runtime import budget

    monkeypatch.setitem(budget.PRESETS, "default", budget.Budget("default", max_parameters=100))
    out = tmp_path / "out"
    assert tinyscene("export", qat_run, "--calibrate", *clips_of(tmp_path), "--out", out) == 1
    error = capsys.readouterr().err
    assert "parameters exceed the default limit of 100; heaviest layers: blocks.5" in error
    assert "cheapest fix" in error
    assert not out.exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_failed_verification_leaves_the_old_bundle(
    qat_run: Path, bundle: Path, tmp_path: Path, tinyscene: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinyscene.export import artefact
    from tinyscene.export.verification.verify import Check

    out = tmp_path / "bundle"
    shutil.copytree(bundle, out)
    before = (out / "bundle.json").read_bytes()
    monkeypatch.setattr(artefact, "verify_bundle", lambda bundle: [Check("planted", False, "does not agree")])
    assert tinyscene("export", qat_run, "--calibrate", *clips_of(tmp_path), "--out", out) == 1
    assert (out / "bundle.json").read_bytes() == before
    assert not list(tmp_path.glob(".bundle*"))


def test_without_recordings_generated_ones_calibrate(
    student: Path, tmp_path: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tinyscene("export", student, "--ptq", "--out", tmp_path / "out") == 0
    assert "calibrating on generated scenes" in capsys.readouterr().err
    assert "generated clips" in str(load_bundle(tmp_path / "out").provenance["calibration"])


def test_teachers_and_bundles_are_not_quantised_again(
    qat_run: Path, corpus: Path, tmp_path: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tinyscene("train", "qat", qat_run, "--data", corpus, "--out", tmp_path / "again") == 2
    assert "is a qat run" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_phases_are_the_recipes_shares() -> None:
    settings = QatSettings().resolve()
    assert (settings.lr, settings.warmup_epochs, settings.rampdown_epochs, settings.frozen_epochs) == (
        5e-5,
        0.0,
        16.0,
        4,
    )
    short = load_settings(QatSettings, "qat", None, ["epochs=5"])
    assert (short.rampdown_epochs, short.frozen_epochs, short.final_factor) == (4.0, 1, 0.1)
    with pytest.raises(InputError, match="frozen_epochs is 9"):
        load_settings(QatSettings, "qat", None, ["epochs=5", "frozen_epochs=9"])
    with pytest.raises(InputError, match="calibrator is 'best'"):
        load_settings(QatSettings, "qat", None, ["calibrator=best"])
