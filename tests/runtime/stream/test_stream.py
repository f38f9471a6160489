"""The running classifier against the same answer worked out offline, whatever the blocks and the rate."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend import log_mel
from tinyscene.runtime.frontend_spec import FrontendSpec
from tinyscene.runtime.sources.source import Block
from tinyscene.runtime.stream.decision import Decision
from tinyscene.runtime.stream.smoothing import Thresholds, softmax
from tinyscene.runtime.stream.stream import SceneStream, StreamSettings, decisions

SPEC = FrontendSpec(
    sample_rate_hz=8000, clip_samples=4000, n_fft=256, win_length=200, hop_length=100, n_mels=16, fmax_hz=4000
)
LABELS = ("low", "high")
NONE = StreamSettings(hop_ms=50.0, smoothing_s=0.0)  # 4 frames a decision


class HalvesEngine:
    """Logits: mean log-mel of the lower and of the upper half of the bands."""

    name = "halves"

    def __init__(self) -> None:
        self.windows: list[NDArray[np.float32]] = []

    def logits(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        self.windows.append(log_mel.copy())
        return 4 * log_mel.reshape(2, -1).mean(axis=1)

    def run_int8(self, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
        raise NotImplementedError


@dataclass
class ListSource:
    """Blocks from memory."""

    waiting: list[Block]
    sample_rate_hz: int = 8000
    name: str = "list"
    losses: dict[str, int] = field(default_factory=dict)
    closed: bool = False

    def blocks(self) -> Generator[Block, None, None]:
        try:
            yield from self.waiting
        finally:
            self.closed = True


def source(wave: NDArray[np.float32], sizes: list[int], dropped: int = 0) -> ListSource:
    """`wave` in blocks of the sizes, repeated as long as it lasts; `dropped` is lost before the second half."""
    blocks, start, k = [], 0, 0
    while start < len(wave):
        size = max(1, sizes[k % len(sizes)])
        lost = dropped if start >= len(wave) // 2 else 0
        blocks.append(Block(wave[start : start + size], time.perf_counter(), lost))
        start, k = start + size, k + 1
    return ListSource(blocks)


def stream(settings: StreamSettings = NONE, spec: FrontendSpec = SPEC) -> tuple[SceneStream, HalvesEngine]:
    engine = HalvesEngine()
    return SceneStream(spec, LABELS, engine, spec.sample_rate_hz, settings), engine


def low_then_high(seconds: float = 4.0) -> NDArray[np.float32]:
    n = np.arange(round(seconds * 8000))
    half = len(n) // 2
    tone = np.where(n < half, np.sin(2 * np.pi * 300 * n / 8000), np.sin(2 * np.pi * 3000 * n / 8000))
    return (0.3 * tone + 1e-3 * np.random.default_rng(0).standard_normal(len(n))).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=5))
def test_windows_are_those_of_the_whole_signal(sizes: list[int]) -> None:
    wave = low_then_high()
    classifier, engine = stream()
    said = list(decisions(source(wave, sizes), classifier))
    frames = log_mel(wave, SPEC)
    ends = range(SPEC.n_frames(), frames.shape[1] + 1, 4)
    assert len(said) == len(ends) == len(engine.windows)
    for decision, window, end in zip(said, engine.windows, ends, strict=True):
        expected = frames[:, end - SPEC.n_frames() : end]
        np.testing.assert_array_equal(window, expected)
        probabilities = softmax(4 * expected.reshape(2, -1).mean(axis=1))
        np.testing.assert_allclose(list(decision.probabilities.values()), probabilities, rtol=1e-12)
        assert decision.t_s == pytest.approx(0.5 + 0.05 * (end - SPEC.n_frames()) / 4)
        assert decision.top == LABELS[probabilities.argmax()]


def test_decisions_follow_the_sound() -> None:
    classifier, _ = stream(StreamSettings(hop_ms=50.0, smoothing_s=0.3, thresholds=Thresholds(0.7, 0.4)))
    said = list(decisions(source(low_then_high(), [160]), classifier))
    assert [d.scene for d in said if d.t_s < 2.0] == ["low"] * sum(d.t_s < 2.0 for d in said)
    assert said[-1].scene == "high"
    assert said[-1].probability == said[-1].probabilities["high"] > 0.7
    changes = [d for d in said if d.state == "entered"]
    assert [d.scene for d in changes] == ["low", "high"]
    assert 2.0 < changes[1].t_s < 3.2  # half a window and the averaging late
    between = [d for d in said if changes[0].t_s < d.t_s < changes[1].t_s and d.scene is None]
    assert all(d.state == "unsure" and d.probability == d.probabilities[d.top] for d in between)


def test_the_moving_average_is_the_mean_of_the_last_windows() -> None:
    wave = low_then_high()
    raw = list(decisions(source(wave, [160]), stream()[0]))
    settings = replace(NONE, average="moving", smoothing_s=0.5)
    smooth = list(decisions(source(wave, [160]), stream(settings)[0]))
    series = np.array([d.probabilities["low"] for d in raw])
    expected = [series[max(0, k - 9) : k + 1].mean() for k in range(len(series))]
    np.testing.assert_allclose([d.probabilities["low"] for d in smooth], expected, rtol=1e-9)


@pytest.mark.parametrize("hop_ms", [1.0, 12.5, 499.0, 500.0, 1300.0])
def test_any_hop(hop_ms: float) -> None:
    """From one frame up to more than a window, where some audio is not looked at."""
    classifier, engine = stream(replace(NONE, hop_ms=hop_ms))
    wave = low_then_high()
    list(decisions(source(wave, [77]), classifier))
    frames = log_mel(wave, SPEC)
    hop = max(1, round(hop_ms / 12.5))
    starts = range(0, frames.shape[1] - SPEC.n_frames() + 1, hop)
    assert len(engine.windows) == len(starts)
    for window, start in zip(engine.windows, starts, strict=True):
        np.testing.assert_array_equal(window, frames[:, start : start + SPEC.n_frames()])


@pytest.mark.parametrize("hop_ms", [0.0, -5.0, float("nan"), 1e9])
def test_impossible_hops_are_refused(hop_ms: float) -> None:
    with pytest.raises(InputError, match="hop is"):
        stream(replace(NONE, hop_ms=hop_ms))


def test_another_rate_is_resampled() -> None:
    wave = low_then_high()
    n = np.arange(2 * 44_100)
    low = (0.3 * np.sin(2 * np.pi * 300 * n / 44_100)).astype(np.float32)
    classifier = SceneStream(SPEC, LABELS, HalvesEngine(), 44_100, NONE)
    blocks = [Block(part, time.perf_counter()) for part in np.array_split(low, 100)]
    said = list(decisions(ListSource(blocks, 44_100), classifier))
    reference = list(decisions(source(wave[:16_000], [160]), stream()[0]))
    assert [d.t_s for d in said] == [d.t_s for d in reference]
    assert {d.scene for d in said} == {"low"}
    assert classifier.meters.audio_s == 2.0


def test_a_clip_of_exactly_one_window_gives_one_decision() -> None:
    said = list(decisions(source(low_then_high(0.5), [100]), stream()[0]))
    assert [d.t_s for d in said] == [0.5]


@pytest.mark.parametrize("samples", [0, 1, 3900])
def test_less_than_one_window_is_refused(samples: int) -> None:
    wave = low_then_high()[:samples]
    with pytest.raises(InputError, match=rf"{samples / 8000:.2f} s of audio are too short: a decision needs 0.50 s"):
        list(decisions(source(wave, [160]), stream()[0]))


def test_a_duration_ends_the_stream_and_releases_the_source() -> None:
    wave = low_then_high()
    listened = source(wave, [160])
    classifier, engine = stream()
    said = list(decisions(listened, classifier, duration_s=1.2345))
    assert listened.closed
    assert classifier.meters.audio_s == pytest.approx(1.2345, abs=1 / 8000)
    assert said[-1].t_s == pytest.approx(1.2)
    frames = log_mel(wave[:9876], SPEC)
    np.testing.assert_array_equal(engine.windows[-1], frames[:, 4 * 14 : 4 * 14 + 40])


def test_closing_the_iterator_releases_the_source() -> None:
    listened = source(low_then_high(), [160])
    running = decisions(listened, stream()[0])
    next(running)
    assert not listened.closed
    running.close()
    assert listened.closed


def test_lost_samples_are_told_and_move_the_time() -> None:
    said = list(decisions(source(low_then_high(), [160], dropped=2000), stream()[0]))
    assert {decision.dropped_samples for decision in said} == {0, 2000}
    assert said[-1].t_s == pytest.approx(4.25)
    times = [decision.t_s for decision in said]
    steps = np.diff(times)
    # Samples 16,000 to 17,999 are lost. The frames of a window see 4,101 samples, 100 before its own 4,000, one after
    # (the last is centred 100 before their end): of the window that ends at 2.05 s 401 are lost, of the next one a
    # fifth. That of 2.75 s sees 100 lost ones, that of 2.7 s 500.
    assert steps.max() == pytest.approx(0.7)
    assert times[int(steps.argmax())] == pytest.approx(2.05)
    lost = {decision.t_s: round(4101 * decision.lost_share) for decision in said if decision.lost_share}
    assert lost == pytest.approx({2.0: 1, 2.05: 401, 2.75: 100})


def test_level_is_that_of_the_audio_since_the_last_decision() -> None:
    n = np.arange(16_000)
    wave = np.sin(2 * np.pi * 400 * n / 8000)
    wave = np.where(n < 8000, wave, 0.01 * wave).astype(np.float32)
    said = list(decisions(source(wave, [80]), stream()[0]))
    assert said[3].level_dbfs == pytest.approx(-3.01, abs=0.1)  # a full-scale sine
    assert said[-2].level_dbfs == pytest.approx(-43.01, abs=0.1)
    silence = list(decisions(source(np.zeros(8000, np.float32), [80]), stream()[0]))
    assert {d.level_dbfs for d in silence} == {-120.0}


def test_every_stage_is_metered() -> None:
    classifier, _ = stream()
    said: list[Decision] = list(decisions(source(low_then_high(), [160]), classifier))
    summary = classifier.meters.summary()
    assert summary["features"]["count"] == 1 + (32_000 - 1) // 100
    assert summary["engine"]["count"] == summary["smoothing"]["count"] == summary["latency"]["count"] == len(said)
    # At the front end's own rate once a window, rounded up to whole blocks, and at the end.
    assert len(said) <= summary["resample"]["count"] <= len(said) + 2
    assert all(d.latency_ms > 0 for d in said)
    assert classifier.meters.real_time_factor > 0
    assert classifier.meters.audio_s == 4.0
