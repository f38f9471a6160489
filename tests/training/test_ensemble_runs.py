"""Ensembles from the command line: teachers with a holdout, a student of theirs, and all of them evaluated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_distill import make_teacher
from tiny_corpus import write_corpus

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.output import Output
from tinyscene.training.batches import TrainingData, open_data
from tinyscene.training.distill import other_version
from tinyscene.training.ensemble import combine, learnt_weights
from tinyscene.training.metrics import log_probabilities
from tinyscene.training.predict import predict
from tinyscene.training.run import Run, load_run
from tinyscene.training.session import train_network
from tinyscene.training.settings import StudentSettings, TeacherSettings

FAST = {"epochs": 1, "batch_size": 8, "threads": 1, "evaluate_every": 5, "base_channels": 8}
TEACHER = replace(TeacherSettings(**FAST).resolve(), epochs=4, lr=1e-2, schedule="constant")
STUDENT = StudentSettings(**FAST).resolve()


@pytest.fixture(scope="module")
def teachers(tiny_data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two teachers of a quarter less than all recordings, one of all."""
    folder = tmp_path_factory.mktemp("teachers")
    return [
        train_network("teacher", replace(TEACHER, seed=seed, holdout=holdout), tiny_data, folder / str(seed), Output())
        for seed, holdout in ((0, 0.25), (1, 0.25), (2, 0.0))
    ]


def test_a_holdout_is_not_trained_on_and_is_written_down(tiny_data: TrainingData, teachers: list[Run]) -> None:
    kept, all_of_them = teachers[0].provenance, teachers[2].provenance
    assert (kept["holdout"], all_of_them["holdout"]) == (0.25, 0.0)
    assert kept["snippets"] == {"train": 18, "held_out": 6, "evaluate": 12}
    assert all_of_them["snippets"] == {"train": 24, "held_out": 0, "evaluate": 12}
    assert len(tiny_data.with_holdout(0.25).held_out) == 6


