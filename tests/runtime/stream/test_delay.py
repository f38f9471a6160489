"""The delay before any computing, against when the stream's parts really give what they were fed."""

from __future__ import annotations

import numpy as np
import pytest

from tinyscene.runtime.audio import Resampler
from tinyscene.runtime.frontend import StreamingLogMel
from tinyscene.runtime.frontend_spec import STUDENT
from tinyscene.runtime.sources.source import BLOCK_S
from tinyscene.runtime.stream.delay import algorithmic_delay


def test_equal_rates_have_no_resampler() -> None:
    delay = algorithmic_delay(STUDENT, 32_000)
    assert (delay.block_ms, delay.resampler_ms, delay.features_ms) == (1e3 * BLOCK_S, 0.0, 48.0)
    assert delay.to_dict() == {"block_ms": 40.0, "resampler_ms": 0.0, "features_ms": 48.0, "total_ms": 88.0}


def test_a_click_is_heard_when_the_delay_says() -> None:
    """A click in the middle of a frame: that frame is complete half a window after it, not a sample sooner."""
    stream, click = StreamingLogMel(STUDENT), 20 * STUDENT.hop_length
    done_at = {}
    for position in range(click + 3 * STUDENT.win_length):
        sample = np.array([1.0 if position == click else 0.0], np.float32)
        for frame in stream.push(sample).T:
            done_at[len(done_at)] = (position, frame)
    centre = 20  # the frame whose centre the click is
    at, frame = done_at[centre]
    assert frame.max() > done_at[2][1].max()
    assert 1e3 * (at - click) / STUDENT.sample_rate_hz == pytest.approx(
        algorithmic_delay(STUDENT, 32_000).features_ms, abs=2e3 / STUDENT.sample_rate_hz
    )


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000, 96_000])
def test_the_resampler_holds_back_no_more_than_it_says(rate_hz: int) -> None:
    held_ms = algorithmic_delay(STUDENT, rate_hz).resampler_ms
    assert 1.0 < held_ms < 100.0
    resampler, given, taken = Resampler(rate_hz, 32_000), 0, 0
    block = np.random.default_rng(1).uniform(-1, 1, round(0.02 * rate_hz)).astype(np.float32)
    worst_ms = 0.0
    for _ in range(100):
        taken += len(block)
        given += len(resampler.resample(block))
        worst_ms = max(worst_ms, 1e3 * (taken / rate_hz - given / 32_000))
    assert worst_ms <= held_ms + 25.0  # at the very start it holds one block more
    assert worst_ms >= held_ms - 1e-6
