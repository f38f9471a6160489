"""Weights of ensembles: what holds for any, known answers, and which teachers may be weighed at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from memory_data import clip_named, memory_data
from numpy.typing import NDArray
from test_distill import make_teacher

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.output import Output
from tinyscene.training.batches import TrainingData
from tinyscene.training.ensemble import (
    check_ensemble,
    combine,
    ensemble_weights,
    learnt_weights,
    members,
    shared_holdout,
    uniform_weights,
    validation_weights,
)
from tinyscene.training.metrics import log_probabilities
from tinyscene.training.run import Run
from tinyscene.training.settings import StudentSettings

CPU = torch.device("cpu")
STRATEGIES = ("mean", "validation", "learnt")
finite = st.floats(-20, 20, width=32)


def weights_of(strategy: str, logits: NDArray[np.float32], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    if strategy == "mean":
        return uniform_weights(len(logits), logits.shape[2])
    return validation_weights(logits, truth) if strategy == "validation" else learnt_weights(logits, truth)


def cross_entropy(answers: NDArray[Any], truth: NDArray[np.int64]) -> float:
    return float(-log_probabilities(answers)[np.arange(len(truth)), truth].mean())


@st.composite
def answers(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    k, n, c = draw(st.integers(1, 4)), draw(st.integers(1, 12)), draw(st.integers(2, 4))
    logits = draw(arrays(np.float32, (k, n, c), elements=finite))
    return logits, draw(arrays(np.int64, n, elements=st.integers(0, c - 1)))


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None)
@given(case=answers())
def test_weights_are_shares_and_equal_members_say_what_one_says(
    strategy: str, case: tuple[NDArray[np.float32], NDArray[np.int64]]
) -> None:
    logits, truth = case
    weights = weights_of(strategy, logits, truth)
    assert weights.shape == (len(logits), logits.shape[2])
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=0), 1.0, rtol=1e-12)
    equal = combine([logits[0]] * len(logits), weights)
    np.testing.assert_allclose(log_probabilities(equal), log_probabilities(logits[0]), atol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None, derandomize=True)
@given(case=answers(), order=st.randoms())
def test_the_order_of_the_members_does_not_matter(
    strategy: str, case: tuple[NDArray[np.float32], NDArray[np.int64]], order: Any
) -> None:
    logits, truth = case
    permuted = list(range(len(logits)))
    order.shuffle(permuted)
    first = combine(list(logits), weights_of(strategy, logits, truth))
    second = combine(list(logits[permuted]), weights_of(strategy, logits[permuted], truth))
    # Sums in another order; where learnt weights have a flat optimum the search ends a little elsewhere.
    np.testing.assert_allclose(first, second, atol=1e-2 if strategy == "learnt" else 1e-5)


def test_the_mean_has_the_softened_probabilities_of_the_mean_logits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((3, 50, 10)).astype(np.float32) * 5
    together = combine(list(logits), uniform_weights(3, 10))
    for temperature in (1.0, 2.0, 5.0):
        np.testing.assert_allclose(
            log_probabilities(together / temperature), log_probabilities(logits.mean(axis=0) / temperature), atol=1e-5
        )


def test_validation_weights_by_hand() -> None:
    truth = np.zeros(98, dtype=np.int64)
    right, wrong = np.array([9.0, 0, 0, 0]), np.array([0, 0, 0, 9.0])
    # 89 and 49 right of 98: accuracies of 90 and 50 in 100 with one right and one wrong answer added.
    logits = np.stack([np.where(np.arange(98)[:, None] < good, right, wrong) for good in (89, 49)]).astype(np.float32)
    worth = np.log([0.9 / 0.1 * 3, 1.0 * 3])
    np.testing.assert_allclose(validation_weights(logits, truth)[:, 2], worth / worth.sum())
    # One that is right in a fifth of four scenes' snippets is worth nothing.
    useless = np.where(np.arange(98)[:, None] < 19, right, wrong).astype(np.float32)
    assert validation_weights(np.stack([logits[0], useless]), truth)[:, 0].tolist() == [1.0, 0.0]
    assert validation_weights(np.stack([useless, useless]), truth)[:, 0].tolist() == [0.5, 0.5]


def specialists(n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Member A hears scenes 0 and 1 well and guesses the others, member B the other way round."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, n)
    clue = 3.0 * np.eye(4)[truth]
    noise = rng.standard_normal((2, n, 4)) * 2
    known = np.array([[1, 1, 0, 0], [0, 0, 1, 1]])
    return (clue * known[:, None] + noise).astype(np.float32), truth


def test_learnt_weights_beat_equal_ones_where_members_are_specialists() -> None:
    weights = learnt_weights(*specialists(2000, 0))
    assert (weights[0, :2] > 0.6).all()
    assert (weights[1, 2:] > 0.6).all()
    fresh, truth = specialists(2000, 1)
    learnt, equal = combine(list(fresh), weights), combine(list(fresh), uniform_weights(2, 4))
    assert cross_entropy(learnt, truth) < cross_entropy(equal, truth) - 0.05
    assert (learnt.argmax(axis=1) == truth).mean() > (equal.argmax(axis=1) == truth).mean() + 0.02
    assert np.array_equal(weights, learnt_weights(*specialists(2000, 0)))


def test_learnt_weights_are_a_minimum_and_regularisation_pulls_them_together() -> None:
    logits, truth = specialists(400, 2)

    def cost(weights: NDArray[np.float64], pull: float) -> float:
        free = np.log(weights) - np.log(weights).mean(axis=0)  # of all that give these weights the one of least cost
        total = np.einsum("kc,knc->nc", weights, np.stack([log_probabilities(member) for member in logits]))
        return cross_entropy(total, truth) + pull * np.square(free).sum()

    best = learnt_weights(logits, truth, 0.01)
    rng = np.random.default_rng(0)
    for _ in range(50):
        other = best * np.exp(0.05 * rng.standard_normal(best.shape))
        assert cost(best, 0.01) <= cost(other / other.sum(axis=0), 0.01)
    apart = [np.abs(learnt_weights(logits, truth, pull) - 0.5).max() for pull in (0.0001, 0.01, 100.0)]
    assert apart[0] > apart[1] > apart[2]
    assert apart[2] < 0.01


SCENES = ("bus", "park", "tram")


def provenance_of(data: TrainingData, **changes: Any) -> dict[str, Any]:
    about = {"data": "corpus", "data_hash": data.cache.data_hash, "fold": 1, "split": None, "holdout": 0.25}
    return {**about, "init": None, **changes}


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    clips = [clip_named(f"{scene}{i}_0_3.wav", scene) for scene in SCENES for i in range(5)]
    return memory_data(clips, [3] * 15, tmp_path / "cache", train=[i for i in range(15) if i % 5 < 4])


def test_weights_come_from_recordings_that_no_teacher_was_trained_on(
    data: TrainingData, tmp_path: Path, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers = [make_teacher(tmp_path / str(i), "cpr", i, provenance=provenance_of(data)) for i in range(2)]
    asked: list[NDArray[np.int64]] = []
    aside = data.with_holdout(0.25).held_out
    assert len(aside) == 9
    truth = data.cache.label

    def answer(run: Run, data: TrainingData, indices: NDArray[np.int64], **_: Any) -> NDArray[np.float32]:
        asked.append(indices)
        logits = np.full((len(data.cache), 3), np.nan, dtype=np.float32)
        good = run.path.name == "0"
        logits[indices] = 5 * np.eye(3)[truth[indices] if good else (truth[indices] + 1) % 3]
        return logits

    monkeypatch.setattr("tinyscene.training.ensemble.teacher_logits", answer)
    for strategy in ("validation", "learnt"):
        weights = ensemble_weights(strategy, teachers, data, device=CPU, output=output)
        assert (weights[0] > 0.6).all()
    assert len(asked) == 4
    assert all(np.array_equal(indices, aside) for indices in asked)
    assert ensemble_weights("mean", teachers, data, device=CPU, output=output).tolist() == [[0.5] * 3] * 2
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"holdout": 0.0}, "was trained on all of them"),
        ({"holdout": 0.4}, r"was trained with another holdout \(0.4, expected 0.25\)"),
        ({"fold": 2}, r"was trained with another fold \(2, expected 1\)"),
        ({"data_hash": "f" * 64}, "was trained with another version of the recordings"),
        (
            {"init": {"data": "corpus", "data_hash": "0" * 64, "fold": 1, "split": None}},
            "1 started from was trained on",
        ),
        (
            {"init": {"data": "x", "data_hash": "e" * 64, "init": {"data": "corpus", "data_hash": "9" * 64}}},
            "1 started from was trained on all",
        ),
    ],
)
def test_teachers_that_cannot_be_weighed(
    data: TrainingData, tmp_path: Path, output: Output, changes: dict[str, Any], reason: str
) -> None:
    good = make_teacher(tmp_path / "0", "cpr", 0, provenance=provenance_of(data))
    bad = make_teacher(tmp_path / "1", "cpr", 1, provenance=provenance_of(data, **changes))
    with pytest.raises(InputError, match=reason + ".*holdout=0.1"):
        ensemble_weights("learnt", [good, bad], data, device=CPU, output=output)
    weighed = StudentSettings(ensemble="validation")
    with pytest.raises(InputError, match="ensemble is 'validation', whose weights come from recordings that no"):
        check_ensemble(weighed, [good, bad])  # before there is any audio
    check_ensemble(replace(weighed, ensemble_size=1), [bad, good])  # one alone needs no weighing
    assert (ensemble_weights("learnt", [bad], data, device=CPU, output=output) == 1.0).all()
    assert shared_holdout([good], data) == (0.25, None)


def test_a_start_on_another_corpus_is_no_leak(data: TrainingData, tmp_path: Path) -> None:
    start = {"data": "tau22", "data_hash": "e" * 64, "fold": 1, "split": None, "holdout": 0.0, "init": None}
    run = make_teacher(tmp_path / "0", "cpr", 0, provenance=provenance_of(data, init=start))
    assert shared_holdout([run, run], data) == (0.25, None)


def test_members(tmp_path: Path) -> None:
    runs = [make_teacher(tmp_path / str(i), "cpm", i) for i in range(3)]
    assert members(runs, StudentSettings()) == tuple(runs)
    assert members(runs, StudentSettings(ensemble_size=2)) == tuple(runs[:2])
    assert members([], StudentSettings(ensemble_size=2)) == ()
    with pytest.raises(InputError, match="ensemble_size is 4, but there are 3 teachers"):
        members(runs, StudentSettings(ensemble_size=4))
