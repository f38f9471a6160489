"""Experiments from the command line on a tiny corpus: tables that repeat, cells that are shared, errors in time."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

FAST = {"epochs": 2, "batch_size": 8, "threads": 1, "base_channels": 8, "lr": 1.0e-2, "evaluate_every": 2}
GRID: dict[str, Any] = {
    "question": "Does a teacher help?",
    "seeds": [0, 1],
    "teacher": FAST,
    "student": FAST,
    "teachers": {"cpr": {"arch": "cpr"}},
    "rows": [{"name": "plain"}, {"name": "two", "teachers": ["cpr", "cpr@0"]}, {"name": "itself", "model": "cpr"}],
    "baseline": "plain",
}


def write_grid(folder: Path, name: str = "mine", **changes: Any) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**GRID, **changes}, sort_keys=False))
    return file


def write_responses(folder: Path, *decays: float) -> Path:
    folder.mkdir()
    for decay in decays:
        soundfile.write(folder / f"decay{decay:g}.wav", 0.5 * np.exp(-np.arange(256) / decay), 44_100)
    return folder


def read_results(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A finished experiment `mine`, with simulated unseen devices; its grid lies beside its output folder."""
    from tinyscene.runtime.cli import main

    folder = tmp_path_factory.mktemp("finished")
    unseen = write_responses(folder / "unseen", 3, 30)
    words = [write_grid(folder), "--data", tiny_folder, "--out", folder / "out", "--unseen", unseen]
    assert main(["experiment", *map(str, words)]) == 0
    return folder


def again(finished: Path, tiny_folder: Path, out: Path) -> list[Any]:
    return ["experiment", finished / "mine.yaml", "--data", tiny_folder, "--out", out, "--unseen", finished / "unseen"]


def test_what_an_experiment_leaves_behind(finished: Path) -> None:
    folder = finished / "out" / "mine"
    results = read_results(folder)
    assert [(row["row"], row["seed"]) for row in results] == [
        (name, seed) for name in ("plain", "two", "itself") for seed in "01"
    ]  # fmt: skip
    assert [row["teachers"] for row in results] == ["", "", "cpr cpr@0", "cpr cpr@0", "", ""]
    table = (folder / "table.md").read_text()
    assert "Does a teacher help?" in table
    assert "| unseen devices" in table
    assert "heard through 2 microphones" in table
    assert "Trained: students for 2 epochs, teachers for 2 epochs." in table
    assert "clip accuracy |" not in table  # files of one snippet: it is the accuracy
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    # Two students at two seeds and teachers of seeds 0 and 1, those of row `itself` among them.
    cells = {path.name for path in (finished / "out" / "cells").iterdir()}
    assert len(cells) == 6
    assert {row["cell"] for row in results} == cells


def test_results_are_those_of_the_runs(finished: Path) -> None:
    for row in read_results(finished / "out" / "mine"):
        run = json.loads((finished / "out" / "cells" / row["cell"] / "run.json").read_text())
        for name in ("accuracy", "macro", "clip_accuracy", "parameters", "macs"):
            assert float(row[name]) == pytest.approx(run["metrics"][name], abs=1e-6)
        for group in ("real", "seen", "unseen"):
            assert float(row[f"group {group}"]) == pytest.approx(run["metrics"]["groups"][group], abs=1e-6)
        assert row["simulated n"] == row["n"] == "12"
        assert "group seen" in row
        assert float(row["simulated group unseen"]) == float(row["simulated accuracy"])
    first = {row["row"]: row for row in read_results(finished / "out" / "mine") if row["seed"] == "0"}
    teacher, taught = first["itself"], first["two"]
    # At seed 0 "cpr" and "cpr@0" are one network: together it says what it says alone.
    assert taught["teachers_accuracy"] == teacher["accuracy"]
    assert taught["teachers_agreement"] == "1.000000"


