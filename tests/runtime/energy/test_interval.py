"""Student's t and the bootstrap against scipy and against the coverage they promise."""

from __future__ import annotations

import numpy as np
import pytest

from tinyscene.runtime.energy.interval import bootstrap, student_t_cdf, student_t_quantile


def mean(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., :1] / sums[..., 1:])


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 10, 29, 30, 101])
def test_students_t_is_that_of_scipy(degrees: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    for t in (-3.0, -0.4, 0.0, 0.7, 2.5, 12.0):
        assert student_t_cdf(t, degrees) == pytest.approx(stats.t.cdf(t, degrees), abs=1e-12)
    for p in (0.6, 0.975, 0.9995):
        assert student_t_quantile(p, degrees) == pytest.approx(stats.t.ppf(p, degrees), rel=1e-9)


def test_fewer_than_three_groups_have_no_interval() -> None:
    low, high = bootstrap(np.array([[1.0, 1], [2, 1]]), mean)
    assert np.isnan([*low, *high]).all()


def test_the_interval_is_the_same_again_and_a_constant_has_none() -> None:
    groups = np.stack([np.random.default_rng(1).normal(size=8), np.ones(8)], axis=1)
    assert bootstrap(groups, mean, seed=5) == bootstrap(groups, mean, seed=5)
    low, high = bootstrap(np.array([[2.0, 1.0]] * 5), mean)
    assert [*low, *high] == pytest.approx([2.0, 2.0], rel=1e-12)


@pytest.mark.parametrize("n", [3, 4, 5, 6, 8])
def test_coverage_of_the_mean_of_few_normal_groups(n: int) -> None:
    """500 seeded samples; at a true coverage of 93 to 96 %, 0.90 to 0.985 is more than two standard deviations out."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(500):
        groups = np.stack([random.normal(3, 1, n), np.ones(n)], axis=1)
        low, high = bootstrap(groups, mean)
        held += bool(low[0] <= 3 <= high[0])
    assert 0.90 <= held / 500 <= 0.985
