"""What some seconds of a microphone tell about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..audio import Resampler
from ..errors import InputError
from ..frontend import log_mel
from ..frontend_spec import FrontendSpec

#: The level shown for digital silence.
SILENCE_DBFS = -120.0

#: A step down in the spectrum of this much within a kilohertz, with nothing above it, is a filter and not a room.
CLIFF_DB = 15.0

#: Below this no filter is looked for: rooms fall steeply there by themselves.
LOWEST_CLIFF_HZ = 3000.0

#: Exact zeros for this long in the middle of sound were not recorded.
DROPOUT_S = 0.005


@dataclass(frozen=True)
class Findings:
    """Measurements of one recording; levels are RMS against a full-scale square wave (a full-scale sine is -3)."""

    seconds: float
    sample_rate_hz: int
    channels: int
    level_dbfs: tuple[float, ...]  # by channel
    peak_dbfs: float
    clipped_share: float  # of all samples, in runs of three or more at the extreme
    dc_offset: float  # full scale is 1
    noise_floor_dbfs: float  # the level that a tenth of all 50-ms stretches stay under
    bandwidth_hz: float  # up to where there is sound: half the rate, or where a filter ends it
    hum_hz: float | None  # 50 or 60, where the mains stands out
    hum_share: float  # of the power
    correlation: float | None  # of two channels; 1 the same, -1 one of them inverted
    dropouts: int  # stretches of exact zeros within sound
    lost_s: float  # what the source says that it lost
    spectrum_distance_db: float | None  # RMS over the mel bands against a reference, the loudness left out
    loudness_difference_db: float | None  # against the reference


def examine(samples: NDArray[np.float32], sample_rate_hz: int, lost: int = 0) -> Findings:
    """Measure float32 (n, channels) in [-1, 1], of which the source says that it lost `lost` more.

    Raises `InputError` for less than a second.
    """
    if len(samples) < sample_rate_hz:
        raise InputError(
            f"{len(samples) / sample_rate_hz:.2f} s of audio are too short to judge: at least 1 s is needed"
        )
    levels = tuple(_dbfs(float(np.mean(channel.astype(np.float64) ** 2))) for channel in samples.T)
    mono = samples.mean(axis=1, dtype=np.float64)
    offset = float(mono.mean())
    hum_hz, hum_share = _hum(mono - offset, sample_rate_hz)
    return Findings(
        seconds=len(samples) / sample_rate_hz,
        sample_rate_hz=sample_rate_hz,
        channels=samples.shape[1],
        level_dbfs=levels,
        peak_dbfs=_dbfs(float(np.abs(samples).max()) ** 2),
        clipped_share=max(_clipped(channel) for channel in samples.T),
        dc_offset=offset,
        noise_floor_dbfs=_noise_floor(mono - offset, sample_rate_hz),
        bandwidth_hz=_bandwidth(mono - offset, sample_rate_hz),
        hum_hz=hum_hz,
        hum_share=hum_share,
        correlation=_correlation(samples) if samples.shape[1] == 2 else None,
        dropouts=_dropouts(samples, sample_rate_hz),
        lost_s=lost / sample_rate_hz,
        spectrum_distance_db=None,
        loudness_difference_db=None,
    )


def spectrum_against(
    samples: NDArray[np.float32], sample_rate_hz: int, spec: FrontendSpec, reference: NDArray[np.float32]
) -> tuple[float, float]:
    """How far the mean spectrum is from that of the log-mels `reference` (k, n_mels, n_frames), in decibels.

    Returns the RMS over the mel bands without the difference in loudness, and that difference.
    """
    resampler = Resampler(sample_rate_hz, spec.sample_rate_hz)
    mono = resampler.resample(np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32)), last=True)
    decibels = 10 / math.log(10) * spec.norm_scale
    heard, expected = log_mel(mono, spec).mean(axis=1), reference.mean(axis=(0, 2))
    difference = decibels * (heard.astype(np.float64) - expected)
    loudness = float(difference.mean())
    return float(np.sqrt(np.mean((difference - loudness) ** 2))), loudness


def _dbfs(power: float) -> float:
    return max(SILENCE_DBFS, 10 * math.log10(power)) if power > 0 else SILENCE_DBFS


def _clipped(channel: NDArray[np.float32]) -> float:
    """Share of samples in runs of three or more at the channel's extreme, which sound reaches one at a time."""
    top = float(np.abs(channel).max())
    if top < 0.1:  # a converter does not clip there
        return 0.0
    at_top = np.abs(channel) >= top * (1 - 1e-4)
    runs = _runs(at_top)
    return float(sum(length for _, length in runs if length >= 3) / len(channel))


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(start, length) of each stretch of true `flags`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(stop - start)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _noise_floor(mono: NDArray[np.float64], rate: int) -> float:
    size = max(1, round(0.05 * rate))
    powers = (mono[: len(mono) // size * size].reshape(-1, size) ** 2).mean(axis=1)
    return _dbfs(float(np.percentile(powers, 10)))


def _bandwidth(mono: NDArray[np.float64], rate: int) -> float:
    """Half the rate, or the lowest frequency from which on all is `CLIFF_DB` lower than just below it."""
    size = 1 << max(8, round(math.log2(rate / 40)))  # bins of some 40 Hz
    frames = mono[: len(mono) // size * size].reshape(-1, size) * np.hanning(size)
    power = (np.abs(np.fft.rfft(frames)) ** 2).mean(axis=0) + 1e-20
    hertz = np.fft.rfftfreq(size, 1 / rate)
    decibels = 10 * np.log10(np.convolve(power, np.ones(5) / 5, mode="same"))
    for edge in np.arange(LOWEST_CLIFF_HZ, rate / 2 - 1000, 100.0):
        below = decibels[(hertz >= edge - 1000) & (hertz < edge - 200)]
        above = decibels[hertz > edge + 300]
        if below.mean() - above.max() >= CLIFF_DB:
            return float(edge)
    return rate / 2


def _hum(mono: NDArray[np.float64], rate: int) -> tuple[float | None, float]:
    """The mains' frequency where three of its harmonics stand out, and their share of the power."""
    power = np.abs(np.fft.rfft(mono * np.hanning(len(mono)))) ** 2
    step = rate / len(mono)
    total = float(power.sum())
    best: tuple[float | None, float] = None, 0.0
    for mains in (50.0, 60.0):
        share, standing_out = 0.0, 0
        for harmonic in (1, 2, 3, 4):
            centre = harmonic * mains
            near = power[round((centre - 1.5) / step) : round((centre + 1.5) / step) + 1]
            around = power[round((centre - 9) / step) : round((centre + 9) / step) + 1]
            share += float(near.sum())
            standing_out += bool(near.max() > 100 * np.median(around))
        if standing_out >= 2 and total > 0 and share / total > best[1]:
            best = mains, share / total
    return best


def _correlation(samples: NDArray[np.float32]) -> float | None:
    left, right = (channel - channel.mean() for channel in samples.T.astype(np.float64))
    scale = math.sqrt(float(np.dot(left, left) * np.dot(right, right)))
    return float(np.dot(left, right) / scale) if scale > 0 else None


def _dropouts(samples: NDArray[np.float32], rate: int) -> int:
    """Stretches of exact zeros between sound; a channel or a microphone that is silent throughout has none."""
    silent: NDArray[np.bool_] = np.equal(np.abs(samples).max(axis=1), 0)
    inside = [(start, length) for start, length in _runs(silent) if start > 0 and start + length < len(samples)]
    return len([length for _, length in inside if length >= DROPOUT_S * rate])
