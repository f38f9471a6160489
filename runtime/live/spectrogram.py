"""Log-mel frames made small for the eye: fewer bands, one byte each."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..frontend_spec import FrontendSpec

#: What the picture's colours span, in decibels above the front end's floor: a loud street reaches the top.
SPAN_DB = 64.0

#: Frequencies that an axis names, in hertz.
TICKS_HZ = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)


class Spectrogram:
    """Turns log-mel frames of one front end into columns of `bands` bytes, the lowest frequency first."""

    def __init__(self, spec: FrontendSpec, bands: int) -> None:
        """At most `bands` bands: a front end that has fewer keeps its own."""
        self.bands = min(bands, spec.n_mels)
        self._spec = spec
        self._edges = np.linspace(0, spec.n_mels, self.bands + 1).round().astype(np.intp)
        self._heights = np.diff(self._edges).astype(np.float32)[:, None]
        self._floor = (math.log(spec.log_offset) + spec.norm_shift) / spec.norm_scale
        self._span = SPAN_DB / 10.0 * math.log(10.0) / spec.norm_scale

    def columns(self, frames: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Columns (k, bands), uint8, of log-mel frames (n_mels, k): 0 is the front end's floor, 255 `SPAN_DB` above."""
        bands = np.add.reduceat(frames, self._edges[:-1], axis=0) / self._heights
        levels = (bands - self._floor) * (255.0 / self._span)
        return np.clip(np.rint(levels), 0, 255).astype(np.uint8).T

    def ticks(self) -> list[tuple[int, float]]:
        """Frequencies in hertz, each with the share of the picture's height at which it lies, counted from below."""
        spec = self._spec
        low, high = _mel(spec.fmin_hz), _mel(spec.fmax_hz)
        step = (high - low) / (spec.n_mels + 1)  # mel triangle i is centred i + 1 steps above the lowest frequency
        places = ((hz, ((_mel(hz) - low) / step - 0.5) / spec.n_mels) for hz in TICKS_HZ)
        return [(hz, round(place, 4)) for hz, place in places if 0.0 < place < 1.0]


def _mel(frequency_hz: float) -> float:
    return 1127.0 * math.log1p(frequency_hz / 700.0)
