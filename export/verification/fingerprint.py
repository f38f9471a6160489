"""A few numbers that stand for a tensor: equal tensors have equal ones, and a changed one is seen in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Largest difference of a fingerprint's mean or signed mean, relative to the tensor's largest magnitude. Float engines
#: order sums differently: on the published network that comes to 2e-6.
TOLERANCE = 1e-4


def fingerprint(values: NDArray[Any]) -> NDArray[np.float32]:
    """For a tensor (..., channels): mean, mean with signs that alternate irregularly, and largest magnitude of each
    channel, (3, channels) float32.

    The plain mean says how far a channel is off; the signed one changes when values only change places.
    """
    flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
    places = np.arange(len(flat), dtype=np.uint64)
    signs = ((places * np.uint64(2654435761)) >> np.uint64(16) & np.uint64(1)).astype(np.float64) * 2 - 1
    rows = [flat.mean(axis=0), (flat * signs[:, None]).mean(axis=0), np.abs(flat).max(axis=0)]
    return np.stack(rows).astype(np.float32)


def differing_channel(expected: NDArray[np.float32], found: NDArray[np.float32]) -> tuple[int, int] | None:
    """(row, channel) in which two fingerprints differ most, or None when they agree within `TOLERANCE`."""
    size = max(float(expected[2].max()), 1e-6)
    difference = np.nan_to_num(np.abs(expected - found), nan=np.inf)
    # Rounding moves one extreme value further than it moves a mean.
    difference[2] /= 10
    row, channel = np.unravel_index(int(difference.argmax()), difference.shape)
    return (int(row), int(channel)) if difference[row, channel] > TOLERANCE * size else None
