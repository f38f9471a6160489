"""File and pipe sources: the samples, their pace, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.sources import files as sources
from tinyscene.runtime.sources.files import FileSource
from tinyscene.runtime.sources.pcm import PcmSource


class FakeTime:
    """A clock that moves only when someone sleeps or works."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    path = tmp_path / "stereo.flac"
    noise = np.random.default_rng(0).integers(-(2**15), 2**15, (44_100, 2)).astype(np.int16)
    soundfile.write(path, noise, 44_100)
    return path


def test_a_file_comes_whole_at_its_own_rate(stereo: Path) -> None:
    source = FileSource(stereo)
    samples = np.concatenate([block.samples for block in source.blocks()])
    assert (source.name, source.sample_rate_hz) == ("stereo.flac", 44_100)
    expected, _ = soundfile.read(stereo, dtype="float64")
    np.testing.assert_allclose(samples, expected.mean(axis=1), atol=1e-7)


def test_realtime_keeps_the_pace_of_the_samples(stereo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeTime()
    monkeypatch.setattr(sources, "time", clock)
    heard_s = 0.0
    for block in FileSource(stereo, realtime=True).blocks():
        heard_s += len(block.samples) / 44_100
        assert clock.now_s == pytest.approx(100.0 + heard_s)
        assert block.arrived_s == pytest.approx(clock.now_s)
    assert sum(clock.slept) == pytest.approx(1.0)


def test_a_slow_consumer_of_a_realtime_file_falls_behind(stereo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its audio arrived when it was due, not when the consumer came back for it."""
    clock = FakeTime()
    monkeypatch.setattr(sources, "time", clock)
    late = []
    for block in FileSource(stereo, realtime=True).blocks():
        late.append(clock.now_s - block.arrived_s)
        clock.now_s += 0.07  # for blocks of 0.04 s
    assert late[0] == pytest.approx(0.0)
    assert late[-1] == pytest.approx(0.03 * (len(late) - 1))


@given(
    channels=st.integers(1, 4),
    values=st.lists(st.integers(-(2**15), 2**15 - 1), max_size=3000),
    rate=st.sampled_from([8000, 44_100]),
)
def test_raw_samples_are_what_the_bytes_say(channels: int, values: list[int], rate: int) -> None:
    said: list[str] = []
    source = PcmSource(io.BytesIO(np.array(values, "<i2").tobytes()), rate, channels, said.append)
    samples = [block.samples for block in source.blocks()]
    whole = len(values) // channels * channels
    expected = np.array(values[:whole]).reshape(-1, channels).mean(axis=1) / 32768
    np.testing.assert_allclose(np.concatenate([*samples, np.empty(0)]), expected, atol=1e-7)
    assert len(said) == (whole != len(values))


def test_a_pipe_that_ends_in_half_a_sample_says_so() -> None:
    said: list[str] = []
    source = PcmSource(io.BytesIO(b"\x00\x40\x00"), 8000, log=said.append)
    assert [block.samples.tolist() for block in source.blocks()] == [[0.5]]
    assert said == ["raw audio ended within a sample: its last 1 bytes were ignored (is --channels right?)"]


@pytest.mark.parametrize(("rate", "channels", "reason"), [(10, 1, "--rate"), (48_000, 0, "--channels")])
def test_impossible_raw_formats_are_refused(rate: int, channels: int, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        PcmSource(io.BytesIO(b""), rate, channels)
