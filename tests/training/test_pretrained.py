"""Published AudioSet weights: EfficientAT's answers for a real clip, files that do not fit, a training from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tinyscene.runtime.audio import read_mono
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend_spec import EFFICIENTAT
from tinyscene.training.features import LogMel
from tinyscene.training.models.build import build_model
from tinyscene.training.models.pretrained import read_published, read_with_head
from tinyscene.training.run import load_run

#: Places of four classes in AudioSet's list, with EfficientAT's probabilities for the clip.
TRAIN, RAIL_TRANSPORT, RAILROAD_CAR, SUBWAY = 329, 328, 332, 334
EXPECTED = {TRAIN: 0.726, RAIL_TRANSPORT: 0.577, RAILROAD_CAR: 0.559, SUBWAY: 0.493}


@pytest.fixture
def mn04(shared: Path) -> Path:
    """EfficientAT's `mn04_as`."""
    return shared / "weights" / "efficientat_mn04" / "mn04_as_mAP_432.pt"


def test_efficientat_hears_the_metro(shared: Path, mn04: Path) -> None:
    network = build_model("mn", {"width": 0.4}, 527)
    network.load_state_dict(read_with_head("mn", {"width": 0.4}, mn04))
    wave = read_mono(shared / "data" / "tau_clips" / "metro_station-paris.wav", 32_000)
    with torch.no_grad():
        probabilities = network.eval()(LogMel(EFFICIENTAT)(torch.from_numpy(wave)[None])).sigmoid()[0]
    assert probabilities.topk(4).indices.tolist() == list(EXPECTED)
    # The figures were computed with another resampler (from 44.1 kHz), and are rounded to a thousandth.
    assert probabilities[list(EXPECTED)].tolist() == pytest.approx(list(EXPECTED.values()), abs=0.003)


def test_only_the_head_is_left_out(mn04: Path) -> None:
    weights = read_published("mn", {"width": 0.4}, mn04)
    network = build_model("mn", {"width": 0.4}, 10)
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["head.weight", "head.bias"], [])


@pytest.mark.parametrize(
    ("arch", "arguments", "message"),
    [
        ("mn", {"width": 1.0}, r"does not fit mn with width 1\.0: set width=0\.4"),
        ("passt", {}, r"is not PaSST's passt_s_swa_p16_128_ap476: classifier\.2\.bias is unknown"),
        ("cpm", {}, "no published weights are known for cpm: init must be a run folder"),
    ],
)
def test_weights_of_another_network_are_refused(mn04: Path, arch: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_published(arch, arguments, mn04)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"not a checkpoint", "is not EfficientAT's"),
        ({"epoch": 3}, "expected a state_dict of tensors"),
        ({"classifier.5.bias": torch.zeros(527)}, r"it has no classifier\.2\.bias"),
        ({}, r"it has no classifier\.2\.bias"),
    ],
)
def test_files_that_are_something_else_are_refused(tmp_path: Path, contents: Any, message: str) -> None:
    file = tmp_path / "mn04.pt"
    if isinstance(contents, bytes):
        file.write_bytes(contents)
    else:
        torch.save(contents, file)
    with pytest.raises(InputError, match=message):
        read_published("mn", {"width": 0.4}, file)


def test_a_missing_file_is_named_before_any_audio_is_read(
    tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    common = ("--data", tiny_folder, "--out", tmp_path / "run")
    assert tinyscene("train", "teacher", "--arch", "passt", "--init", tmp_path / "passt.pt", *common) == 2
    error = capsys.readouterr().err
    assert "passt.pt does not exist: expected a trained run, or the file of PaSST's passt_s_swa_p16_128_ap476" in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_teacher_starts_from_audioset(
    mn04: Path, tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "run"
    settings = ("epochs=1", "batch_size=8", "threads=1", "lr=1e-6", "--json")
    arguments = ("--init", mn04, "--data", tiny_folder, "--out", out, *settings)
    assert tinyscene("train", "teacher", "--arch", "mn", *arguments) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["arch"] == "mn"
    run = load_run(out)
    published = read_published("mn", run.arguments, mn04)
    trained = run.weights()
    for name, tensor in published.items():
        if name.endswith("weight"):  # three steps of Adam move a weight by no more than the rate each
            torch.testing.assert_close(trained[name], tensor, rtol=0.0, atol=1e-5)
    assert run.provenance["init"]["file"] == mn04.name
