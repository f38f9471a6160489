"""Bootstrap intervals against known answers: formulas, degenerate cases, and how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyscene.training.experiments import intervals
from tinyscene.training.experiments.intervals import Tally, interval, replicates, tally

Right = NDArray[np.bool_]


def clustered(rng: np.random.Generator, recordings: int, snippets: int, seeds: int = 1) -> tuple[Right, NDArray]:
    """Answers (seeds, n) whose share of right ones is a recording's own, from Beta(1.4, 0.6): 0.7 on the average."""
    chance = np.repeat(rng.beta(1.4, 0.6, recordings), snippets)
    return rng.random((seeds, len(chance))) < chance, np.repeat(np.arange(recordings), snippets)


def test_accuracies_are_the_plain_means() -> None:
    rng = np.random.default_rng(1)
    right, recording = rng.random((3, 200)) < 0.6, rng.integers(0, 17, 200)
    group = rng.integers(0, 4, 200)
    assert tally(right, recording, 17).value() == pytest.approx(right.mean())
    assert tally(right, recording, 17).by_seed() == pytest.approx(right.mean(axis=1))
    macro = [[row[group == i].mean() for i in range(4)] for row in right]
    assert tally(right, recording, 17, group).by_seed() == pytest.approx(np.mean(macro, axis=1))


def test_nothing_to_doubt_gives_no_width() -> None:
    recording = np.repeat(np.arange(9), 5)
    assert interval(replicates([tally(np.ones((2, 45), bool), recording, 9)])[0]) == (1.0, 1.0)
    assert interval(replicates([tally(np.zeros((2, 45), bool), recording, 9)])[0]) == (0.0, 0.0)
    one = replicates([tally(np.arange(45)[None] % 2 == 0, np.zeros(45, int), 1)])[0]
    assert interval(one) == pytest.approx((23 / 45, 23 / 45))  # a single recording: the same in every draw


def test_spread_is_that_of_the_recordings() -> None:
    rng = np.random.default_rng(2)
    right, recording = clustered(rng, 80, 10)
    means = right[0].reshape(80, 10).mean(axis=1)
    # The bootstrap's own standard error of a mean of equal clusters; 10,000 draws know a deviation to 0.7 %.
    expected = means.std() / np.sqrt(80)
    drawn = replicates([tally(right, recording, 80)])[0]
    assert drawn.std() == pytest.approx(expected, rel=0.03)
    assert drawn.mean() == pytest.approx(means.mean(), abs=4 * expected / 100)
    # Snippets taken for independent would claim less than half of that.
    independent = np.sqrt(right.mean() * (1 - right.mean()) / right.size)
    assert drawn.std() > 1.5 * independent


def test_seeds_are_drawn_too() -> None:
    # Every recording is answered alike, seeds differ: all spread is theirs. Each seed counts 0 to 3 times of 3.
    right = np.repeat([[False], [True], [True]], 40, axis=1)
    drawn = replicates([tally(right, np.arange(40) // 4, 10)])[0]
    shares, counts = np.unique(np.round(drawn * 3).astype(int), return_counts=True)
    assert shares.tolist() == [0, 1, 2, 3]
    binomial = [1 / 27, 6 / 27, 12 / 27, 8 / 27]
    assert counts / len(drawn) == pytest.approx(binomial, abs=0.02)  # four deviations of 10,000 draws


def test_models_are_compared_on_the_same_draws() -> None:
    rng = np.random.default_rng(3)
    right, recording = clustered(rng, 40, 10, seeds=2)
    better = right | (rng.random(right.shape) < 0.3)
    first, again, other = replicates([tally(entry, recording, 40) for entry in (right, right, better)])
    assert np.array_equal(first, again)
    assert np.all(other >= first)  # it is right wherever the first one is
    low, high = interval(other - first)
    assert 0 < low < high
    unpaired = rng.permutation(other) - first
    assert (other - first).std() < 0.5 * unpaired.std()


def test_draws_depend_on_nothing_but_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    right, recording = clustered(np.random.default_rng(4), 30, 4, seeds=3)
    entry = tally(right, recording, 30)
    whole = replicates([entry], n=500)
    assert np.array_equal(whole, replicates([entry], n=500))
    assert not np.array_equal(whole, replicates([entry], n=500, seed=1))
    monkeypatch.setattr(intervals, "_CHUNK_WEIGHTS", 30 * 7)
    assert np.array_equal(whole, replicates([entry], n=500))


def test_groups_that_a_draw_lacks_are_left_out() -> None:
    # Two scenes in two recordings: a draw has both, or one of them twice.
    hits = np.array([[[1.0, 0.0], [0.0, 3.0]]])
    counts = np.array([[2.0, 0.0], [0.0, 4.0]])
    drawn = replicates([Tally(hits, counts)])[0]
    assert set(drawn) == {0.5, 0.75, (0.5 + 0.75) / 2}
    # Nothing at all in a draw: no number, and the interval is of the others.
    sparse = Tally(np.array([[[1.0], [0.0]]]), np.array([[2.0], [0.0]]))
    drawn = replicates([sparse])[0]
    assert np.isnan(drawn).mean() == pytest.approx(0.25, abs=0.02)
    assert interval(drawn) == (0.5, 0.5)


@pytest.mark.parametrize("snippets", [1, 10])
def test_intervals_hold_the_truth_as_often_as_they_say(snippets: int) -> None:
    rng = np.random.default_rng(5 + snippets)
    trials = 600
    held = 0
    for _ in range(trials):
        right, recording = clustered(rng, 60, snippets)
        low, high = interval(replicates([tally(right, recording, 60)], n=800)[0])
        held += low <= 0.7 <= high
    # 600 trials know a share of .95 to .009; percentile intervals of 60 recordings fall short by about a hundredth.
    assert 0.91 < held / trials < 0.98


def test_paired_differences_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(9)
    trials = 400
    held = 0
    for _ in range(trials):
        right, recording = clustered(rng, 60, 5)
        gained = right | (rng.random(right.shape) < 0.2)  # of the .3 that were wrong: .06
        first, second = replicates([tally(right, recording, 60), tally(gained, recording, 60)], n=800)
        low, high = interval(second - first)
        held += low <= 0.06 <= high
    assert 0.91 < held / trials < 0.98
