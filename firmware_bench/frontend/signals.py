"""Signals that try a front end: silence, full scale, one bit, one sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Signal = Callable[[int, int], NDArray[np.int16]]  # (samples, sample rate in Hz) -> int16 (samples,)


def to_pcm(wave: NDArray[np.floating]) -> NDArray[np.int16]:
    """[-1, 1) to int16, rounded and clipped: what a microphone's converter hands to the part."""
    return np.clip(np.rint(wave * 32768.0), -32768, 32767).astype(np.int16)


def _sine(frequency_hz: float, level: float) -> Signal:
    return lambda n, rate: to_pcm(level * np.sin(2.0 * np.pi * frequency_hz * np.arange(n) / rate))


def _square(n: int, rate: int) -> NDArray[np.int16]:
    return to_pcm(np.where(np.sin(2.0 * np.pi * 100.3 * np.arange(n) / rate) >= 0.0, 1.0, -1.0))


def _fastest(n: int, rate: int) -> NDArray[np.int16]:
    return np.where(np.arange(n) % 2, 32767, -32768).astype(np.int16)


def _impulse(n: int, rate: int) -> NDArray[np.int16]:
    pcm = np.zeros(n, np.int16)
    pcm[n // 2] = 32767
    return pcm


def _one_bit(n: int, rate: int) -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(-1, 2, n).astype(np.int16)


def _noise(n: int, rate: int) -> NDArray[np.int16]:
    return np.random.default_rng(1).integers(-32768, 32768, n).astype(np.int16)


#: By name, from the softest to what no room gives: a pure tone at full scale, the fastest alternation there is.
SIGNALS: dict[str, Signal] = {
    "silence": lambda n, rate: np.zeros(n, np.int16),
    "noise of 1 LSB": _one_bit,
    "noise at full scale": _noise,
    "constant": lambda n, rate: np.full(n, -32768, np.int16),
    "impulse": _impulse,
    "clipped square": _square,
    "sine at -40 dB": _sine(997.0, 0.01),
    "sine at full scale": _sine(997.0, 1.0),
    "alternating at full scale": _fastest,
}
