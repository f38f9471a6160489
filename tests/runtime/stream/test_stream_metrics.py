"""Stream metrics on sequences whose answers are worked out by hand, and the sweep against the real smoothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.stream.metrics import UNSURE, Truth, follow
from tinyscene.runtime.stream.smoothing import ExponentialAverage, Hysteresis, Thresholds
from tinyscene.runtime.stream.sweep import averages, decided

#: Scene 0 for 4 s, scene 1 for 4 s, scene 0 again for 2 s; decisions at 0.5, 1.5 ... 9.5 s.
TRUTH = Truth((0.0, 4.0, 8.0), (0, 1, 0), 10.0)
TIMES = np.arange(10) + 0.5


def score(shown: str, truth: Truth = TRUTH):  # type: ignore[no-untyped-def]
    """The score of `shown`, a letter a decision, "-" for unsure."""
    values = np.array([UNSURE if letter == "-" else int(letter) for letter in shown])
    return follow(np.arange(len(values)) + 0.5, values, truth).score()


@pytest.mark.parametrize(
    ("shown", "flickers"),
    [
        ("0000111100", 0),
        ("-0000-1110", 0),  # to unsure and to the scene: both explained, as is being late
        ("0000-11110", 0),
        ("----------", 0),  # nothing ever shown
        ("0000000000", 0),  # nothing ever changes
        ("0000-----0", 0),
        ("0-00111100", 2),  # away and back
        ("0000121100", 2),
        ("0000211100", 1),  # through a wrong scene
        ("000-111100", 1),  # left before anything changed
        ("0000-2-100", 2),  # to unsure once is explained, to 2 and to unsure again are not
        ("1111000011", 3),  # wrong at first, and away from what was already there
        ("2000111100", 1),  # wrong at the very start
        ("0000111111", 0),  # the last change missed
    ],
)
def test_flicker_is_what_no_true_change_explains(shown: str, flickers: int) -> None:
    result = score(shown)
    assert result.flickers == flickers
    assert result.flicker_per_hour == pytest.approx(flickers * 360.0)  # of ten seconds


def test_shares_and_delays_by_hand() -> None:
    result = score("-000021-00")
    # right at 1.5, 2.5, 3.5 (0), 6.5 (1), 8.5, 9.5 (0); unsure at 0.5 and 7.5; wrong at 4.5 (0) and 5.5 (2)
    assert result.accuracy == pytest.approx(0.6)
    assert result.unsure == pytest.approx(0.2)
    assert result.wrong == pytest.approx(0.2)
    assert (result.changes, result.missed) == (2, 0.0)
    assert (result.delay_median_s, result.delay_p90_s) == (0.5, 2.5)  # 6.5 - 4 and 8.5 - 8


def test_a_change_that_was_missed_is_longer_than_any() -> None:
    result = score("0000000000")
    assert (result.changes, result.missed) == (2, 0.5)
    assert result.delay_median_s == 0.5  # back to 0, which was shown all the time
    assert result.delay_p90_s == math.inf


def test_a_decision_at_the_very_change_belongs_to_what_comes() -> None:
    truth = Truth((0.0, 1.0), (0, 1), 2.0)
    result = follow(np.array([1.0, 2.0]), np.array([1, 1]), truth).score()
    assert (result.accuracy, result.delay_median_s, result.flickers) == (1.0, 0.0, 0)


def test_scores_of_chosen_stretches() -> None:
    followed = follow(TIMES, np.array([0, 0, 0, 0, 0, 2, 1, 1, 0, 0]), TRUTH)
    ones, zeros = followed.score([1]), followed.score([0, 2])
    assert (ones.decisions, ones.accuracy, ones.flickers, ones.delay_median_s) == (4, 0.5, 1, 2.5)
    assert (zeros.decisions, zeros.accuracy, zeros.flickers, zeros.changes) == (6, 1.0, 0, 1)
    assert ones.hours + zeros.hours == pytest.approx(10 / 3600)


def test_nothing_to_count_is_nan() -> None:
    result = follow(np.empty(0), np.empty(0, np.int64), TRUTH).score()
    assert math.isnan(result.accuracy)
    assert math.isnan(follow(TIMES[:3], np.zeros(3, np.int64), TRUTH).score([0]).delay_median_s)


SHOWN = st.lists(st.integers(-1, 2), min_size=1, max_size=60)
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=8)


def flickers_by_walking(shown: list[int], true: list[int], segments: list[int]) -> int:
    """The definition of a flicker, one decision after the other."""
    before, flickers, last = UNSURE, 0, None
    recognised = lapsed = False
    for scene, there, segment in zip(shown, true, segments, strict=True):
        if segment != last:
            last, recognised, lapsed = segment, False, False
        if scene != before:
            if not recognised and scene == there:
                pass
            elif not recognised and not lapsed and scene == UNSURE:
                lapsed = True
            else:
                flickers += 1
        recognised = recognised or scene == there
        before = scene
    return flickers


@given(SHOWN, LENGTHS, st.integers(0, 2))
def test_scores_keep_their_definitions(shown: list[int], lengths: list[int], first: int) -> None:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    scenes = tuple((first + k) % 3 for k in range(len(lengths)))
    shown = shown[: int(starts[-1])]
    truth = Truth(tuple(map(float, starts[:-1])), scenes, float(starts[-1]))
    times = np.arange(len(shown)) + 0.5
    segments = [k for k, length in enumerate(lengths) for _ in range(length)][: len(shown)]
    true = [scenes[k] for k in segments]
    assert truth.at(times).tolist() == true
    followed = follow(times, np.array(shown), truth)
    whole = followed.score()
    assert whole.flickers == flickers_by_walking(shown, true, segments)
    assert (followed.flickers >= 0).all()
    assert whole.accuracy == pytest.approx(np.mean(np.array(shown) == true))
    assert whole.unsure == pytest.approx(np.mean(np.array(shown) == UNSURE))
    assert whole.accuracy + whole.unsure + whole.wrong == pytest.approx(1.0)
    for k in range(1, len(lengths)):
        right = [i + 0.5 - starts[k] for i in range(len(shown)) if segments[i] == k and shown[i] == scenes[k]]
        assert followed.delays_s[k] == (right[0] if right else math.inf)
    parts = [followed.score([k]) for k in range(len(lengths))]
    assert sum(part.flickers for part in parts) == whole.flickers


@given(LENGTHS)
def test_the_truth_itself_is_perfect_and_silence_is_not_a_lie(lengths: list[int]) -> None:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    truth = Truth(tuple(map(float, starts[:-1])), tuple(k % 2 for k in range(len(lengths))), float(starts[-1]))
    times = np.arange(int(starts[-1])) + 0.5
    perfect = follow(times, truth.at(times), truth).score()
    assert (perfect.accuracy, perfect.flickers, perfect.unsure) == (1.0, 0, 0.0)
    mute = follow(times, np.full(len(times), UNSURE), truth).score()
    assert (mute.accuracy, mute.flickers, mute.unsure, mute.wrong) == (0.0, 0, 1.0, 0.0)
    if len(lengths) > 1:
        assert (perfect.missed, perfect.delay_p90_s) == (0.0, 0.5)
        assert (mute.missed, mute.delay_median_s) == (1.0, math.inf)


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        (((0.0, 1.0), (0,), 2.0), "2 starts for 1 scenes"),
        (((), (), 2.0), "expected one each"),
        (((0.0, 2.0), (0, 1), 2.0), "must rise"),
        (((0.0, 1.0), (0, -1), 2.0), "true scene -1 is none"),
        (((0.0, 1.0), (1, 1), 2.0), "follows itself"),
    ],
)
def test_impossible_truths_are_refused(truth: tuple[tuple[float, ...], tuple[int, ...], float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Truth(*truth)


@pytest.mark.parametrize(
    ("times", "said"), [([0.5], "expected one each"), ([1.5, 0.5], "do not rise"), ([9.0, 11.0], "do not lie within")]
)
def test_impossible_decision_times_are_refused(times: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        follow(np.array(times), np.zeros(2, np.int64), TRUTH)


#: Three probabilities in whole eighths, exact in floating point: they meet thresholds, and each other, exactly.
EIGHTHS = st.sampled_from([(one, other, 8 - one - other) for one in range(9) for other in range(9 - one)])
SERIES = st.lists(EIGHTHS, min_size=1, max_size=40)
THRESHOLD = st.integers(1, 8)


@given(
    SERIES,
    st.lists(st.sampled_from([0.0, 0.1, 0.5, 2.0, 8.0]), min_size=1, max_size=3),
    st.lists(st.tuples(THRESHOLD, THRESHOLD), min_size=1, max_size=4),
)
@example([(0, 8, 0), (4, 4, 0)], [0.0], [(4, 2)])  # a tie does not take the scene away
def test_the_sweep_is_the_real_smoothing_bit_for_bit(
    series: list[tuple[int, int, int]], times_s: list[float], pairs: list[tuple[int, int]]
) -> None:
    values = np.array(series) / 8
    thresholds = [Thresholds(max(pair) / 8, min(pair) / 8) for pair in pairs]
    averaged = averages(values, times_s, 0.25)
    shown = decided(averaged, thresholds)
    assert shown.shape == (len(times_s), len(pairs), len(values))
    for i, time_s in enumerate(times_s):
        average = ExponentialAverage(time_s, 0.25)
        assert np.array([average.update(value) for value in values]).tolist() == averaged[i].tolist()
        for j, one in enumerate(thresholds):
            average, hysteresis = ExponentialAverage(time_s, 0.25), Hysteresis(one)
            for k, value in enumerate(values):
                hysteresis.update(average.update(value))
                assert shown[i, j, k] == (UNSURE if hysteresis.scene is None else hysteresis.scene)


@pytest.mark.parametrize("time_s", [-1.0, math.nan, math.inf])
def test_an_impossible_time_constant_is_refused_in_a_sweep(time_s: float) -> None:
    with pytest.raises(InputError, match="smoothing over"):
        averages(np.ones((2, 3)) / 3, [2.0, time_s], 0.25)
