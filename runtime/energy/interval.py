"""How sure a figure is that was made of few blocks: the bootstrap, widened for their number.

The plain percentile interval is too narrow for few samples, by sqrt((n - 1) / n) in scale and by having normal instead
of Student's t tails. Taking the percentiles further out puts both right: half the error rate is
Phi(-sqrt(n / (n - 1)) * t(1 - alpha / 2, n - 1)). Source: T. Hesterberg, "What Teachers Should Know About the
Bootstrap", The American Statistician 69 (2015): the expanded percentile interval. Resamples of fewer than six groups do
not reach that far out; for those the interval is Student's, with the jackknife's standard error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000

#: Fewer groups give no interval, and fewer than `FEWEST_TO_RESAMPLE` one without resampling.
FEWEST, FEWEST_TO_RESAMPLE = 3, 6


def bootstrap(
    sums: NDArray[np.float64],
    figures: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends (k,) of the interval of each of k figures.

    sums: (n, m), what each of n independent groups adds to m sums; figures: (..., m) sums to (..., k) figures. NaN for
    fewer than `FEWEST` groups. The same seed gives the same ends.
    """
    n = len(sums)
    if n < FEWEST:
        unknown = np.full(figures(sums.sum(axis=0)).shape, np.nan)
        return unknown, unknown
    if n < FEWEST_TO_RESAMPLE:
        without = figures(sums.sum(axis=0) - sums)  # (n, k), each leaves one group out
        error = np.sqrt((n - 1) / n * np.square(without - without.mean(axis=0)).sum(axis=0))
        reach = student_t_quantile((1 + confidence) / 2, n - 1) * error
        value = figures(sums.sum(axis=0))
        return value - reach, value + reach
    picks = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)  # (RESAMPLES, n)
    values = figures(picks @ sums)
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * student_t_quantile((1 + confidence) / 2, n - 1))
    return np.quantile(values, tail, axis=0), np.quantile(values, 1 - tail, axis=0)


def student_t_cdf(t: float, degrees: int) -> float:
    """Distribution function of Student's t for a whole number of degrees of freedom.

    The closed forms 26.7.3 and 26.7.4 of Abramowitz and Stegun: finite sums in the angle atan(t / sqrt(degrees)).
    """
    angle = math.atan2(t, math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(1 if odd else 0, degrees - 1, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return (1 + inside) / 2


def student_t_quantile(p: float, degrees: int) -> float:
    """The t that `student_t_cdf` puts at `p`, found by halving; p in (0.5, 1)."""
    low, high = 0.0, 1.0
    while student_t_cdf(high, degrees) < p:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_t_cdf(middle, degrees) < p else (low, middle)
    return (low + high) / 2
