"""The distillation loss by its formula, and the two ways to teachers' logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.output import Output
from tinyscene.training.batches import INT16_SCALE, TrainingData
from tinyscene.training.distill import TeacherEnsemble, check_teachers, distillation_loss, precompute_logits
from tinyscene.training.models.build import build_model, frontend_for
from tinyscene.training.run import Run, save_run
from tinyscene.training.settings import StudentSettings

CPU = torch.device("cpu")
SETTINGS = StudentSettings().resolve()


def make_teacher(
    folder: Path,
    arch: str,
    seed: int,
    labels: tuple[str, ...] = ("bus", "park", "tram"),
    arguments: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Run:
    """An untrained network as a finished run."""
    torch.manual_seed(seed)
    arguments = {"base_channels": 8} if arguments is None else arguments
    model = build_model(arch, arguments, len(labels))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)  # a fresh CP-ResNet says nothing
    return save_run(
        folder,
        kind="teacher",
        arch=arch,
        arguments=arguments,
        labels=labels,
        frontend=frontend_for(arch),
        weights=model.state_dict(),
        metrics={},
        provenance=provenance or {},
    )


def test_loss_is_the_recipe_s_formula() -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.standard_normal((2, 7, 4)) * 3
    temperature = 2.0

    def soft(logits: np.ndarray) -> np.ndarray:
        powers = np.exp(logits / temperature)
        return powers / powers.sum(axis=1, keepdims=True)

    p, q = soft(teacher), soft(student)
    expected = temperature**2 * np.mean(p * (np.log(p) - np.log(q)), axis=1)
    found = distillation_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    assert distillation_loss(torch.from_numpy(teacher), torch.from_numpy(teacher), temperature).eq(0).all()


def test_gradient_pulls_towards_the_teacher() -> None:
    student = torch.zeros(1, 3, requires_grad=True)
    distillation_loss(student, torch.tensor([[2.0, 0.0, -2.0]]), 2.0).sum().backward()
    assert student.grad is not None
    # d loss / d student = T^2 / (n T) * (q - p), by hand.
    p = torch.softmax(torch.tensor([1.0, 0.0, -1.0]), dim=0)
    torch.testing.assert_close(student.grad[0], 4 / (3 * 2) * (torch.full((3,), 1 / 3) - p))


def test_precomputed_logits_are_those_of_the_ensemble(tiny_data: TrainingData, tmp_path: Path, output: Output) -> None:
    teachers = [make_teacher(tmp_path / "a", "cpr", 1), make_teacher(tmp_path / "b", "cpm", 2)]
    logits = precompute_logits(teachers, tiny_data, SETTINGS, tmp_path / "out", CPU, output)
    assert logits.shape == (24, 3)
    assert np.ptp(logits, axis=0).min() > 1e-3  # they depend on the clip
    wave = torch.from_numpy(tiny_data.cache.waves[tiny_data.train]).float() * INT16_SCALE
    ensemble = TeacherEnsemble(teachers)
    ensemble.train()  # as Lightning asks of everything it holds
    with torch.no_grad():
        # Logits say the same when a constant is added to a row: as log-probabilities there is none to add.
        np.testing.assert_allclose(
            ensemble(wave).log_softmax(dim=1).numpy(),
            torch.from_numpy(logits.copy()).log_softmax(dim=1).numpy(),
            atol=1e-4,
        )


def test_targets_are_kept_until_something_changes(tiny_data: TrainingData, tmp_path: Path, output: Output) -> None:
    teachers = [make_teacher(tmp_path / str(seed), "cpm", 10 + seed) for seed in range(3)]
    file = tmp_path / "out" / "teacher_logits.npy"

    def compute(*teachers: Run, data: TrainingData = tiny_data, **settings: Any) -> tuple[np.ndarray, bool]:
        before = file.stat().st_ino if file.exists() else None  # a written file is always a new one
        chosen = replace(SETTINGS, **settings)
        logits = precompute_logits(teachers, data, chosen, tmp_path / "out", CPU, output)
        return np.array(logits), file.stat().st_ino != before

    first, written = compute(teachers[0])
    assert written
    again, written = compute(teachers[0])
    assert not written
    assert np.array_equal(first, again)
    both, written = compute(*teachers[:2])
    assert written
    assert not np.array_equal(both, first)
    _, written = compute(*teachers, ensemble_size=2)  # the first two of three are the same two
    assert not written
    other_fold = replace(tiny_data, fold=replace(tiny_data.fold, train=tiny_data.fold.train[:-1]))
    shorter, written = compute(*teachers[:2], data=other_fold)
    assert written
    assert np.array_equal(shorter, both[:-1])
    file.write_bytes(file.read_bytes()[:-3])
    repaired, written = compute(*teachers[:2], data=other_fold)
    assert written
    assert np.array_equal(repaired, shorter)
    with pytest.raises(InputError, match="ensemble_size is 4, but there are 3 teachers"):
        compute(*teachers, ensemble_size=4)


def test_teachers_of_other_scenes_are_refused(tmp_path: Path) -> None:
    other = make_teacher(tmp_path / "a", "cpm", 1, labels=("bus", "park", "train"))
    swapped = make_teacher(tmp_path / "b", "cpm", 1, labels=("park", "bus", "tram"))
    with pytest.raises(InputError, match=r"other scenes than the corpus \(train, tram differ\)"):
        check_teachers([other], ("bus", "park", "tram"))
    with pytest.raises(InputError, match="their order differ"):
        check_teachers([swapped], ("bus", "park", "tram"))
