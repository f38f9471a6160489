"""Quantisation noise of one tensor: how strong it is, where it comes from, and how well the eight bits are used.

All ratios are signal to noise in decibels, 10 log10(sum f^2 / sum (f - q)^2) over all values of all clips, f being the
float twin's tensor and q the int8 network's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..graph import Op, Quant

#: A channel whose values span fewer steps than this has lost most of what it says.
FEW_STEPS = 16

#: Share of the values that may lie outside of what is called the core.
_TAIL = 1e-3

_BINS = 256

#: What stands for a ratio without any noise.
QUIET_DB = 120.0


@dataclass(frozen=True)
class TensorNoise:
    """One activation of the int8 network over all clips.

    `total_db` counts all noise that has gathered up to here, `own_db` what this op alone adds to float inputs, of which
    `weight_db` is due to its rounded weights (None for an op without) and `rounding_db` to the rounding of its result.
    `saturated` is the share of values that lie outside of the range [`low`, `high`]; values reach from `lowest` to
    `highest`, which is the share `used` of the range, `core` the share that holds all but a thousandth of them;
    `starved` is the share of channels that span less than `FEW_STEPS` steps.
    """

    name: str
    kind: str
    bits: int
    scale: float
    zero_point: int
    low: float
    high: float
    total_db: float
    own_db: float
    weight_db: float | None
    rounding_db: float
    saturated: float
    lowest: float
    highest: float
    used: float
    core: float
    channels: int
    starved: float


class NoiseMeter:
    """Gathers the figures of one tensor, batch by batch."""

    def __init__(self, name: str, op: Op | None, quant: Quant) -> None:
        self.name = name
        self.op = op
        self.quant = quant
        low, high = quant.limits
        self.low, self.high = quant.scale * (low - quant.zero_point), quant.scale * (high - quant.zero_point)
        self._signal = self._total = self._own = self._weight = self._rounding = 0.0
        self._outside = self._count = 0
        self._histogram = np.zeros(_BINS, np.int64)
        self._extremes: list[NDArray[np.float32]] = []

    def add(self, exact: Tensor, raw: Tensor, rounded: Tensor, own: Tensor, local: Tensor, alone: Tensor) -> None:
        """Take in one batch: the float value, the int8 network's before and after rounding, what the op makes of float
        inputs with int8 weights before (`own`) and after rounding (`local`), and the float value rounded (`alone`)."""
        self._signal += _energy(exact)
        self._total += _energy(exact - rounded)
        self._own += _energy(exact - local)
        self._weight += _energy(exact - own)
        self._rounding += _energy(exact - alone)
        half = 0.5 * self.quant.scale
        self._outside += int(((raw < self.low - half) | (raw > self.high + half)).sum())
        self._count += raw.numel()
        self._histogram += torch.histc(rounded, _BINS, self.low - half, self.high + half).to(torch.int64).numpy()
        axes = [axis for axis in range(rounded.ndim) if axis != 1]
        self._extremes.append(torch.stack([rounded.amin(axes), rounded.amax(axes)]).numpy())

    def result(self) -> TensorNoise:
        """The figures over all batches."""
        extremes = np.stack(self._extremes)
        low, high = extremes[:, 0].min(axis=0), extremes[:, 1].max(axis=0)
        steps = (high - low) / self.quant.scale
        span = self.high - self.low
        return TensorNoise(
            name=self.name,
            kind="INPUT" if self.op is None else self.op.kind,
            bits=self.quant.bits,
            scale=self.quant.scale,
            zero_point=self.quant.zero_point,
            low=self.low,
            high=self.high,
            total_db=decibels(self._signal, self._total),
            own_db=decibels(self._signal, self._own),
            weight_db=None if self.op is None or self.op.weight is None else decibels(self._signal, self._weight),
            rounding_db=decibels(self._signal, self._rounding),
            saturated=self._outside / max(self._count, 1),
            lowest=float(low.min()),
            highest=float(high.max()),
            used=float((high.max() - low.min()) / span),
            core=self._core(),
            channels=len(steps),
            starved=float((steps < FEW_STEPS * (1 << self.quant.bits - 8)).mean()),
        )

    def _core(self) -> float:
        share = np.cumsum(self._histogram) / max(self._histogram.sum(), 1)
        first, last = (int(np.searchsorted(share, tail)) for tail in (_TAIL / 2, 1.0 - _TAIL / 2))
        return (min(last, _BINS - 1) - min(first, last) + 1) / _BINS


def decibels(signal: float, noise: float) -> float:
    """Signal to noise in decibels; `QUIET_DB` at most, its negative at least."""
    if noise <= 0.0:
        return QUIET_DB
    if signal <= 0.0:
        return -QUIET_DB
    return float(np.clip(10.0 * np.log10(signal / noise), -QUIET_DB, QUIET_DB))


def _energy(value: Tensor) -> float:
    flat = value.flatten()
    return float(torch.dot(flat, flat))
