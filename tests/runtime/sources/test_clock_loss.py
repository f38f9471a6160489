"""Lost samples found by the clock: drift, lateness and catching up are not loss, a gap is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyscene.runtime.sources.clock import ClockLoss


def feed(clock: ClockLoss, rate: int, callbacks: list[tuple[float, int]]) -> int:
    """Losses after `callbacks` of (moment, frames)."""
    for now_s, frames in callbacks:
        clock.update(frames, now_s)
    return clock.lost - clock.surplus


def steady(rate: float, seconds: float, start_s: float = 0.0, block: int = 960) -> list[tuple[float, int]]:
    """Callbacks of `block` frames from a card that runs at `rate`."""
    count = round(seconds * rate / block)
    return [(start_s + (k + 1) * block / rate, block) for k in range(count)]


@pytest.mark.parametrize("drift", [-300e-6, -100e-6, 0.0, 100e-6, 300e-6])
def test_a_card_that_runs_fast_or_slow_loses_nothing(drift: float) -> None:
    assert feed(ClockLoss(48_000), 48_000, steady(48_000 * (1 + drift), 3600.0, block=4800)) == 0


@given(st.integers(0, 2**32), st.floats(0.0, 0.025))
def test_late_callbacks_lose_nothing(seed: int, latest_s: float) -> None:
    due = np.array([now for now, _ in steady(48_000, 10.0)])
    moments = np.maximum.accumulate(due + np.random.default_rng(seed).uniform(0, latest_s, len(due)))
    assert feed(ClockLoss(48_000), 48_000, [(float(now), 960) for now in moments]) == 0


@pytest.mark.parametrize("gap_s", [0.05, 0.3, 8.0])
def test_a_gap_is_counted_once_it_is_sure(gap_s: float) -> None:
    """What an overrun looks like: the callbacks pause, then go on with nothing in between."""
    clock = ClockLoss(48_000)
    assert feed(clock, 48_000, steady(48_000, 5.0)) == 0
    assert feed(clock, 48_000, steady(48_000, 5.0, start_s=5.0 + gap_s)) == pytest.approx(gap_s * 48_000, abs=2)
    assert feed(clock, 48_000, steady(48_000, 5.0, start_s=11.0 + gap_s)) == pytest.approx((gap_s + 1) * 48_000, abs=2)


def test_a_stall_that_is_made_up_for_is_no_loss() -> None:
    """A frozen server that kept its samples hands over two seconds of them at once."""
    clock = ClockLoss(48_000)
    feed(clock, 48_000, steady(48_000, 5.0))
    burst = [(7.0 + k * 1e-4, 960) for k in range(100)]
    assert feed(clock, 48_000, burst + steady(48_000, 5.0, start_s=7.0)) == 0


def test_a_slow_catch_up_is_taken_back() -> None:
    """Three seconds late, made up for at one and a half times real time."""
    clock = ClockLoss(48_000)
    feed(clock, 48_000, steady(48_000, 5.0))
    fast = [(8.0 + k * 960 / 72_000, 960) for k in range(450)]  # 9 s of audio in 6 s
    feed(clock, 48_000, fast)
    assert feed(clock, 48_000, steady(48_000, 5.0, start_s=14.0)) == 0


@pytest.mark.parametrize("counted_s", [0.0, 3.9, 4.0])
def test_an_absence_is_settled_by_the_clock(counted_s: float) -> None:
    """Four seconds away; what was counted meanwhile is part of it."""
    clock = ClockLoss(48_000)
    feed(clock, 48_000, steady(48_000, 5.0))
    back = [(frames, now_s) for now_s, frames in steady(48_000, 0.3, start_s=9.0)]
    assert clock.settle(back, counted=round(counted_s * 48_000)) == pytest.approx(4 * 48_000, abs=1)
    assert feed(clock, 48_000, steady(48_000, 5.0, start_s=9.3)) == 0


def test_what_was_counted_too_early_is_thrown_away_later() -> None:
    clock = ClockLoss(48_000)
    feed(clock, 48_000, steady(48_000, 5.0))
    back = [(frames, now_s) for now_s, frames in steady(48_000, 0.3, start_s=6.0)]
    assert clock.settle(back, counted=60_000) == 60_000
    assert clock.surplus == pytest.approx(12_000, abs=1)