def test_estimates_are_those_of_the_results(
    finished: Path, tiny_folder: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    assert tinyscene(*again(finished, tiny_folder, finished / "out"), "--json") == 0
    captured = capsys.readouterr()
    assert "6 cells, 6 of them finished before" in captured.err
    assert "scoring" not in captured.err
    records = {record["row"]: record for record in map(json.loads, captured.out.splitlines())}
    results = read_results(finished / "out" / "mine")
    columns = {
        "own accuracy": "accuracy", "own macro": "macro", "own clip_accuracy": "clip_accuracy",
        "own clip_macro": "clip_macro", "own real": "group real", "own unseen": "group unseen",
        "simulated accuracy": "simulated accuracy", "simulated macro": "simulated macro",
    }  # fmt: skip
    for name, record in records.items():
        assert record["schema"] == "tinyscene.experiment/1"
        for key, column in columns.items():
            mean = np.mean([float(row[column]) for row in results if row["row"] == name])
            estimate = record["estimates"][key]
            assert estimate["value"] == pytest.approx(mean, abs=1e-6)
            assert estimate["low"] <= estimate["high"]
            if name != "plain":
                base = records["plain"]["estimates"][key]["value"]
                assert record["differences"][key]["value"] == pytest.approx(mean - base, abs=2e-6)
    assert records["plain"]["differences"] == {}


def test_a_second_run_repeats_the_tables(
    finished: Path, tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int]
) -> None:
    assert tinyscene(*again(finished, tiny_folder, tmp_path / "out")) == 0
    for name in ("results.csv", "table.md"):
        first, second = (folder / "mine" / name for folder in (finished / "out", tmp_path / "out"))
        assert first.read_bytes() == second.read_bytes()
    # Answers that were damaged are given again.
    victim = next((tmp_path / "out" / "cells").glob("*/logits-*.npy"))
    good = victim.read_bytes()
    victim.write_bytes(good[:-4] + bytes(4))
    assert tinyscene(*again(finished, tiny_folder, tmp_path / "out")) == 0
    assert victim.read_bytes() == good


