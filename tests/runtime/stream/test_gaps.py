"""Lost audio: whatever was lost, all else is as if nothing had been."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyscene.runtime.frontend_spec import FrontendSpec
from tinyscene.runtime.sources.source import Block
from tinyscene.runtime.stream import windows
from tinyscene.runtime.stream.decision import Decision
from tinyscene.runtime.stream.gap import Gaps
from tinyscene.runtime.stream.stream import SceneStream, StreamSettings

SPEC = FrontendSpec(
    sample_rate_hz=8000, clip_samples=4000, n_fft=256, win_length=200, hop_length=100, n_mels=16, fmax_hz=4000
)
BEFORE, AFTER = 100, 1  # what a window's frames see before and after its own samples


class Sums:
    """Logits from which every bit of a window can be told."""

    name = "sums"

    def __init__(self) -> None:
        self._weights = np.random.default_rng(1).standard_normal((2, 16 * 40)).astype(np.float32)

    def logits(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        return (self._weights @ np.ascontiguousarray(log_mel).ravel()) / 50

    def run_int8(self, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
        raise NotImplementedError


def blocks(wave: NDArray[np.float32], losses: list[tuple[int, int]], sizes: list[int]) -> Iterator[Block]:
    """`wave` in blocks of the sizes; the stretches (start, stop) are lost, which the block after each of them tells."""
    position, dropped, k = 0, 0, 0
    for start, stop in [*losses, (len(wave), len(wave))]:
        while position < start:
            end = min(start, position + sizes[k % len(sizes)])
            yield Block(wave[position:end], 0.0, dropped)
            position, k = end, k + 1
        dropped += stop - start
        position = stop
    yield Block(np.empty(0, np.float32), 0.0, dropped)


def heard(
    wave: NDArray[np.float32],
    losses: list[tuple[int, int]] | None = None,
    sizes: list[int] | None = None,
    rate: int = 8000,
    hop_ms: float = 50.0,
) -> tuple[list[Decision], SceneStream]:
    """Decisions without averaging, so that each tells of one window alone."""
    stream = SceneStream(SPEC, ("a", "b"), Sums(), rate, StreamSettings(hop_ms=hop_ms, smoothing_s=0.0))
    said: list[Decision] = []
    for block in blocks(wave, losses or [], sizes or [4096]):
        said += stream.push(block)
    return [*said, *stream.finish(0.0)], stream


LOSSES = st.lists(st.tuples(st.integers(0, 60_000), st.integers(1, 30_000)), max_size=4)
SIZES = st.lists(st.integers(1, 20_000), min_size=1, max_size=4)


def apart(losses: list[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """The losses (start, length) one after the other, as (start, stop), none in the first 500 samples."""
    stretches, last = [], 500
    for start, count in sorted(losses):
        start = max(start, last)
        stop = min(start + count, length)
        if start < stop:
            stretches.append((start, stop))
            last = stop + 1
    return stretches


@settings(max_examples=60, deadline=None)
@given(losses=LOSSES, sizes=SIZES, hop_ms=st.sampled_from([12.5, 50.0, 87.5, 900.0]))
def test_outside_the_losses_every_bit_is_as_without_them(
    losses: list[tuple[int, int]], sizes: list[int], hop_ms: float
) -> None:
    wave = (0.1 * np.random.default_rng(0).standard_normal(64_000)).astype(np.float32)
    stretches = apart(losses, len(wave) - 200)
    said, stream = heard(wave, stretches, sizes, hop_ms=hop_ms)
    offline, _ = heard(wave, hop_ms=hop_ms)
    expected = {round(8000 * decision.t_s): decision.probabilities for decision in offline}
    touched = np.zeros(len(wave), bool)
    for start, stop in stretches:
        touched[start:stop] = True
    share = {end: touched[max(0, end - 4000 - BEFORE) : end + AFTER].mean() for end in expected}
    # The grid is the clock's, and exactly the windows are judged of which no more than a tenth is lost.
    assert [round(8000 * decision.t_s) for decision in said] == [end for end in expected if share[end] <= 0.1]
    for decision in said:
        end = round(8000 * decision.t_s)
        assert decision.lost_share == pytest.approx(share[end], abs=1e-12)
        if share[end] == 0:
            assert decision.probabilities == expected[end]
    assert stream.time_s == len(wave) / 8000
    assert stream.gaps.heard + stream.gaps.lost == stream.gaps.clock == len(wave)
    assert stream.gaps.heard == np.count_nonzero(~touched)


@settings(max_examples=30, deadline=None)
@given(losses=LOSSES, sizes=SIZES, rate=st.sampled_from([8000, 11_025, 16_000]))
def test_any_blocks_give_the_same_decisions(losses: list[tuple[int, int]], sizes: list[int], rate: int) -> None:
    """Also through the resampler, and with silence that is counted and not computed."""
    wave = (0.1 * np.random.default_rng(0).standard_normal(80_000)).astype(np.float32)
    stretches = apart(losses, len(wave) - 1000)
    said, one = heard(wave, stretches, sizes, rate)
    expected, other = heard(wave, stretches, [100_000], rate)
    assert [vars(d) | {"latency_ms": 0, "level_dbfs": 0} for d in said] == [
        vars(d) | {"latency_ms": 0, "level_dbfs": 0} for d in expected
    ]
    assert vars(one.gaps) == vars(other.gaps)


@pytest.mark.parametrize("rate", [8000, 11_025, 12_000])
@pytest.mark.parametrize("pieces", [1, 1200])
def test_a_long_loss_is_not_computed_through_and_changes_nothing_after_it(rate: int, pieces: int) -> None:
    """Told at once, or twice a second by a microphone that is away."""
    rng = np.random.default_rng(2)
    before, after = (0.1 * rng.standard_normal(3 * rate).astype(np.float32) for _ in range(2))
    lost = 599 * rate + 345
    stream = SceneStream(SPEC, ("a", "b"), Sums(), rate, StreamSettings(hop_ms=50.0, smoothing_s=0.0))
    said = list(stream.push(Block(before, 0.0)))
    for piece in range(1, pieces + 1):
        said += stream.push(Block(np.empty(0, np.float32), 0.0, lost * piece // pieces, "away"))
    said += [*stream.push(Block(after, 0.0, lost)), *stream.finish(0.0)]
    assert stream.meters.stages["features"].percentiles().count < 0.1 * 80 * stream.time_s
    silence = np.zeros(lost, np.float32)
    offline, _ = heard(np.concatenate([before, silence, after]), rate=rate)
    expected = {decision.t_s: decision.probabilities for decision in offline}
    judged = [decision for decision in said if decision.t_s > (len(before) + lost) / rate]
    assert len(judged) == pytest.approx((3 - 0.45) / 0.05, abs=1)
    for decision in said:
        assert decision.probabilities == expected[decision.t_s]


@pytest.mark.parametrize("rate", [8000, 11_025])
def test_a_night_of_loss_takes_no_time_and_moves_no_frame(rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer losses than `FED_S` pass the resampler by: what comes after begins at another place of its blocks."""
    rng = np.random.default_rng(2)
    before, after = (0.1 * rng.standard_normal(3 * rate).astype(np.float32) for _ in range(2))
    lost, said = 100 * rate + 345, []
    for fed_s in (1000.0, 10.0):
        monkeypatch.setattr(windows, "FED_S", fed_s)
        stream = SceneStream(SPEC, ("a", "b"), Sums(), rate, StreamSettings(hop_ms=50.0, smoothing_s=0.0))
        decisions = [*stream.push(Block(before, 0.0)), *stream.push(Block(after, 0.0, lost)), *stream.finish(0.0)]
        said.append(decisions)
        assert stream.time_s == pytest.approx(106 + 345 / rate)
    for whole, passed in zip(*said, strict=True):
        assert passed.t_s == whole.t_s
        ours, theirs = list(passed.probabilities.values()), list(whole.probabilities.values())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0 if rate == 8000 else 1e-4)


