"""The nine devices of the procedural corpus: how each colours, compresses and hisses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from .synthesis import RATE_HZ, Wave, noise

_CURVE_HZ = (40.0, 100.0, 250.0, 630.0, 1600.0, 4000.0, 10_000.0, 20_000.0)


@dataclass(frozen=True)
class Recorder:
    """A device: its response in dB at `_CURVE_HZ`, how it compresses peaks, and its own noise under a full scale."""

    response_db: tuple[float, ...]
    compression: float  # 0 none; loud samples are bent by x / (1 + compression * |x|), x in multiples of the level
    noise_db: float
    noise_slope_db: float = 0.0


#: a: binaural reference; b, c: phone and action camera; s1-s6: simulated, s4-s6 only heard in evaluation.
RECORDERS: dict[str, Recorder] = {
    "a": Recorder((0, 0, 0, 0, 0, 0, 0, 0), 0.0, -84),
    "b": Recorder((-22, -12, -3, 0, 1, 4, 2, -8), 0.04, -70, -2),
    "c": Recorder((-10, -4, 1, 2, 0, -2, -5, -14), 0.06, -70, -3),
    "s1": Recorder((-6, -3, 0, 3, 5, 1, -4, -10), 0.05, -72),
    "s2": Recorder((-15, -6, -2, -1, 2, 6, 5, -2), 0.10, -70, -4),
    "s3": Recorder((4, 3, 1, -2, -3, 0, -6, -14), 0.02, -68, 2),
    "s4": Recorder((-24, -12, 2, 6, 2, -7, 4, -8), 0.12, -64, -3),
    "s5": Recorder((-4, 4, 7, -2, -8, 5, -6, -24), 0.08, -62, 1),
    "s6": Recorder((-30, -20, -8, 3, 7, 2, -14, -30), 0.20, -60, -2),
}

#: Devices that training hears, and how often; evaluation hears all nine equally often.
TRAIN_SHARES: dict[str, float] = {"a": 0.5, "b": 0.1, "c": 0.1, "s1": 0.1, "s2": 0.1, "s3": 0.1}


def record(wave: Wave, device: str, level_db: float, rng: Generator) -> Wave:
    """What `device` writes of a wave of unit level that it records at `level_db` under full scale, in [-1, 1]."""
    recorder = RECORDERS[device]
    n = len(wave)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(n, 1 / RATE_HZ), 20.0))
    response_db = np.interp(octaves, np.log2(_CURVE_HZ), recorder.response_db)
    heard = np.fft.irfft(np.fft.rfft(wave) * (10 ** (response_db / 20)).astype(np.float32), n).astype(np.float32)
    heard /= np.float32(1) + np.float32(recorder.compression) * np.abs(heard)
    heard *= np.float32(10 ** (level_db / 20)) / np.sqrt(np.mean(heard**2))
    # The automatic gain that keeps every device from clipping the rare loud knock.
    heard *= min(np.float32(1), np.float32(0.97) / np.abs(heard).max())
    hiss = noise(rng, n, 20, 18_000, recorder.noise_slope_db)
    return np.clip(heard + hiss * np.float32(10 ** (recorder.noise_db / 20) / np.std(hiss)), -1, 1).astype(np.float32)
