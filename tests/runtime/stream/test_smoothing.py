"""Softmax, averages and hysteresis against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.stream.smoothing import ExponentialAverage, Hysteresis, MovingAverage, Thresholds, softmax

LOGITS = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=10)
SERIES = st.lists(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3), min_size=1, max_size=30)


def normalised(series: list[list[float]]) -> NDArray[np.float64]:
    array = np.array(series)
    return array / array.sum(axis=1, keepdims=True)


@given(LOGITS)
def test_softmax_is_a_distribution_in_the_order_of_the_logits(logits: list[float]) -> None:
    probabilities = softmax(np.array(logits, np.float32))
    assert math.isclose(probabilities.sum(), 1.0, rel_tol=1e-12)
    order = np.argsort(logits, kind="stable")
    assert (np.diff(probabilities[order]) >= 0).all()


def test_softmax_of_known_odds() -> None:
    np.testing.assert_allclose(softmax(np.log([1.0, 2.0, 5.0]).astype(np.float32)), [0.125, 0.25, 0.625], rtol=1e-6)
    assert softmax(np.array([1e4, 0.0], np.float32)).tolist() == [1.0, 0.0]  # no overflow


@given(SERIES, st.floats(0.1, 10.0))
def test_exponential_average_is_the_weighted_mean(series: list[list[float]], time_constant_s: float) -> None:
    values, step_s = normalised(series), 0.25
    average = ExponentialAverage(time_constant_s, step_s)
    for k in range(len(values)):
        weights = np.exp(-step_s * np.arange(k, -1, -1) / time_constant_s)
        np.testing.assert_allclose(average.update(values[k]), weights @ values[: k + 1] / weights.sum(), rtol=1e-9)


@given(SERIES, st.integers(1, 40))
def test_moving_average_is_the_mean_of_the_last(series: list[list[float]], length: int) -> None:
    values, step_s = normalised(series), 0.25
    average = MovingAverage(length * step_s, step_s)
    for k in range(len(values)):
        expected = values[max(0, k + 1 - length) : k + 1].mean(axis=0)
        np.testing.assert_allclose(average.update(values[k]), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", [ExponentialAverage, MovingAverage])
def test_no_smoothing_gives_the_latest(kind: type[ExponentialAverage] | type[MovingAverage]) -> None:
    average = kind(0.0, 0.25)
    for value in ([1.0, 0.0], [0.25, 0.75], [0.0, 1.0]):
        assert average.update(np.array(value)).tolist() == value


@pytest.mark.parametrize("length_s", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("kind", [ExponentialAverage, MovingAverage])
def test_impossible_lengths_are_refused(kind: type[ExponentialAverage] | type[MovingAverage], length_s: float) -> None:
    with pytest.raises(InputError, match="smoothing over"):
        kind(length_s, 0.25)


@given(st.integers(0, 40))
def test_an_average_forgets_while_nothing_is_known(steps: int) -> None:
    """As if as many windows had passed that count for nothing."""
    first, second = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    average = ExponentialAverage(2.0, 0.25)
    average.update(first)
    average.skip(steps)
    weights = np.array([np.exp(-0.25 / 2.0) ** (steps + 1), 1.0])
    np.testing.assert_allclose(average.update(second), weights / weights.sum(), rtol=1e-9)
    moving = MovingAverage(2.0, 0.25)
    moving.update(first)
    moving.skip(steps)
    expected = [0.5, 0.5] if steps < 7 else [0.0, 1.0]
    np.testing.assert_allclose(moving.update(second), expected)


@pytest.mark.parametrize("kind", [ExponentialAverage, MovingAverage])
def test_after_a_day_of_nothing_an_average_begins_anew(kind: type[ExponentialAverage] | type[MovingAverage]) -> None:
    average = kind(2.0, 0.25)
    average.skip(3)  # nothing was known yet
    average.update(np.array([1.0, 0.0]))
    for _ in range(3):
        average.skip(4 * 86_400)
    assert average.update(np.array([0.25, 0.75])).tolist() == [0.25, 0.75]


def test_another_length_holds_from_the_next_vector_on() -> None:
    one, other = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    moving = MovingAverage(1.0, 0.25)
    for vector in (other, one, one, one):
        moving.update(vector)
    moving.retime(0.5)
    assert moving.update(other).tolist() == [0.5, 0.5]
    moving.retime(1.0)  # what has fallen out does not come back
    assert moving.update(other) == pytest.approx(np.array([1 / 3, 2 / 3]))
    average = ExponentialAverage(2.0, 0.25)
    average.update(one)
    average.retime(0.0)
    assert average.update(other).tolist() == [0.0, 1.0]
    average.retime(1.0)
    keep = np.exp(-0.25)
    assert average.update(one) == pytest.approx(np.array([1 - keep, keep]))
    with pytest.raises(InputError, match="smoothing over"):
        average.retime(-1.0)


def test_hysteresis_through_a_change_of_scene() -> None:
    hysteresis = Hysteresis(Thresholds(enter=0.6, leave=0.4))
    story = [
        ([0.5, 0.5], None, "unsure"),  # nothing reaches `enter` yet
        ([0.6, 0.4], 0, "entered"),
        ([0.45, 0.55], 0, "held"),  # the other is likelier, but not certain
        ([0.41, 0.59], 0, "held"),
        ([0.40, 0.60], 1, "entered"),  # now it is
        ([0.55, 0.45], 1, "held"),
        ([0.61, 0.39], 0, "entered"),
    ]
    for probabilities, scene, state in story:
        assert (hysteresis.update(np.array(probabilities)), hysteresis.scene) == (state, scene)


def test_a_scene_under_leave_is_given_up_for_nothing_better() -> None:
    hysteresis = Hysteresis(Thresholds(enter=0.5, leave=0.35))
    assert hysteresis.update(np.array([0.6, 0.2, 0.2])) == "entered"
    assert hysteresis.update(np.array([0.34, 0.33, 0.33])) == "unsure"
    assert hysteresis.update(np.array([0.45, 0.35, 0.2])) == "unsure"  # above leave is not enough to come back
    assert hysteresis.scene is None


@given(SERIES, st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_hysteresis_keeps_its_promises(series: list[list[float]], one: float, other: float) -> None:
    thresholds = Thresholds(enter=max(one, other), leave=min(one, other))
    hysteresis = Hysteresis(thresholds)
    for probabilities in normalised(series):
        before = hysteresis.scene
        state = hysteresis.update(probabilities)
        scene = hysteresis.scene
        if scene is None:
            assert state == "unsure"
            assert probabilities.max() < thresholds.enter
        elif scene == before:
            assert state == "held"
            assert probabilities[scene] >= thresholds.leave
        else:
            assert state == "entered"
            assert scene == probabilities.argmax()
            assert probabilities[scene] >= thresholds.enter


@pytest.mark.parametrize(("enter", "leave"), [(0.3, 0.4), (0.5, 0.0), (1.1, 0.5), (math.nan, 0.5)])
def test_impossible_thresholds_are_refused(enter: float, leave: float) -> None:
    with pytest.raises(InputError, match="0 < leave <= enter <= 1"):
        Thresholds(enter, leave)
