"""The distillation loss by its formula, and the two ways to teachers' logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

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


def make_teacher(folder: Path, arch: str, seed: int, labels: tuple[str, ...] = ("bus", "park", "tram")) -> Run:
    torch.manual_seed(seed)
    model = build_model(arch, {"base_channels": 8}, len(labels))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)  # a fresh CP-ResNet says nothing
    return save_run(
        folder,
        kind="teacher",
        arch=arch,
        arguments={"base_channels": 8},
        labels=labels,
        frontend=frontend_for(arch),
        weights=model.state_dict(),
        metrics={},
        provenance={},
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
        np.testing.assert_allclose(ensemble(wave).log_softmax(dim=1).numpy(), torch.from_numpy(logits.copy()).log_softmax(dim=1).numpy(), atol=1e-4)


def test_precomputed_logits_are_kept_until_something_changes(
    tiny_data: TrainingData, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    teacher = make_teacher(tmp_path / "a", "cpm", 1)
    out, output = tmp_path / "out", Output()

    def compute(*teachers: Run, data: TrainingData = tiny_data) -> tuple[np.ndarray, bool]:
        logits = precompute_logits(teachers, data, SETTINGS, out, CPU, output)
        return np.array(logits), "logits of" in capsys.readouterr().err

    first, worked = compute(teacher)
    assert worked
    again, worked = compute(teacher)
    assert not worked
    assert np.array_equal(first, again)
    _, worked = compute(make_teacher(tmp_path / "b", "cpm", 2))
    assert worked
    other_fold = replace(tiny_data, fold=replace(tiny_data.fold, train=tiny_data.fold.train[:-1]))
    shorter, worked = compute(teacher, data=other_fold)
    assert worked
    assert len(shorter) == 23
    file = out / "teacher_logits.npy"
    file.write_bytes(file.read_bytes()[:-3])
    _, worked = compute(teacher, data=other_fold)
    assert worked


def test_teachers_of_other_scenes_are_refused(tmp_path: Path) -> None:
    other = make_teacher(tmp_path / "a", "cpm", 1, labels=("bus", "park", "train"))
    swapped = make_teacher(tmp_path / "b", "cpm", 1, labels=("park", "bus", "tram"))
    with pytest.raises(InputError, match=r"other scenes than the corpus \(train, tram differ\)"):
        check_teachers([other], ("bus", "park", "tram"))
    with pytest.raises(InputError, match="their order differ"):
        check_teachers([swapped], ("bus", "park", "tram"))
