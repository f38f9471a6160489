"""Ranges of every activation, measured by running the float graph on calibration log-mels.

Three calibrators: "minmax" covers everything seen, "percentile" leaves out the outermost hundred-thousandths, "mse"
clips each side where the squared rounding and clipping error of the values seen is least.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...runtime.errors import InputError
from ..graph import Graph, quant_source
from .fake_quant import GraphNet
from .quantize import choose_quant, quantize
from .rescale import equalize
from .rounding import round_weights
from .wide_choice import resolve_layers
from .widen import widen

CALIBRATORS = ("minmax", "percentile", "mse")
DEFAULT = "mse"

#: What "percentile" leaves out on each side.
TAIL = 1e-5

_BINS = 2048
_BATCH = 16
_SHRINK = np.linspace(1.0, 0.2, 41)


@dataclass
class Statistics:
    """What the calibration clips did to one activation: extremes and RMS per channel, and a histogram of all values."""

    low: NDArray[np.float32]  # (channels,)
    high: NDArray[np.float32]  # (channels,)
    square_sum: NDArray[np.float64]  # (channels,)
    count: int = 0  # values per channel
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))

    @property
    def rms(self) -> NDArray[np.float64]:
        """Root mean square of each channel."""
        return np.sqrt(self.square_sum / max(self.count, 1))

    @property
    def peak(self) -> NDArray[np.float64]:
        """Largest absolute value of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high)).astype(np.float64)

    def extremes(self) -> tuple[float, float]:
        """Lowest and highest value over all channels."""
        return float(self.low.min()), float(self.high.max())


def measure(graph: Graph, log_mels: NDArray[np.float32]) -> dict[str, Statistics]:
    """Statistics of each activation with a quantisation of its own, over `log_mels` (clips, n_mels, n_frames) float32.

    Two passes: the first finds the extremes, the second fills histograms between them.
    """
    n_mels, n_frames = graph.tensor[graph.input].shape[1:3]
    if log_mels.ndim != 3 or log_mels.shape[1:] != (n_mels, n_frames) or not len(log_mels):
        raise InputError(f"calibration log-mels have shape {log_mels.shape}, expected (clips, {n_mels}, {n_frames})")
    net, source = GraphNet(graph).eval(), quant_source(graph)
    statistics: dict[str, Statistics] = {}

    def extremes(name: str, value: Tensor) -> Tensor:
        if source[name] == name:
            _extend(statistics, name, value)
        return value

    def histogram(name: str, value: Tensor) -> Tensor:
        if source[name] == name:
            low, high = statistics[name].extremes()
            counts = torch.histc(value, _BINS, low, max(high, low + 1e-9))
            statistics[name].histogram += counts.to(torch.int64).numpy()
        return value

    with torch.inference_mode():
        for visit in (extremes, histogram):
            for batch in _batches(log_mels):
                net.run(batch, visit)
    return statistics


def ranges_from(graph: Graph, statistics: dict[str, Statistics], method: str) -> dict[str, tuple[float, float]]:
    """The range of each activation of `graph` by one of `CALIBRATORS`."""
    if method not in CALIBRATORS:
        raise InputError(f"unknown calibrator {method!r}, expected one of {', '.join(CALIBRATORS)}")
    if method == "mse":
        powers = _importance(graph)
        ranges = {name: _least_error(entry, powers.get(name, 0.0)) for name, entry in statistics.items()}
    else:
        pick = Statistics.extremes if method == "minmax" else _percentile
        ranges = {name: pick(entry) for name, entry in statistics.items()}
    # Clipped logits would tie, and the answer is what they are for: the output always covers all that was seen.
    return {**ranges, graph.output: statistics[graph.output].extremes()}


def calibrate(graph: Graph, log_mels: NDArray[np.float32], method: str = DEFAULT) -> dict[str, tuple[float, float]]:
    """Ranges of a float `graph` from `log_mels` (clips, n_mels, n_frames) float32, by one of `CALIBRATORS`."""
    return ranges_from(graph, measure(graph, log_mels), method)


@dataclass(frozen=True, eq=False)
class Calibrated:
    """An int8 graph, the ranges its scales were made from, and its float twin: the same ops, tensors and units."""

    graph: Graph
    ranges: dict[str, tuple[float, float]]
    level: Graph