def test_experiments_share_cells(
    finished: Path, tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    grid = write_grid(tmp_path, "other", rows=[{"name": "alone", "teachers": "cpr"}, {"name": "plain"}], seeds=[1])
    assert tinyscene("experiment", grid, "--data", tiny_folder, "--out", out) == 0
    assert "3 cells, 2 of them finished before" in capsys.readouterr().err
    assert len(list((out / "cells").iterdir())) == 7
    assert "Seed 1; in brackets" in (out / "other" / "table.md").read_text()


def test_existing_runs_and_another_corpus(
    finished: Path, tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    # The evaluation side once more, its scenes by other names: what is right there is right here.
    other = tmp_path / "other"
    shutil.copytree(tiny_folder / "audio", other / "audio")
    listed = (tiny_folder / "evaluation_setup" / "fold1_evaluate.csv").read_text()
    kept = {line.split("\t")[0] for line in listed.splitlines()}
    names = {"bus": "coach", "park": "garden", "tram": "tram"}
    lines = [line.split("\t") for line in (tiny_folder / "meta.csv").read_text().splitlines()]
    renamed = [[name, names.get(scene, scene), *rest] for name, scene, *rest in lines if name in kept]
    (other / "meta.csv").write_text("\n".join("\t".join(line) for line in renamed) + "\n")
    label_map = tmp_path / "map.yaml"
    label_map.write_text("coach: bus\ngarden: park\n")
    existing = next(row["cell"] for row in read_results(finished / "out" / "mine") if row["row"] == "itself")
    run = tmp_path / "trained"
    shutil.copytree(finished / "out" / "cells" / existing, run)
    grid = write_grid(tmp_path, rows=[{"name": "plain"}], seeds=[0], needs=["independent"])
    words = ["experiment", grid, "--data", tiny_folder, "--out", tmp_path / "out", "--run", run]
    assert tinyscene(*words) == 2
    assert "mine needs --independent: Does a teacher help?" in capsys.readouterr().err
    assert tinyscene(*words, "--independent", other) == 0  # "tram" alone is known by name
    assert {row["independent n"] for row in read_results(tmp_path / "out" / "mine")} == {"4"}
    assert tinyscene(*words, "--independent", other, "--label-map", label_map) == 0
    results = read_results(tmp_path / "out" / "mine")
    assert [(row["row"], row["seed"], row["kind"]) for row in results] == [
        ("plain", "0", "student"),
        ("trained", "", "run"),
    ]
    for row in results:
        assert row["independent n"] == row["n"] == "12"
        assert row["independent accuracy"] == row["accuracy"]
        assert row["independent macro"] == row["macro"]
    trained = json.loads((run / "run.json").read_text())
    assert float(results[1]["accuracy"]) == pytest.approx(trained["metrics"]["accuracy"], abs=1e-6)
    label_map.write_text("coach: bus\ngarden: parc\n")
    assert tinyscene(*words, "--independent", other, "--label-map", label_map) == 2
    assert "did you mean 'park'" in capsys.readouterr().err
    assert tinyscene(*words, "--independent", tiny_folder) == 2
    assert "is the corpus of --data" in capsys.readouterr().err


def test_what_cannot_work_is_refused_before_anything_is_trained(
    tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    method = {"name": "dir", "settings": {"device_generalisation": "dir"}}
    convolved = write_grid(tmp_path, "convolved", rows=[{"name": "plain"}, method])
    plain = write_grid(tmp_path)
    trained_with = write_responses(tmp_path / "trained_with", 3, 10)
    unseen = write_responses(tmp_path / "unseen", 30)
    shutil.copy(trained_with / "decay10.wav", unseen / "renamed.wav")
    (tmp_path / "empty").mkdir()
    where = ("--data", tiny_folder, "--out", tmp_path / "out")
    for words, message in (
        ((), "NAME is missing"),
        ((plain,), "--data DIR is missing"),
        ((plain, "--data", tiny_folder), "--out DIR is missing"),
        ((write_grid(tmp_path, "cells"), *where), "its tables would lie among the cells"),
        (("same-vs-diferent", *where), "did you mean 'same-vs-different'"),
        ((plain, "student.epoch=1", *where), "did you mean 'epochs'"),
        ((plain, "--seeds", "0", *where), "--seeds is 0"),
        ((plain, "--label-map", plain, *where), "give that too"),
        ((plain, "--pretrained", "pasts=x", *where), "did you mean 'passt'"),
        ((plain, "--pretrained", "mn=x", *where), "there is no file x"),
        ((plain, "--run", tmp_path, *where), "is not a finished run"),
        ((convolved, *where), "give --responses DIR"),
        ((convolved, "--responses", tmp_path / "empty", *where), "has no .wav"),
        ((plain, "--unseen", tmp_path / "empty", *where), "has no .wav"),
        ((convolved, "--responses", trained_with, "--unseen", unseen, *where), "renamed.wav is also trained with"),
    ):
        assert tinyscene("experiment", *words) == 2, words
        error = capsys.readouterr().err
        assert message in error
        assert error.startswith("tinyscene: ")
        assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_cell_that_fails_is_named(
    tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    for name, settings, message in (
        ("demanding", {"check_epoch": 1, "check_accuracy": 1.0}, "below the 1.000 of check_accuracy"),
        ("wild", {"lr": 1.0e30}, "the loss became nan"),
    ):
        grid = write_grid(tmp_path, rows=[{"name": "plain"}, {"name": name, "settings": settings}], seeds=[1])
        assert tinyscene("experiment", grid, "--data", tiny_folder, "--out", out) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith(f"tinyscene: row '{name}', seed 1 (student '{name}', seed 1, in {out}")
        assert message in error
        assert not (out / "mine").exists()
    # What was finished before stays so.
    assert (
        tinyscene(
            "experiment", write_grid(tmp_path, rows=[{"name": "plain"}], seeds=[1]), "--data", tiny_folder, "--out", out
        )
        == 0
    )
    assert "1 cells, 1 of them finished before" in capsys.readouterr().err


def test_list(tinyscene: Callable[..., int], capsys: pytest.CaptureFixture) -> None:
    assert tinyscene("experiment", "--list", "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {record["schema"] for record in records} == {"tinyscene.grid/1"}
    assert "kd-settings" in [record["name"] for record in records]
    assert all(record["question"].endswith("?") for record in records)


@pytest.mark.slow
def test_kill_9_and_the_same_command(finished: Path, tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [str(word) for word in again(finished, tiny_folder, out)]
    command = [sys.executable, "-c", "import sys; from tinyscene.runtime.cli import main; sys.exit(main())", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    third = False
    for line in process.stderr:
        third = third or line.startswith("cell 3 of 6")
        if third and line.startswith("epoch 1 of"):
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/run.json")}
    assert len(before) == 2
    resumed = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "6 cells, 2 of them finished before" in resumed.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for name in ("results.csv", "table.md"):
        assert (out / "mine" / name).read_bytes() == (finished / "out" / "mine" / name).read_bytes()
