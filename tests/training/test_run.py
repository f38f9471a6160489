"""Run folders: what is written is what is read, and nothing that was changed is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend_spec import STUDENT
from tinyscene.training.models.build import build_model
from tinyscene.training.models.sizes import DEFAULTS
from tinyscene.training.run import Run, load_run, save_run

ARGUMENTS = {"base_channels": 8, "norm": "frozen", "padding": "same"}


@pytest.fixture
def saved(tmp_path: Path) -> Run:
    torch.manual_seed(0)
    model = build_model("cpm", ARGUMENTS, 3).to(memory_format=torch.channels_last)
    model(torch.randn(4, 1, 256, 64))  # running statistics that are not the initial ones
    return save_run(
        tmp_path / "run",
        kind="student",
        arch="cpm",
        arguments=ARGUMENTS,
        labels=("bus", "park", "tram"),
        frontend=STUDENT,
        weights=model.state_dict(),
        metrics={"accuracy": np.float64(0.5), "confusion": np.eye(2, dtype=np.int64)},
        provenance={"seed": 0},
        config={"lr": 0.1},
        files={"notes.txt": b"hello"},
    )


def test_round_trip(saved: Run) -> None:
    run = load_run(saved.path)
    assert (run.kind, run.arch, run.frontend) == ("student", "cpm", STUDENT)
    assert run.arguments == {**DEFAULTS["cpm"], **ARGUMENTS}  # those left out too: a default may change
    assert run.labels == ("bus", "park", "tram")
    assert run.metrics == {"accuracy": 0.5, "confusion": [[1, 0], [0, 1]]}
    assert run.file("notes.txt").read_bytes() == b"hello"
    model = run.build()
    assert not model.training
    torch.manual_seed(0)
    original = build_model("cpm", ARGUMENTS, 3).to(memory_format=torch.channels_last)
    original(torch.randn(4, 1, 256, 64))
    x = torch.randn(2, 1, 256, 64)
    assert torch.allclose(model(x), original.eval()(x), atol=1e-5)
    assert (saved.path / "config.yaml").read_text() == "lr: 0.1\n"


def edit(path: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema="other/1"), "schema is 'other/1'"),
        (lambda m: m.pop("labels"), "'labels' is missing"),
        (lambda m: m.update(labels=["a", "a", "b"]), "different names"),
        (lambda m: m.update(kind="else"), "kind is 'else'"),
        (lambda m: m["frontend"].update(hop_length=400), "does not match its hash"),
        (lambda m: m["files"].update({"../x": "0"}), "bad file name"),
        (lambda m: m["files"].update({"gone.bin": "0"}), "lacks gone.bin"),
        (lambda m: m["files"].pop("weights.safetensors"), "does not list weights.safetensors"),
    ],
)
def test_changed_manifests_are_refused(saved: Run, change: Callable[[dict], object], message: str) -> None:
    edit(saved.path / "run.json", change)
    with pytest.raises(InputError, match=message):
        load_run(saved.path)


def test_one_changed_byte_of_the_weights_is_refused(saved: Run) -> None:
    file = saved.path / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"weights\.safetensors was changed or damaged"):
        load_run(saved.path)


def test_weights_of_another_network_are_refused(saved: Run) -> None:
    edit(saved.path / "run.json", lambda m: m["arguments"].update(base_channels=16))
    with pytest.raises(InputError, match="does not fit cpm"):
        load_run(saved.path).build()


def test_places_without_a_run(tmp_path: Path, saved: Run) -> None:
    with pytest.raises(InputError, match="no run at"):
        load_run(tmp_path / "absent")
    (saved.path / "run.json").unlink()
    with pytest.raises(InputError, match=r"not a finished run .* same command"):
        load_run(saved.path)
    (saved.path / "run.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        load_run(saved.path)
    with pytest.raises(InputError, match=r"has no model\.tflite"):
        saved.file("model.tflite")