def quantize_calibrated(
    graph: Graph, log_mels: NDArray[np.float32], method: str = DEFAULT, int16: Sequence[str] = ()
) -> Calibrated:
    """Post-training quantisation of a float `graph` on `log_mels` (clips, n_mels, n_frames).

    Channels are brought to similar levels (`rescale`), ranges chosen by `method`, weights rounded by `round_weights`.
    The layers named in `int16` compute in 16 bits (`widen`), or those that `choose_wide` finds for "auto".
    """
    level = equalize(graph, _levels(graph, measure(graph, log_mels)))
    ranges, wide = calibrate(level, log_mels, method), frozenset[str]()
    if int16:
        widened = widen(level, resolve_layers(level, ranges, log_mels, int16))
        level, wide = widened.graph, widened.wide
        statistics = measure(level, log_mels)
        ranges = ranges_from(level, statistics, method)
        # Clipping buys finer steps, of which 16 bits have enough.
        ranges |= {name: entry.extremes() for name, entry in statistics.items() if name in wide}
    return Calibrated(round_weights(level, quantize(level, ranges, wide), log_mels), ranges, level)


def _levels(graph: Graph, statistics: dict[str, Statistics]) -> dict[str, NDArray[np.float64]]:
    """The level of each channel: its peak, or between peak and RMS where it will be squared and averaged."""
    squared = {op.inputs[0] for op in graph.ops if op.kind == "MUL" and op.inputs[0] == op.inputs[1]}
    return {
        name: np.sqrt(entry.peak * entry.rms) if name in squared else entry.peak for name, entry in statistics.items()
    }


def _importance(graph: Graph) -> dict[str, float]:
    """Power of a value by which its squared error counts, for the two tensors around each RSQRT.

    What follows is m * rsqrt(m) = sqrt(m): an error of m counts by 1 / sqrt(m), one of r = rsqrt(m) by m = 1 / r^2.
    """
    powers: dict[str, float] = {}
    for op in graph.ops:
        if op.kind == "RSQRT":
            powers |= {op.inputs[0]: -1.0, op.output: -4.0}
    return powers


def _batches(log_mels: NDArray[np.float32]) -> Iterator[Tensor]:
    for start in range(0, len(log_mels), _BATCH):
        yield torch.from_numpy(np.ascontiguousarray(log_mels[start : start + _BATCH], np.float32))[:, None]


def _extend(statistics: dict[str, Statistics], name: str, value: Tensor) -> None:
    axes = [axis for axis in range(value.ndim) if axis != 1]
    low, high = value.amin(axes).numpy(), value.amax(axes).numpy()
    squares = value.double().square().sum(axes).numpy()
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise InputError(
            f"calibration gives values that are not finite at {name}: check the recordings and the weights"
        )
    entry = statistics.setdefault(name, Statistics(low, high, np.zeros_like(squares)))
    entry.low, entry.high = np.minimum(entry.low, low), np.maximum(entry.high, high)
    entry.square_sum = entry.square_sum + squares
    entry.count += value.numel() // value.shape[1]


def _centres(entry: Statistics) -> NDArray[np.float64]:
    low, high = entry.extremes()
    return np.asarray(low + (np.arange(_BINS) + 0.5) * (max(high - low, 1e-9) / _BINS), np.float64)


def _percentile(entry: Statistics) -> tuple[float, float]:
    share = np.cumsum(entry.histogram) / max(entry.histogram.sum(), 1)
    centres = _centres(entry)
    first = int(np.searchsorted(share, TAIL))
    last = min(int(np.searchsorted(share, 1.0 - TAIL)), _BINS - 1)
    low, high = entry.extremes()
    return (low if first == 0 else float(centres[first])), (high if last == _BINS - 1 else float(centres[last]))


def _least_error(entry: Statistics, power: float) -> tuple[float, float]:
    """Descend on one side after the other; the error surface has a single valley in practice."""
    low, high = entry.extremes()
    best, shrink = np.inf, [1.0, 1.0]
    for side in (1, 0, 1, 0):
        if (low, high)[side] == 0.0:
            continue
        for factor in _SHRINK:
            trial = [*shrink]
            trial[side] = float(factor)
            error = _error(entry, low * trial[0], high * trial[1], power)
            if error < best:
                best, shrink = error, trial
    return low * shrink[0], high * shrink[1]


def _error(entry: Statistics, low: float, high: float, power: float) -> float:
    """Squared error of rounding to [low, high] over all values seen, each counted by |value|**power."""
    quant, centres = choose_quant(low, high), _centres(entry)
    rounded = np.clip(np.rint(centres / quant.scale) + quant.zero_point, -128, 127)
    squares = ((rounded - quant.zero_point) * quant.scale - centres) ** 2
    weights = entry.histogram * np.maximum(np.abs(centres), 1e-3) ** power if power else entry.histogram
    return float(weights @ squares)
