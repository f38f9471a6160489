"""The learning rate's course at points computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tinyscene.training.schedule import learning_rate_factor
from tinyscene.training.settings import TrainSettings


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, math.exp(-5 * (1 - 0.5 / 14) ** 2)),  # never less than half an epoch
        (7, math.exp(-1.25)),
        (13, math.exp(-5 / 196)),
        (14, 1.0),
        (50, 1.0),
        (92, 1 - 0.995 / 2),  # half way down
        (133, 1 - 0.995 * 83 / 84),
        (134, 0.005),
        (149, 0.005),
    ],
)
def test_published_student(epoch: int, expected: float) -> None:
    assert learning_rate_factor(epoch, TrainSettings().resolve()) == pytest.approx(expected)


def test_no_warm_up_and_no_fall() -> None:
    settings = TrainSettings(warmup_epochs=0, rampdown_start=5, rampdown_epochs=0, final_factor=0.1)
    assert [learning_rate_factor(epoch, settings) for epoch in (0, 5, 6)] == [1.0, 1.0, 0.1]


def test_cosine_is_torch_s_after_the_warm_up() -> None:
    settings = TrainSettings(epochs=24, schedule="cosine", warmup_epochs=4, final_factor=0.02).resolve()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.02)
    for epoch in range(4, 24):
        assert learning_rate_factor(epoch, settings) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()
    assert learning_rate_factor(14, settings) == pytest.approx(0.51)  # half way: the mean of 1 and 0.02
    assert learning_rate_factor(2, settings) == pytest.approx(math.exp(-1.25))


def test_constant_stays_after_the_warm_up() -> None:
    settings = TrainSettings(epochs=24, schedule="constant", warmup_epochs=4).resolve()
    factors = [learning_rate_factor(epoch, settings) for epoch in range(24)]
    assert factors[:3] == pytest.approx([math.exp(-5 * 0.875**2), math.exp(-5 * 0.75**2), math.exp(-1.25)])
    assert factors[4:] == [1.0] * 20