def test_what_was_late_and_not_lost_is_set_off_against_the_next_loss() -> None:
    stream = SceneStream(SPEC, ("a", "b"), Sums(), 8000)
    quiet = np.zeros(800, np.float32)
    for dropped, seconds, clock_s in (
        (0, 0.1, 0.1),
        (1600, 0.4, 0.4),
        (400, 0.5, 0.35),
        (1200, 0.6, 0.55),
        (2000, 0.75, 0.75),
    ):
        list(stream.push(Block(quiet, 0.0, dropped)))
        assert stream.time_s == pytest.approx(seconds)
        assert stream.gaps.clock == round(8000 * clock_s)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=8), st.integers(1, 60))
def test_a_share_is_that_of_the_samples(steps: list[tuple[int, int]], length: int) -> None:
    gaps, made_up, lost = Gaps(), np.zeros(1000, bool), 0
    for heard_samples, missing in steps:
        gaps.hear(heard_samples)
        lost += missing
        assert gaps.lose(lost) == missing
        made_up[gaps.position - missing : gaps.position] = True
    for start in range(-10, gaps.position - 1):
        expected = made_up[max(0, start) : max(0, min(start + length, gaps.position))]
        if len(expected):
            assert gaps.share(start, start + length) == pytest.approx(expected.mean(), abs=1e-12)
    assert len(gaps._stretches) <= 1  # what lies behind is forgotten
