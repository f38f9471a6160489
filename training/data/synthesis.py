"""The parts that synthetic sounds are made of: noise, knocks, rings, gliding tones, and when they happen.

Waves are float32 (n,) at `RATE_HZ`. A segment is a loop: what rings beyond its end goes on at its start, so that no
snippet begins in an empty room.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

RATE_HZ = 44_100

Wave = NDArray[np.float32]


def noise(rng: Generator, n: int, low_hz: float, high_hz: float, slope_db: float = 0.0) -> Wave:
    """Gaussian noise between two frequencies with soft edges, tilted by `slope_db` per octave."""
    f = np.fft.rfftfreq(n, 1 / RATE_HZ).astype(np.float32)
    f[0] = f[1]
    gain = (f / 1000.0) ** np.float32(slope_db / 6.02) / np.sqrt((1 + (low_hz / f) ** 4) * (1 + (f / high_hz) ** 4))
    spectrum = np.fft.rfft(rng.standard_normal(n, dtype=np.float32))
    return np.fft.irfft(spectrum * gain.astype(np.float32), n).astype(np.float32)


def burst(rng: Generator, low_hz: float, high_hz: float, decay_s: float) -> Wave:
    """A knock, step or click: band noise with a 1-ms attack that falls to 1/e in `decay_s`."""
    n = max(256, int(6 * decay_s * RATE_HZ))
    t = np.arange(n, dtype=np.float32) / RATE_HZ
    return noise(rng, n, low_hz, high_hz) * np.exp(-t / decay_s) * np.minimum(1, t / 0.001)


def ring(frequencies_hz: Iterable[float], gains: Iterable[float], decays_s: Iterable[float]) -> Wave:
    """A struck body: decaying partials."""
    decays = list(decays_s)
    t = np.arange(int(5 * max(decays) * RATE_HZ), dtype=np.float32) / RATE_HZ
    wave = np.zeros_like(t)
    for frequency, gain, decay in zip(frequencies_hz, gains, decays, strict=True):
        wave += np.float32(gain) * np.sin(2 * np.pi * frequency * t) * np.exp(-t / decay)
    return (wave * np.minimum(1, t / 0.002)).astype(np.float32)


def layer(*waves: Wave) -> Wave:
    """Waves of different lengths on top of each other, from a common start."""
    out = np.zeros(max(map(len, waves)), dtype=np.float32)
    for wave in waves:
        out[: len(wave)] += wave
    return out


def glide(frequency_hz: NDArray[np.floating], harmonics: Iterable[float]) -> Wave:
    """A tone whose frequency follows `frequency_hz` (one value a sample), with the gains of its `harmonics`."""
    phase = 2 * np.pi * np.cumsum(frequency_hz, dtype=np.float64) / RATE_HZ
    return np.sum([g * np.sin(k * phase) for k, g in enumerate(harmonics, start=1)], axis=0).astype(np.float32)


def drift(rng: Generator, n: int, rate_hz: float) -> Wave:
    """A smooth random curve, mean 0 and standard deviation about 1, that turns about `rate_hz` times a second."""
    knots = max(4, int(np.ceil(n / RATE_HZ * rate_hz * 2)) + 1)
    values = rng.standard_normal(knots)
    values[-1] = values[0]
    return np.interp(np.linspace(0, knots - 1, n), np.arange(knots), values).astype(np.float32)


def place_events(n: int, at_s: Iterable[float], kernels: Iterable[Wave], gains: Iterable[float]) -> Wave:
    """Add each kernel at its time into a loop of n samples."""
    out = np.zeros(n, dtype=np.float32)
    for time_s, kernel, gain in zip(at_s, kernels, gains, strict=True):
        start = int(time_s * RATE_HZ) % n
        kernel = kernel[:n] * np.float32(gain)
        head = min(len(kernel), n - start)
        out[start : start + head] += kernel[:head]
        out[: len(kernel) - head] += kernel[head:]
    return out


def beat(rng: Generator, n: int, period_s: float, jitter: float) -> list[float]:
    """Times of a loop's regular beat: a random phase, each beat off by `jitter` (a share of the period)."""
    count = max(1, round(n / RATE_HZ / period_s))
    phase = rng.uniform(0, period_s)
    return [phase + (k + jitter * rng.standard_normal()) * period_s for k in range(count)]


def scatter(rng: Generator, n: int, per_second: float, at_least: int = 1) -> NDArray[np.float64]:
    """Times of events that know nothing of each other."""
    return rng.uniform(0, n / RATE_HZ, max(at_least, rng.poisson(per_second * n / RATE_HZ)))


def pick(rng: Generator, bank: Sequence[Wave], count: int) -> list[Wave]:
    """`count` kernels drawn from a bank."""
    return [bank[i] for i in rng.integers(len(bank), size=count)]
