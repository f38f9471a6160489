"""Confidence intervals of accuracies: a bootstrap over recordings, and over seeds when there are several.

Snippets of one recording are answered alike, so they are not independent draws: whole recordings are resampled with
replacement, with all their snippets (the cluster bootstrap: Field and Welsh, "Bootstrapping clustered data", Journal of
the Royal Statistical Society B 69, 2007). Seeds are resampled beside them. Limits are percentiles (Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). The recordings and seeds drawn depend on their number
alone, so two models are compared on the same draws: their difference is a paired one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPLICATES = 10_000
LEVEL = 0.95

# Weights of one chunk of replicates: 32 MB of float64.
_CHUNK_WEIGHTS = 1 << 22


@dataclass(frozen=True)
class Tally:
    """Right answers of one model, counted by recording; the accuracy is the mean of the groups' accuracies.

    One group for plain accuracy, a group a scene for the macro average.
    """

    hits: NDArray[np.float64]  # (seeds, recordings, groups)
    counts: NDArray[np.float64]  # (recordings, groups): what could have been right

    def value(self) -> float:
        """The accuracy, averaged over the seeds."""
        return float(self.by_seed().mean())

    def by_seed(self) -> NDArray[np.float64]:
        """The accuracy at each seed, (seeds,)."""
        return _accuracy(np.ones((1, len(self.counts))), self)[0]


def tally(
    right: NDArray[np.bool_],
    recording: NDArray[np.integer[Any]],
    n_recordings: int,
    group: NDArray[np.integer[Any]] | None = None,
) -> Tally:
    """Count (seeds, n) answers, each right or not, by their (n,) `recording` and `group`, both numbered from 0."""
    group = np.zeros(right.shape[1], dtype=np.int64) if group is None else group
    shape = (n_recordings, int(group.max()) + 1)
    size = shape[0] * shape[1]
    cell = recording.astype(np.int64) * shape[1] + group
    counts = np.bincount(cell, minlength=size).reshape(shape).astype(np.float64)
    hits = np.stack([np.bincount(cell, weights=row, minlength=size).reshape(shape) for row in right]).astype(np.float64)
    return Tally(hits, counts)


def replicates(tallies: Sequence[Tally], n: int = REPLICATES, seed: int = 0) -> NDArray[np.float64]:
    """Accuracies of each tally in `n` bootstrap replicates, (len(tallies), n) float64.

    All tallies have the same numbers of seeds and recordings, and column i of each comes from the same draw. A group
    with nothing in a replicate is left out of its mean; NaN where no group has anything.
    """
    seeds, recordings = tallies[0].hits.shape[:2]
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2)]
    seed_weights = _draw(streams[1], n, seeds) / seeds
    rows = np.empty((len(tallies), n))
    step = max(1, _CHUNK_WEIGHTS // recordings)
    for start in range(0, n, step):
        weights = _draw(streams[0], min(step, n - start), recordings)
        chunk = slice(start, start + len(weights))
        for row, entry in zip(rows, tallies, strict=True):
            row[chunk] = (_accuracy(weights, entry) * seed_weights[chunk]).sum(axis=1)
    return rows


def interval(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """The limits between which the middle `level` of the replicates lie; NaN replicates do not count."""
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _draw(generator: np.random.Generator, n: int, size: int) -> NDArray[np.float64]:
    """How often each of `size` things is drawn in `size` draws with replacement, for `n` replicates, (n, size)."""
    drawn = generator.integers(size, size=(n, size)) + size * np.arange(n)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * size).reshape(n, size).astype(np.float64)


def _accuracy(weights: NDArray[np.float64], entry: Tally) -> NDArray[np.float64]:
    """Accuracy at each seed with each of the (k, recordings) weights, (k, seeds)."""
    seeds, recordings, groups = entry.hits.shape
    hits = weights @ entry.hits.transpose(1, 0, 2).reshape(recordings, seeds * groups)
    counts = (weights @ entry.counts)[:, None, :]
    filled = counts > 0
    with np.errstate(invalid="ignore"):
        shares = hits.reshape(-1, seeds, groups) / np.where(filled, counts, 1.0)
        return np.asarray(shares.sum(axis=2) / filled.sum(axis=2))
