"""Many settings of the smoothing tried at once on one series of probabilities.

The twins of `smoothing.ExponentialAverage` and `smoothing.Hysteresis` with an axis of settings; a test holds them equal
to these bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .metrics import UNSURE
from .smoothing import Thresholds, check_smoothing


def averages(probabilities: NDArray[np.float64], times_s: Sequence[float], step_s: float) -> NDArray[np.float64]:
    """Exponential averages (t, n, n_classes) of `probabilities` (n, n_classes), one for each time constant (t,).

    `step_s` lies between the vectors. Raises `InputError` for a time constant that cannot be.
    """
    for time_s in times_s:
        check_smoothing(time_s)
    keep = np.array([math.exp(-step_s / time_s) if time_s > 0 else 0.0 for time_s in times_s])[:, np.newaxis]
    out = np.empty((len(times_s), *probabilities.shape))
    total = np.zeros((len(times_s), probabilities.shape[1]))
    weight = np.zeros((len(times_s), 1))
    for k, vector in enumerate(probabilities):
        total = keep * total + (1.0 - keep) * vector
        weight = keep * weight + (1.0 - keep)
        out[:, k] = total / weight
    return out


def decided(averaged: NDArray[np.float64], thresholds: Sequence[Thresholds]) -> NDArray[np.int64]:
    """What hysteresis shows (t, h, n), a scene or `UNSURE`, on averages (t, n, n_classes) for each thresholds (h,)."""
    count, length, _ = averaged.shape
    enter = np.array([one.enter for one in thresholds])
    leave = np.array([one.leave for one in thresholds])
    shown = np.empty((count, len(thresholds), length), np.int64)
    scene = np.full((count, len(thresholds)), UNSURE)
    rows = np.arange(count)[:, np.newaxis]
    best = averaged.argmax(axis=2)
    top = averaged.max(axis=2)
    for k in range(length):
        held = averaged[rows, k, scene]  # of a scene that there is not: any value, not looked at
        scene = np.where(held < leave, UNSURE, scene)
        likelier = (scene == UNSURE) | (top[:, k, np.newaxis] > held)
        scene = np.where(likelier & (top[:, k, np.newaxis] >= enter), best[:, k, np.newaxis], scene)
        shown[:, :, k] = scene
    return shown
