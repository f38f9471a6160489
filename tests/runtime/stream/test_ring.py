"""Windows are views of frames that are computed in place; a plain array that keeps everything is the reference."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyscene.runtime.frontend import StreamingLogMel, log_mel
from tinyscene.runtime.frontend_spec import FrontendSpec
from tinyscene.runtime.stream.meters import Meters
from tinyscene.runtime.stream.ring import FrameRing
from tinyscene.runtime.stream.windows import Windows

SPEC = FrontendSpec(
    sample_rate_hz=8000, clip_samples=4000, n_fft=256, win_length=200, hop_length=100, n_mels=16, fmax_hz=4000
)


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=60), n_frames=st.integers(1, 12))
def test_windows_are_those_of_all_frames(counts: list[int], n_frames: int) -> None:
    ring = FrameRing(n_mels=2, n_frames=n_frames, burst=9)
    everything = np.empty((0, 2), np.float32)
    for count in counts:
        new = np.arange(2 * len(everything), 2 * (len(everything) + count), dtype=np.float32).reshape(count, 2)
        ring.place(count)[:] = new
        everything = np.concatenate([everything, new])
        np.testing.assert_array_equal(ring.latest(count), new.T)
        for back in range(count):  # every window that ends with one of the new frames
            stop = len(everything) - back
            if stop >= n_frames:
                np.testing.assert_array_equal(ring.window(back), everything[stop - n_frames : stop].T)


def test_a_window_is_one_piece_of_the_rings_memory() -> None:
    ring = FrameRing(n_mels=16, n_frames=40, burst=8)
    base = ring.place(8).base
    assert base is not None
    for _ in range(100):
        rows = ring.place(8)
        assert np.shares_memory(rows, base)
        window = ring.window(0)
        assert window.base is base
        assert window.T.flags.c_contiguous
    assert base.shape == (160, 16)  # however long it goes on


def test_the_stream_copies_no_window() -> None:
    """What the engine is given is the memory into which the front end wrote, hop after hop."""
    placed: list[NDArray[np.float32]] = []

    class Watched(FrameRing):
        def place(self, count: int) -> NDArray[np.float32]:
            placed.append(super().place(count))
            return placed[-1]

    windows = Windows(SPEC, 8000, 4, Meters())
    windows._ring = Watched(16, 40, 100)
    wave = (0.1 * np.random.default_rng(0).standard_normal(40_000)).astype(np.float32)
    frames, count = log_mel(wave, SPEC), 0
    for start in range(0, len(wave), 160):
        for window in windows.hear(wave[start : start + 160]):
            assert window.log_mel is not None
            assert np.shares_memory(window.log_mel, placed[-1])
            np.testing.assert_array_equal(window.log_mel, frames[:, window.end - 40 : window.end])
            count += 1
    assert count == 1 + (frames.shape[1] - 1 - 40) // 4  # one frame waits for the end


def test_rows_written_in_place_are_the_frames() -> None:
    wave = (0.1 * np.random.default_rng(0).standard_normal(3000)).astype(np.float32)
    rows = np.full((40, 16), np.nan, np.float32)
    taken = 0

    def place(count: int) -> NDArray[np.float32]:
        nonlocal taken
        taken += count
        return rows[taken - count : taken]

    stream = StreamingLogMel(SPEC)
    assert stream.push_into(wave, place) + stream.flush_into(place) == taken == SPEC.n_frames(3000)
    np.testing.assert_array_equal(rows[:taken].T, log_mel(wave, SPEC))


def test_frames_are_handed_out_as_copies() -> None:
    windows = Windows(SPEC, 8000, 4, Meters())
    kept: list[NDArray[np.float32]] = []
    windows.on_frames = kept.append
    wave = (0.1 * np.random.default_rng(0).standard_normal(30_000)).astype(np.float32)
    for start in range(0, len(wave), 500):
        list(windows.hear(wave[start : start + 500]))
    list(windows.finish())
    np.testing.assert_array_equal(np.concatenate(kept, axis=1), log_mel(wave, SPEC))
