"""What the live run listens to, on a scripted clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tinyscene.runtime.bench.loop import LoopSource, open_loop
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend_spec import STUDENT
from tinyscene.runtime.sources.source import Block

SAMPLES = np.arange(70, dtype=np.float32)


class Clock:
    """Stands still but for what is slept and what a test adds."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def read(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        assert duration_s >= 0.0
        self.now_s += duration_s


def loop(clock: Clock, seconds: float, paced: bool) -> LoopSource:
    """A kilohertz in blocks of 40 samples."""
    return LoopSource("ramp", 1000, SAMPLES, seconds, paced, clock=clock.read, sleep=clock.sleep)


def test_paced_blocks_arrive_when_a_microphone_would_have_filled_them() -> None:
    clock = Clock()
    arrived: list[Block] = []
    for block in loop(clock, 0.4, paced=True).blocks():
        arrived.append(block)
        if len(arrived) == 4:
            clock.now_s += 0.05  # a slow decision: the blocks that waited are late, and say so
    assert [round(block.arrived_s - 100.0, 9) for block in arrived] == pytest.approx(np.arange(1, 11) * 0.04)
    np.testing.assert_array_equal(np.concatenate([block.samples for block in arrived]), np.resize(SAMPLES, 400))
    assert clock.now_s == pytest.approx(100.4)
    assert all(block.dropped == 0 and block.down is None for block in arrived)


def test_as_fast_as_possible_goes_by_the_clock() -> None:
    clock, count = Clock(), 0
    for block in loop(clock, 1.0, paced=False).blocks():
        assert block.arrived_s == clock.now_s
        clock.now_s += 0.125
        count += 1
    assert count == 8


def test_a_clip_keeps_its_rate_and_a_generated_sound_is_a_microphones(tmp_path: Path) -> None:
    wave = np.random.default_rng(3).uniform(-0.5, 0.5, 44_100).astype(np.float32)
    soundfile.write(tmp_path / "clip.wav", wave, 44_100, subtype="FLOAT")
    found = open_loop(tmp_path / "clip.wav", STUDENT, 1.0, paced=True)
    assert (found.name, found.sample_rate_hz) == ("clip.wav", 44_100)
    np.testing.assert_array_equal(found.samples, wave)
    made = open_loop(None, STUDENT, 1.0, paced=True)
    assert (made.sample_rate_hz, len(made.samples)) == (48_000, 192_000)
    assert 0.01 < np.abs(made.samples).max() < 1.0
    wide = replace(STUDENT, sample_rate_hz=96_000, fmax_hz=40_000.0)
    np.testing.assert_array_equal(open_loop(None, wide, 1.0, paced=True).samples, made.samples)
    with pytest.raises(InputError, match="no audio file"):
        open_loop(tmp_path / "other.wav", STUDENT, 1.0, paced=True)
