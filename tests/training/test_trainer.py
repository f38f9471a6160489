"""Trainings from the command line on a tiny corpus: they learn, survive kill -9, and refuse what they should."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from tinyscene.runtime.errors import GateError, InputError
from tinyscene.runtime.output import Output
from tinyscene.training.batches import TrainingData
from tinyscene.training.config import load_settings
from tinyscene.training.run import load_run
from tinyscene.training.session import train_network
from tinyscene.training.settings import StudentSettings

SMALL = ("base_channels=8", "batch_size=8", "threads=1", "lr=3e-3", "mixstyle_probability=0.5")


def settings(*overrides: str) -> StudentSettings:
    return load_settings(StudentSettings, "student", None, [*SMALL, *overrides])


def same_weights(first: Path, second: Path) -> bool:
    a, b = load_run(first).weights(), load_run(second).weights()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class StopBefore(pl.Callback):
    """Ends a training without warning, as a crash would, before `epoch`."""

    class Stop(BaseException):
        """Not an Exception, so that nothing catches it."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.current_epoch == self.epoch and trainer.fit_loop.epoch_loop.batch_idx >= 1:
            raise self.Stop


def test_killed_and_resumed_equals_uninterrupted(tiny_data: TrainingData, tmp_path: Path, output: Output) -> None:
    chosen = settings("epochs=4", "evaluate_every=2", "norm=frozen")
    whole = train_network("student", chosen, tiny_data, tmp_path / "whole", output)
    parts = tmp_path / "parts"
    for epoch in (1, 3):
        with pytest.raises(StopBefore.Stop):
            train_network("student", chosen, tiny_data, parts, output, callbacks=[StopBefore(epoch)])
        assert not (parts / "run.json").exists()
    resumed = train_network("student", chosen, tiny_data, parts, output)
    assert same_weights(whole.path, resumed.path)
    assert whole.metrics == resumed.metrics
    with (parts / "logs" / "metrics.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["epoch"] for row in rows if row["evaluate_accuracy"]] == ["1", "3"]
    # Another seed gives other weights: the comparison above is of something.
    other = train_network("student", settings("epochs=4", "seed=1"), tiny_data, tmp_path / "other", output)
    assert not same_weights(whole.path, other.path)


@pytest.mark.slow
def test_kill_9_and_the_same_command(tiny_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; from tinyscene.runtime.cli import main; sys.exit(main())"]
    command += ["train", "student", "--data", str(tiny_folder), *SMALL, "epochs=6", "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    killed = tmp_path / "killed"
    process = subprocess.Popen([*command, str(killed)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 3 of"):
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "run.json").exists()
    resumed = subprocess.run([*command, str(killed)], check=True, capture_output=True, text=True)
    assert "going on from" in resumed.stderr
    assert same_weights(tmp_path / "whole", killed)


@pytest.mark.slow
def test_a_student_learns_from_its_teacher(tiny_data: TrainingData, tmp_path: Path, output: Output) -> None:
    plain = ("epochs=30", "device_generalisation=none", "freq_mask=0", "evaluate_every=30", "lr=1e-2")
    teacher = train_network("teacher", settings(*plain), tiny_data, tmp_path / "teacher", output)
    assert teacher.metrics["accuracy"] > 0.8
    assert teacher.metrics["groups"].keys() == {"real", "seen", "unseen"}
    # Without any weight on the labels, all the student knows comes from the teacher's logits.
    distilled = settings(*plain, "distill_lambda=0", "seed=5")
    student = train_network("student", distilled, tiny_data, tmp_path / "student", output, [teacher])
    assert student.metrics["accuracy"] > 0.8
    assert student.provenance["teachers"][0]["weights_sha256"] == teacher.files["weights.safetensors"]
    online = settings("epochs=1", "teacher_logits=online")
    run = train_network("student", online, tiny_data, tmp_path / "online", output, [teacher])
    assert not (run.path / "teacher_logits.npy").exists()
    assert not [name for name in torch.load(run.path / "checkpoints/last.ckpt")["state_dict"] if "ensemble" in name]


def test_runs_are_not_mixed(
    tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    def train(out: Path, *overrides: str) -> int:
        return tinyscene("train", "student", "--data", tiny_folder, "--out", out, *SMALL, "epochs=1", *overrides)

    out = tmp_path / "run"
    assert train(out, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["schema"], record["kind"], record["metrics"]["n"]) == ("tinyscene.trained/1", "student", 12)
    before = (out / "run.json").read_bytes()
    assert train(out) == 0
    assert "finished already" in capsys.readouterr().err
    assert train(out, "lr=0.5", "norm=grn") == 2
    error = capsys.readouterr().err
    assert "lr: 0.003, now 0.5; norm: none, now grn" in error
    assert (out / "run.json").read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    assert train(tmp_path / "other") == 2
    assert "is not a training run" in capsys.readouterr().err
    assert list((tmp_path / "other").iterdir()) == [tmp_path / "other" / "letter.txt"]


def test_budget_is_checked_before_anything_is_written(
    tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "run"
    assert tinyscene("train", "student", "--data", tiny_folder, "--out", out, "base_channels=40") == 1
    error = capsys.readouterr().err
    assert "caching" not in error  # the gate needs no audio
    assert "heaviest layers: blocks." in error
    assert "cheapest fix: base_channels=32" in error
    assert len(error.strip().splitlines()) == 1
    assert not out.exists()


def test_a_loss_that_is_no_number_stops_the_training(tiny_data: TrainingData, tmp_path: Path, output: Output) -> None:
    class Poison(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 1:
                pl_module.model.head.bn.bias.data.fill_(float("nan"))

    with pytest.raises(GateError, match="loss became nan in epoch 2, step 1"):
        train_network("student", settings("epochs=3"), tiny_data, tmp_path / "run", output, callbacks=[Poison()])
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_damaged_checkpoint_is_named(tiny_data: TrainingData, tmp_path: Path, output: Output) -> None:
    out = tmp_path / "run"
    with pytest.raises(StopBefore.Stop):
        train_network("student", settings("epochs=3"), tiny_data, out, output, callbacks=[StopBefore(1)])
    checkpoint = out / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"last\.ckpt is damaged .* delete it"):
        train_network("student", settings("epochs=3"), tiny_data, out, output)


def test_ctrl_c_ends_with_130_and_a_way_on(
    tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    from tinyscene.training.module import SceneModule

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(SceneModule, "validation_step", interrupt)
    out = tmp_path / "run"
    assert tinyscene("train", "student", "--data", tiny_folder, "--out", out, *SMALL, "epochs=9") == 130
    assert "the same command goes on from" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is handler


def test_teacher_verb_and_a_moved_run(
    tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], tiny_data: TrainingData, output: Output
) -> None:
    command = ("train", "teacher", "--arch", "cpm", "--data", tiny_folder, *SMALL, "epochs=2")
    assert tinyscene(*command, "--out", tmp_path / "teacher") == 0
    run = load_run(tmp_path / "teacher")
    assert (run.kind, run.arch, run.arguments["base_channels"]) == ("teacher", "cpm", 8)
    assert run.provenance["settings"]["weight_decay"] == 1e-3  # the teacher's recipe
    (tmp_path / "teacher" / "run.json").unlink()
    moved = (tmp_path / "teacher").rename(tmp_path / "moved")
    assert tinyscene(*command, "--out", moved) == 0
    assert load_run(moved).files == run.files


def test_bad_arguments(
    tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "run"
    for arguments, message in (
        (("--data", tmp_path / "absent"), "no folder"),
        (("--data", tiny_folder, "--fold", 7), "no fold 7"),
        (("--data", tiny_folder, "--teacher", tmp_path / "absent"), "no run at"),
        (("--data", tiny_folder, "--config", tmp_path / "absent.yaml"), "cannot read the configuration"),
        (("--data", tiny_folder, "bas_channels=8"), "did you mean 'base_channels'"),
        (
            ("--data", tiny_folder, "device_generalisation=dir", "dir_folder=absent"),
            "no folder of impulse responses",
        ),
    ):
        assert tinyscene("train", "student", "--out", out, *arguments) == 2
        assert message in capsys.readouterr().err
