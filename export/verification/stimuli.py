"""Inputs that look for trouble: what a network never hears, but has to compute the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Quant

SEED = 0

Draw = Callable[[np.random.Generator, tuple[int, ...], int, int], NDArray[Any]]


def stimuli(shape: tuple[int, ...], quant: Quant, count: int, seed: int = SEED) -> NDArray[Any]:
    """`count` inputs (count, *shape) in the integers of `quant`, the same ones for the same `seed`.

    Constants come first (the lowest and highest integer, the zero point and its neighbours, zero), then in turns:
    uniform noise, extremes alone, noise of few steps around the zero point, blocks, stripes, single impulses, ramps,
    and halves of opposite extremes.
    """
    low, high = quant.limits
    rng = np.random.default_rng(seed)
    zero = quant.zero_point
    constants = dict.fromkeys([low, high, zero, min(zero + 1, high), max(zero - 1, low), 0, low + 1, high - 1])
    values = [np.full(shape, constant) for constant in constants][:count]
    while len(values) < count:
        draw = _KINDS[len(values) % len(_KINDS)]
        values.append(np.clip(draw(rng, shape, low, high) + (zero if draw is _quiet else 0), low, high))
    return np.stack(values).astype(quant.dtype)


def _axis(rng: np.random.Generator, shape: tuple[int, ...]) -> int:
    """An axis along which there is something to vary."""
    return int(rng.choice([axis for axis, size in enumerate(shape) if size > 1] or [0]))


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> NDArray[Any]:
    return rng.integers(low, high + 1, shape)


def _extremes(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> NDArray[Any]:
    return np.where(rng.random(shape) < rng.random(), low, high)


def _quiet(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> NDArray[Any]:
    return rng.integers(-2, 3, shape)


def _blocks(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> NDArray[Any]:
    coarse = rng.integers(low, high + 1, [-(-size // 8) for size in shape[:2]] + list(shape[2:]))
    return (
        coarse.repeat(8, 0)[: shape[0]] if len(shape) < 2 else coarse.repeat(8, 0).repeat(8, 1)[: shape[0], : shape[1]]
    )


def _stripes(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> NDArray[Any]:
    axis = _axis(rng, shape)
    first, second = (low, high) if rng.random() < 0.3 else rng.integers(low, high + 1, 2).tolist()
    line = np.where(np.arange(shape[axis]) // int(rng.integers(1, 9)) % 2, first, second)
    return np.broadcast_to(line.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape)


def _impulse(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> NDArray[Any]:
    values = np.full(shape, low)
    values[tuple(int(rng.integers(size)) for size in shape)] = high
    return values


def _ramp(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> NDArray[Any]:
    axis = _axis(rng, shape)
    first, last = rng.integers(low, high + 1, 2).tolist()
    line = np.linspace(first, last, shape[axis]).round().astype(int)
    return np.broadcast_to(line.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape)


def _halves(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> NDArray[Any]:
    axis = _axis(rng, shape)
    first, second = (low, high) if rng.random() < 0.3 else rng.integers(low, high + 1, 2).tolist()
    line = np.where(np.arange(shape[axis]) < int(rng.integers(shape[axis] + 1)), first, second)
    return np.broadcast_to(line.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape)


_KINDS: tuple[Draw, ...] = (_uniform, _extremes, _quiet, _blocks, _stripes, _impulse, _ramp, _halves)
