"""Trainings that are looked at early: those below the accuracy asked for end there, whenever they get there."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest

from tinyscene.runtime.errors import GateError
from tinyscene.runtime.output import Output
from tinyscene.training.batches import TrainingData
from tinyscene.training.config import load_settings
from tinyscene.training.session import train_network
from tinyscene.training.settings import StudentSettings

SMALL = ("base_channels=8", "batch_size=8", "threads=1", "evaluate_every=5", "epochs=5", "check_epoch=3")


def settings(*overrides: str) -> StudentSettings:
    return load_settings(StudentSettings, "student", None, [*SMALL, *overrides])


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "logs" / "metrics.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


class CrashIn(pl.Callback):
    """Ends a training without warning in the middle of `epoch` (from 1)."""

    class Crash(BaseException):
        """Not an Exception, so that nothing catches it."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.current_epoch + 1 == self.epoch and trainer.fit_loop.epoch_loop.batch_idx >= 1:
            raise self.Crash


def test_a_bad_start_ends_the_training_each_time(
    tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ("train", "student", "--data", tiny_folder, "--out", out, *SMALL, "check_accuracy=0.99", "lr=1e-5")
    ends = []
    for _ in range(2):
        assert tinyscene(*command) == 1
        ends.append(capsys.readouterr().err.strip().splitlines()[-1])
        # The epoch was evaluated although evaluate_every passes over it, and has no checkpoint to go on from.
        assert [row["epoch"] for row in rows(out) if row["evaluate_accuracy"]] == ["2"]
        assert not (out / "run.json").exists()
    reached = float(rows(out)[-1]["evaluate_accuracy"])
    assert f"accuracy on the evaluation side is {reached:.3f} after epoch 3, below the 0.990" in ends[0]
    assert ends[0] == ends[1]


def test_a_run_that_was_killed_is_checked_as_an_uninterrupted_one(
    tiny_data: TrainingData, tmp_path: Path, output: Output
) -> None:
    bad = settings("check_accuracy=0.99", "lr=1e-5")
    messages = []
    for crash in (None, 2, 3):
        out = tmp_path / f"bad{crash}"
        if crash is not None:
            with pytest.raises(CrashIn.Crash):
                train_network("student", bad, tiny_data, out, output, callbacks=[CrashIn(crash)])
        with pytest.raises(GateError) as caught:
            train_network("student", bad, tiny_data, out, output)
        messages.append(str(caught.value))
    assert len(set(messages)) == 1
    good = settings("check_accuracy=0")
    out = tmp_path / "good"
    with pytest.raises(CrashIn.Crash):
        train_network("student", good, tiny_data, out, output, callbacks=[CrashIn(4)])
    resumed = train_network("student", good, tiny_data, out, output)
    whole = train_network("student", good, tiny_data, tmp_path / "whole", output)
    assert resumed.files == whole.files
    # The check is one look: what comes after it is evaluated as often as asked.
    for run in (whole, resumed):
        assert [row["epoch"] for row in rows(run.path) if row["evaluate_accuracy"]] == ["2", "4"]
