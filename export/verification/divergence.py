"""Where two runs of the same network part: the first tensor, the place in it, and both values.

Knows nothing of engines: whoever has an engine's activations by name can ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from .golden import channel_steps

#: Tensors in running order, each with what to call it.
Order = Sequence[tuple[str, str]]

#: Mean difference of a channel, in steps, up to which an engine that rounds otherwise may leave the reference kernels:
#: this much, and twice what rounding once instead of twice does to that tensor (`Golden.noise`). XNNPACK and ONNX
#: Runtime stay within once that; a tensor of one value a channel can be a step off by chance.
LAYER_STEPS = 1.5


@dataclass(frozen=True)
class Divergence:
    """The first tensor that differs, and a value of it in both runs; `text` says it in a line."""

    tensor: str
    place: tuple[int, ...]
    found: float | None  # None when the shapes differ
    expected: float | None
    text: str

    def __str__(self) -> str:
        return self.text


def fineness(dtype: np.dtype[Any]) -> int:
    """Steps of `dtype` that are one of int8 over the same range: tolerances are meant in those."""
    return 1 << 8 * (dtype.itemsize - 1)


def order_of(graph: Graph) -> list[tuple[str, str]]:
    """What the ops of a graph write, in running order."""
    return [(op.output, f"{op.output} ({op.kind})") for op in graph.ops]


def first_difference(name: str, expected: NDArray[Any], found: NDArray[Any]) -> Divergence | None:
    """The first of the values that differ at all; None when all are equal."""
    tensor = name.partition(" (")[0]
    if expected.shape != found.shape or expected.dtype != found.dtype:
        text = f"{name}: {found.dtype} {found.shape}, recorded {expected.dtype} {expected.shape}"
        return Divergence(tensor, (), None, None, text)
    wrong = np.argwhere(expected != found)
    if not len(wrong):
        return None
    place = tuple(int(index) for index in wrong[0])
    return Divergence(
        tensor,
        place,
        found[place].item(),
        expected[place].item(),
        f"{name} diverges first: {len(wrong):,} of {expected.size:,} values, "
        f"at {list(place)} {found[place].item()} instead of {expected[place].item()}",
    )


def compare_layers(
    order: Order, expected: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]
) -> Divergence | None:
    """The first layer, in running order, in which an engine's activations differ at all; None when none does."""
    for name, title in order:
        if name not in expected or name not in found:
            who = "recorded" if name not in expected else "given by the engine"
            return Divergence(name, (), None, None, f"{name} was not {who}")
        if difference := first_difference(title, expected[name], found[name]):
            return replace(difference, tensor=name)
    return None


def drifting_layer(
    order: Order,
    expected: Mapping[str, NDArray[Any]],
    found: Mapping[str, NDArray[Any]],
    noise: Mapping[str, float],
) -> Divergence | None:
    """The first layer, in running order, that an engine which rounds otherwise gives too far off; see `LAYER_STEPS`.

    Layers that the engine does not have (it may fold a PAD) are passed over.
    """
    for name, title in order:
        if name not in expected or name not in found:
            continue
        if expected[name].shape != found[name].shape:
            return first_difference(title, expected[name], found[name])
        steps = channel_steps(expected[name], found[name])
        limit = LAYER_STEPS * fineness(expected[name].dtype) + 2 * noise.get(name, 0.0)
        if steps > limit:
            apart = np.abs(expected[name].astype(np.int64) - found[name].astype(np.int64))
            place = tuple(int(i) for i in np.unravel_index(int(apart.argmax()), apart.shape))
            values = found[name][place].item(), expected[name][place].item()
            text = (
                f"{title} diverges first: a channel is {steps:.1f} steps off in the mean, at most "
                f"{limit:.1f} are rounding; at {list(place)} {values[0]} instead of {values[1]}"
            )
            return Divergence(name, place, *values, text)
    return None


def compare_logits(
    expected: NDArray[np.float32], found: NDArray[np.float32], tolerance: float, step: float = 0.0
) -> tuple[bool, str]:
    """Whether two sets of logits (clips, n_classes) agree: within `tolerance`, and in the answer wherever it is clear.

    An answer is clear when it leads by more than twice the tolerance. With `step` the line counts in steps.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        return False, f"logits are {found.shape} (or not finite), recorded {expected.shape}"
    worst = float(np.abs(expected - found).max())
    ranked = np.sort(expected, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 2 * tolerance
    flipped = int((clear & (expected.argmax(axis=1) != found.argmax(axis=1))).sum())
    same = int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
    size = f"{worst / step:.0f} steps of at most {tolerance / step:.0f}" if step else f"{worst:.1e} of {tolerance:.1e}"
    detail = f"logits differ by {size}, same answer for {same} of {len(expected)} clips"
    return bool(worst <= tolerance * (1 + 1e-6) and not flipped), detail
