"""The learning rate's course at points computed by hand."""

from __future__ import annotations

import math

import pytest

from tinyscene.training.schedule import learning_rate_factor


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
    assert learning_rate_factor(epoch, 14, 50, 84, 0.005) == pytest.approx(expected)


def test_no_warm_up_and_no_fall() -> None:
    assert [learning_rate_factor(epoch, 0, 5, 0, 0.1) for epoch in (0, 5, 6)] == [1.0, 1.0, 0.1]
