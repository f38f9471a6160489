"""Which layers to give 16 bits: those around the activations whose rounding disturbs the logits most.

Quick on purpose, from float runs alone: each activation in turn is rounded and nothing else, and what that does to the
logits is its noise. `auto` widens the noisiest as long as the network needs no more activation memory than in int8,
which the largest layers decide and most others are far from; `auto:N` the N noisiest at any price. `tinyscene explain`
looks closer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...runtime.errors import InputError
from ..graph import Graph, Quant, quant_source
from .fake_quant import GraphNet, fake_quantize
from .quantize import Ranges, choose_quants
from .widen import Widened, layers_named, widen

AUTO = "auto"

#: Share of all noise that `auto` looks at, the rest is not worth slower layers.
SHARE = 0.95

#: Clips that are enough to rank activations.
MAX_CLIPS = 24

_WIDE = Quant(1.0, 0, 16)


@dataclass(frozen=True)
class ActivationNoise:
    """What rounding one activation to int8 adds to the logits: noise power over signal power, offsets left out."""

    name: str
    noise: float


def resolve_layers(
    graph: Graph, ranges: Ranges, log_mels: NDArray[np.float32], names: Sequence[str]
) -> tuple[str, ...]:
    """The layers of the float `graph` that `names` mean, `auto[:N]` looked up on `log_mels` (clips, n_mels, n_frames).

    Raises `InputError` for a name or a count that means nothing.
    """
    layers: set[str] = set()
    for name in names:
        if name != AUTO and not name.startswith(f"{AUTO}:"):
            layers |= layers_named(graph, [name])
            continue
        count = name.partition(":")[2]
        if name != AUTO and (not count.isdigit() or int(count) < 1):
            raise InputError(f"{name!r} asks for {count!r} activations in 16 bits, expected a number such as {AUTO}:4")
        noises = activation_noise(graph, ranges, log_mels)
        if count:
            layers |= layers_around(graph, [entry.name for entry in noises[: int(count)]])
        else:
            layers |= _without_more_memory(graph, noises)
    return tuple(op.name for op in graph.ops if op.name in layers)


def _without_more_memory(graph: Graph, noises: Sequence[ActivationNoise]) -> frozenset[str]:
    chosen: frozenset[str] = frozenset()
    limit, seen, total = graph.peak_activation_bytes(), 0.0, sum(entry.noise for entry in noises)
    for entry in noises:
        if seen > SHARE * total:
            break
        seen += entry.noise
        trial = chosen | layers_around(graph, [entry.name])
        if _peak_bytes(widen(graph, sorted(trial))) <= limit:
            chosen = trial
    return chosen


def _peak_bytes(widened: Widened) -> int:
    """Peak activation memory of a network that has no scales yet."""
    tensors = tuple(
        replace(tensor, quant=_WIDE) if tensor.name in widened.wide else tensor for tensor in widened.graph.tensors
    )
    return replace(widened.graph, tensors=tensors).peak_activation_bytes()


def activation_noise(graph: Graph, ranges: Ranges, log_mels: NDArray[np.float32]) -> list[ActivationNoise]:
    """Every inner activation of the float `graph` with a quantisation of its own, the loudest noise first."""
    net, source, quants = GraphNet(graph).eval(), quant_source(graph), choose_quants(graph, ranges)
    picked = np.unique(np.linspace(0, len(log_mels) - 1, min(len(log_mels), MAX_CLIPS)).astype(int))
    batch = torch.from_numpy(np.ascontiguousarray(log_mels[picked], np.float32))[:, None]
    names = [name for name in dict.fromkeys(source.values()) if name not in (graph.input, graph.output)]
    with torch.inference_mode():
        exact = _centred(net.run(batch))
        signal = float(exact.square().mean()) or 1.0
        found = []
        for name in names:

            def visit(tensor: str, value: Tensor, name: str = name) -> Tensor:
                return fake_quantize(value, quants[name]) if tensor == name else value

            noise = float((_centred(net.run(batch, visit)) - exact).square().mean())
            found.append(ActivationNoise(name, noise / signal))
    return sorted(found, key=lambda entry: -entry.noise)


def layers_around(graph: Graph, activations: Sequence[str]) -> frozenset[str]:
    """The ops that write or read one of `activations`, or a copy of it that a PAD or a pool makes."""
    source: Mapping[str, str] = quant_source(graph)
    wanted = set(activations)
    return frozenset(
        op.name
        for op in graph.ops
        if source[op.output] in wanted or any(source.get(name) in wanted for name in op.inputs)
    )


def _centred(logits: Tensor) -> Tensor:
    """Without the mean over classes, which changes no answer."""
    return (logits - logits.mean(dim=1, keepdim=True)).double()
