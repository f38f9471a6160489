"""Every activation of a graph on one clip, computed in torch: what `golden` records beside the engines' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..graph import Graph
from ..quantization.fake_quant import GraphNet, fake_quantize

#: Activations by name, (1, freq, time, channels) or (1, channels), for log-mels (1, n_mels, n_frames).
Trace = Callable[[NDArray[np.float32]], dict[str, NDArray[Any]]]


def float_trace(graph: Graph) -> Trace:
    """The activations of a float graph, float32."""
    net = GraphNet(graph).eval()
    return lambda log_mel: _run(net, log_mel, lambda name, value: value)


def rounded_trace(graph: Graph) -> Trace:
    """The activations of an int8 graph in float arithmetic, each rounded once: the integers, as float32."""
    net = GraphNet.from_int8(graph)
    quants = {tensor.name: tensor.quant for tensor in graph.tensors if tensor.quant is not None}

    def trace(log_mel: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        values = _run(net, log_mel, lambda name, value: fake_quantize(value, quants[name]))
        return {
            name: np.rint(v / np.float32(quants[name].scale)) + quants[name].zero_point for name, v in values.items()
        }

    return trace


def _run(
    net: GraphNet, log_mel: NDArray[np.float32], change: Callable[[str, torch.Tensor], torch.Tensor]
) -> dict[str, NDArray[Any]]:
    values: dict[str, NDArray[Any]] = {}

    def visit(name: str, value: torch.Tensor) -> torch.Tensor:
        changed = change(name, value)
        values[name] = (changed.movedim(1, -1) if changed.ndim == 4 else changed).numpy().copy()
        return changed

    with torch.no_grad():
        net.run(torch.from_numpy(log_mel)[:, None], visit)
    return values