def test_a_student_of_a_learnt_ensemble(
    tiny_data: TrainingData, teachers: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    chosen = replace(STUDENT, ensemble="learnt", ensemble_size=2)
    run = train_network("student", chosen, tiny_data, tmp_path / "student", Output(), teachers)
    said = capsys.readouterr().err
    assert "2 teachers on 6 snippets of recordings that no teacher was trained on (the weights come from them" in said
    report = run.provenance["ensemble"]
    assert (report["on"], report["strategy"], report["n"]) == ("holdout", "learnt", 6)
    # The targets by hand: fresh logits, weights fitted on what was kept aside, combined on all the student trains on.
    aside, train = tiny_data.with_holdout(0.25).held_out, tiny_data.train
    fresh = [predict(t.build(), t.frontend, tiny_data.cache, np.arange(36)) for t in teachers[:2]]
    weights = learnt_weights(np.stack([answers[aside] for answers in fresh]), tiny_data.cache.label[aside])
    targets = np.load(run.path / "teacher_logits.npy")
    assert targets.shape == (24, 3)
    assert np.ptp(targets, axis=0).min() > 0.1  # they depend on the clip
    np.testing.assert_allclose(targets, combine([answers[train] for answers in fresh], weights), atol=1e-3)
    np.testing.assert_allclose([member["weights"] for member in report["members"]], weights, atol=1e-3)


def test_without_a_holdout_the_evaluation_side_shows_the_disagreement(
    tiny_data: TrainingData, teachers: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for kind in ("precomputed", "online"):
        chosen = replace(STUDENT, teacher_logits=kind)
        run = train_network("student", chosen, tiny_data, tmp_path / kind, Output(), teachers[1:])
        assert "2 teachers on 12 snippets of the evaluation side" in capsys.readouterr().err
        assert run.provenance["ensemble"]["on"] == "evaluate"
    alone = train_network("student", STUDENT, tiny_data, tmp_path / "alone", Output(), teachers[:1])
    assert alone.provenance["ensemble"] is None
    chosen = replace(STUDENT, ensemble="validation")
    with pytest.raises(InputError, match="2 was trained on all of them: train every teacher"):
        train_network("student", chosen, tiny_data, tmp_path / "refused", Output(), teachers)
    assert not (tmp_path / "refused").exists()


def test_evaluated_together(
    tiny_folder: Path,
    tiny_data: TrainingData,
    teachers: list[Run],
    tinyscene: Callable[..., int],
    capsys: pytest.CaptureFixture,
) -> None:
    paths = [run.path for run in teachers]
    assert tinyscene("evaluate", *paths, "--data", tiny_folder, "--ensemble", "mean", "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["schema"] for record in records] == ["tinyscene.evaluation/1"] * 4 + ["tinyscene.disagreement/1"]
    together, report = records[3:]
    logits = [predict(t.build(), t.frontend, tiny_data.cache, tiny_data.evaluate) for t in teachers]
    mean = np.mean([log_probabilities(answers) for answers in logits], axis=0)
    truth = tiny_data.cache.label[tiny_data.evaluate]
    assert together["model"] == "together (mean)"
    assert together["accuracy"] == pytest.approx(float((mean.argmax(axis=1) == truth).mean()))
    assert report["ensemble"]["accuracy"] == together["accuracy"]
    expected = float((logits[0].argmax(axis=1) == logits[1].argmax(axis=1)).mean())
    assert report["pairs"][0]["agreement"] == records[1]["agreement"] == expected
    assert report["pairs"][0]["per_scene"].keys() == {"bus", "park", "tram"}

    assert tinyscene("evaluate", *paths[:2], "--data", tiny_folder, "--ensemble", "learnt") == 0
    out = capsys.readouterr().out
    assert "| together (learnt) " in out
    assert "| 1 and 2 |" in out
    assert tinyscene("evaluate", *paths, "--data", tiny_folder, "--ensemble", "learnt") == 2
    assert "was trained on all of them" in capsys.readouterr().err
    assert tinyscene("evaluate", paths[0], "--data", tiny_folder, "--ensemble", "mean") == 2
    assert "needs at least two models" in capsys.readouterr().err


def test_other_versions_of_the_recordings(
    tmp_path: Path, teachers: list[Run], output: Output, capsys: pytest.CaptureFixture
) -> None:
    folder = write_corpus(tmp_path / "corpus", seed=9)  # the same names with other sounds
    data = open_data(folder, 1, None, tmp_path / "cache", None)
    reason = other_version(teachers[0], data)
    assert reason is not None
    assert "was trained on another version of corpus" in reason
    assert other_version(make_teacher(tmp_path / "other", "cpr", 0, provenance={"data": "tut2017"}), data) is None
    run = tmp_path / "run"
    train_network("student", replace(STUDENT, ensemble="mean"), data, run, output, teachers[:1])
    assert "warning: teacher" in capsys.readouterr().err
    # The recordings change under a run that is not finished.
    (run / "run.json").unlink()
    shutil.rmtree(folder)
    changed = open_data(write_corpus(folder, seed=10), 1, None, tmp_path / "cache", None)
    with pytest.raises(InputError, match=r"was started on another version of the recordings \(data_hash"):
        train_network("student", STUDENT, changed, run, output, teachers[:1])


def test_contexts_are_refused_before_anything_is_written(tiny_data: TrainingData, tmp_path: Path) -> None:
    transformer = make_teacher(tmp_path / "passt", "passt", 0, arguments={"dim": 8, "depth": 1, "heads": 1})
    chosen = replace(STUDENT, teacher_context_s=30.0)
    with pytest.raises(InputError, match="cannot hear 30 s at once"):
        train_network("student", chosen, tiny_data, tmp_path / "student", Output(), [transformer])
    assert not (tmp_path / "student").exists()


def test_a_finished_student_is_the_same_whoever_computed_the_logits(
    tiny_data: TrainingData, teachers: list[Run], tmp_path: Path, output: Output
) -> None:
    torch.set_num_threads(1)
    runs = []
    for name in ("first", "second"):
        runs.append(train_network("student", STUDENT, tiny_data, tmp_path / name, output, teachers))
        shutil.rmtree(tiny_data.cache.path / "logits")  # the second has to ask the teachers again
    first, second = (load_run(run.path).weights() for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert runs[0].provenance["ensemble"] == runs[1].provenance["ensemble"]
