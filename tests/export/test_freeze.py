"""Freezing a network's normalisation, and learning from a network's answers on recordings it has no labels for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tinyscene.export.clips import clips_of_data, log_mels
from tinyscene.export.lower import lower
from tinyscene.export.quantization.freeze import FreezeSettings, StatisticsSchedule, freeze_norm
from tinyscene.export.quantization.layer_fit import fit_layers
from tinyscene.runtime.cli import main
from tinyscene.training.batches import open_data
from tinyscene.training.metrics import agreement
from tinyscene.training.models.build import build_model
from tinyscene.training.models.norm import FrozenGRN, normalizer
from tinyscene.training.predict import predict
from tinyscene.training.run import load_run

TINY = ["epochs=2", "batch_size=8", "evaluate_every=2", "device=cpu", "threads=1"]


@pytest.fixture(scope="module")
def grn_student(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small student with global response normalisation whose gamma is far from zero."""
    out = tmp_path_factory.mktemp("freeze") / "grn"
    options = ["base_channels=8", "norm=grn", "epochs=6", "batch_size=8", "lr=0.01", "evaluate_every=6", "threads=1"]
    assert main(["train", "student", "--data", str(corpus), "--out", str(out), *options, "device=cpu"]) == 0
    return out


@pytest.fixture(scope="module")
def unlabelled(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus' recordings in one flat folder, under names that say nothing of their scenes."""
    folder = tmp_path_factory.mktemp("flat") / "recordings"
    folder.mkdir()
    for number, file in enumerate(sorted((corpus / "audio").iterdir())):
        shutil.copy(file, folder / f"recording{number}.wav")
    return folder


@pytest.fixture(scope="module")
def other_scenes(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus with one scene renamed to one that the network does not know."""
    folder = tmp_path_factory.mktemp("other") / "pulses"
    shutil.copytree(corpus, folder)
    for file in [folder / "meta.csv", *(folder / "evaluation_setup").iterdir()]:
        lines = [line.split("\t") for line in file.read_text().splitlines()]
        renamed = [["zoo" if cell == "park" else cell for cell in cells] for cells in lines]
        file.write_text("".join("\t".join(cells) + "\n" for cells in renamed))
    return folder


def test_the_normaliser_becomes_its_mean_over_the_clips(grn_student: Path) -> None:
    run = load_run(grn_student)
    clips = np.random.default_rng(0).standard_normal((5, 256, 64)).astype(np.float32)
    frozen, arguments = freeze_norm(run, clips, fitted=False)
    assert arguments == {**run.arguments, "norm": "frozen"}
    # By hand: the first block's GRN hears the second convolution's output through three layers and a sum.
    model = run.build()
    with torch.inference_mode():
        x = model.stem(torch.from_numpy(clips)[:, None])
        block = model.blocks[0]
        y = block.project(block.depthwise(block.expand(x))) + x
    expected = normalizer(y).mean(dim=(0, 2, 3))
    assert torch.allclose(frozen.blocks[0].norm.n, expected, atol=1e-5)
    # A gain that folds away leaves no op behind.
    kinds = {op.kind for op in lower(frozen, 256, 64).ops}
    assert not kinds & {"MUL", "RSQRT"}
    assert {"MUL", "RSQRT"} <= {op.kind for op in lower(model, 256, 64).ops}


def test_layers_are_fitted_to_the_sources(grn_student: Path, corpus: Path) -> None:
    """On clips that the fit has not seen, the frozen network's logits come closer to its source's."""
    run, data = load_run(grn_student), open_data(corpus, 1, None, None, None)
    clips = clips_of_data(data, run.frontend).log_mel
    unseen = torch.from_numpy(log_mels(data.cache.rows(data.evaluate), run.frontend))[:, None]
    with torch.inference_mode():
        exact = run.build()(unseen)
        errors = [(freeze_norm(run, clips, fitted)[0](unseen) - exact).square().mean() for fitted in (False, True)]
    assert errors[1] < 0.5 * errors[0]


def test_a_fit_changes_nothing_where_nothing_changed_form(grn_student: Path) -> None:
    """Without a gain (gamma 0) the frozen network is its source: least squares finds the weights it has."""
    run = load_run(grn_student)
    source = run.build()
    frozen = build_model(run.arch, {**run.arguments, "norm": "frozen"}, len(run.labels))
    with torch.no_grad():
        for block in source.blocks:
            block.norm.gamma.zero_()
    frozen.load_state_dict(source.state_dict(), strict=False)
    clips = np.random.default_rng(0).standard_normal((6, 256, 64)).astype(np.float32)
    fit_layers(frozen, source, clips)
    other = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 1, 256, 64)).astype(np.float32))
    with torch.inference_mode():
        assert torch.allclose(frozen(other), source(other), rtol=1e-3, atol=1e-3)


def test_train_freeze_on_unlabelled_recordings(
    tinyscene: Callable[..., int],
    grn_student: Path,
    unlabelled: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "frozen"
    assert tinyscene("train", "freeze", grn_student, "--data", unlabelled, "--out", out, *TINY, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["schema"] == "tinyscene.trained/1"
    assert record["arguments"]["norm"] == "frozen"
    metrics = record["metrics"]
    assert metrics["accuracy"] is None
    assert metrics["scored"] == metrics["n"] == 0
    source, run = load_run(grn_student), load_run(out)
    assert run.kind == "student"
    assert run.labels == source.labels
    data = open_data(unlabelled, 1, None, None, None, labelled=False)
    answers = [predict(each.build(), each.frontend, data.cache, data.evaluate) for each in (run, source)]
    assert metrics["agreement"] == agreement(*answers)
    # It is a student like any other: it quantises, from the same recordings, and the table is for people.
    assert (
        tinyscene("train", "qat", out, "--teacher", grn_student, "--data", unlabelled, "--out", tmp_path / "q", *TINY)
        == 0
    )
    tuned = load_run(tmp_path / "q")
    assert len(tuned.metrics["teacher_agreement"]) == 1
    assert 0 <= tuned.metrics["agreement"] <= 1
    assert "agreement" in capsys.readouterr().out


def test_shared_scenes_are_scored(
    tinyscene: Callable[..., int], student: Path, other_scenes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "qat"
    assert tinyscene("train", "qat", student, "--data", other_scenes, "--out", out, *TINY) == 0
    run = load_run(out)
    data = open_data(other_scenes, 1, None, None, None)
    assert data.labels == ("bus", "tram", "zoo")
    known = np.isin([data.labels[i] for i in data.cache.label[data.evaluate]], ["bus", "tram"])
    assert run.metrics["scored"] == known.sum() < len(known)
    assert set(run.metrics["per_scene"]) == {"bus", "tram"}
    assert np.array(run.metrics["confusion"]).shape == (3, 3)
    assert np.array(run.metrics["confusion"]).sum() == known.sum()


def test_named_as_a_networks_scenes(other_scenes: Path) -> None:
    data = open_data(other_scenes, 1, None, None, None)
    seen = data.named_as(("park", "tram", "bus"))
    names = np.array(["park", "tram", "bus", "?"])[seen.cache.label]  # -1 is the last
    expected = np.where(np.array(data.labels)[data.cache.label] == "zoo", "?", np.array(data.labels)[data.cache.label])
    assert (names == expected).all()
    assert seen.labels == ("park", "tram", "bus")
    assert seen.named_as(seen.labels) is seen


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["distill_lambda=0.1"], "the corpus has other scenes"),
        (["frozen_epochs=9"], "frozen_epochs is 9, expected 0 to 2"),
    ],
)
def test_what_cannot_be_frozen_is_refused(
    tinyscene: Callable[..., int],
    grn_student: Path,
    other_scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    command = ["train", "freeze", grn_student, "--data", other_scenes, "--out", tmp_path / "f", *TINY, *arguments]
    assert tinyscene(*command) == 2
    assert reason in capsys.readouterr().err


def test_a_student_without_grn_has_nothing_to_freeze(
    tinyscene: Callable[..., int], student: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tinyscene("train", "freeze", student, "--data", corpus, "--out", tmp_path / "f", *TINY) == 2
    assert "only a network with norm 'grn' can be frozen" in capsys.readouterr().err


def test_statistics_stand_still_in_the_last_epochs() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), FrozenGRN(3), nn.Dropout())
    trainer = type("Trainer", (), {"max_epochs": 5, "current_epoch": 0})()
    schedule = StatisticsSchedule(frozen_epochs=2)
    modes = []
    for epoch in range(5):
        net.train()
        trainer.current_epoch = epoch
        schedule.on_train_epoch_start(trainer, net)  # type: ignore[arg-type]
        modes.append([module.training for module in net])
    assert modes == [[True, True, True]] * 3 + [[False, False, True]] * 2


def test_phases_follow_the_epochs() -> None:
    settings = FreezeSettings(epochs=10).resolve()
    assert settings.distill_lambda == 0
    assert settings.frozen_epochs is not None
    assert 0 < settings.frozen_epochs <= 10
