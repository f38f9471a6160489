"""The latest frames, kept so that every window of them is one piece of memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class FrameRing:
    """Room for several windows of frames, one frame a row: new frames are computed in place, windows are views.

    When the room is used up the frames that coming windows need move to its front, once in about three windows.
    """

    def __init__(self, n_mels: int, n_frames: int, burst: int) -> None:
        """Windows of `n_frames` frames of `n_mels` bands; at most `burst` frames are placed at once."""
        self._n_frames = n_frames
        self._rows = np.zeros((max(4 * n_frames, n_frames + burst), n_mels), np.float32)
        self._stop = 0

    def place(self, count: int) -> NDArray[np.float32]:
        """Room for the next `count` frames, float32 (count, n_mels), to be written before anything is read."""
        if self._stop + count > len(self._rows):
            kept = min(self._stop, self._n_frames - 1)  # no window is older than the one before the next frame
            self._rows[:kept] = self._rows[self._stop - kept : self._stop].copy()
            self._stop = kept
        self._stop += count
        return self._rows[self._stop - count : self._stop]

    def latest(self, count: int) -> NDArray[np.float32]:
        """The last `count` frames placed, a view (n_mels, count)."""
        return self._rows[self._stop - count : self._stop].T

    def window(self, back: int) -> NDArray[np.float32]:
        """The window that ends `back` frames before the newest, a view (n_mels, n_frames) valid until `place`."""
        stop = self._stop - back
        return self._rows[stop - self._n_frames : stop].T
