"""Channel equalisation: the same float network with its channels at levels that eight bits serve well.

A per-tensor scale is set by the loudest channel; quiet channels are left with few steps. ReLU commutes with positive
factors, so a convolution may give channel c divided by s[c] when every reader multiplies it back: into its weights
(which are quantised per *output* channel), through the squares and roots of a global response, or along a residual
path. Nothing is added to the device's work. The idea is cross-layer equalisation (Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction", arXiv 1906.04721), here with measured instead of data-free ranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ..graph import Graph, Op, Tensor

Scale = NDArray[np.float64]

_TIED = ("PAD", "AVERAGE_POOL_2D", "MEAN", "ADD")


def groups(graph: Graph) -> dict[str, str]:
    """For each activation, the first tensor of the group that must share one scale per channel."""
    first = {graph.input: graph.input}

    def merge(a: str, b: str) -> None:
        old, new = first[b], first[a]
        for name, value in first.items():
            if value == old:
                first[name] = new

    for op in graph.ops:
        first[op.output] = op.output
        if op.kind in _TIED:
            for name in op.inputs:
                if name in first:  # constants have no group
                    merge(name, op.output)
    return first


def rescale(graph: Graph, scales: Mapping[str, Scale]) -> Graph:
    """The same function with each group's activations stored as value / scale, `scales` by the group's first tensor.

    Groups that begin at an op with neither weights nor a gain to absorb the factor follow from their inputs; those of
    the graph's input and output keep scale 1. Raises `InputError` when two ends of a sum would need different scales.
    """
    first = groups(graph)
    fixed = {first[graph.input], first[graph.output]}
    gains = _gains(graph)
    current: dict[str, Scale] = {graph.input: np.ones(graph.tensor[graph.input].shape[-1])}
    constants: dict[str, Tensor] = {t.name: t for t in graph.tensors if t.data is not None}
    ops = []

    def wanted(name: str) -> Scale:
        width = graph.tensor[name].shape[-1]
        return np.ones(width) if first[name] in fixed else np.asarray(scales.get(first[name], np.ones(width)))

    for op in graph.ops:
        inputs = [current[name] for name in op.inputs if name in current]
        if op.weight is not None:
            out = wanted(op.output)
            if op.output in gains:
                product = gains[op.output]
                out = wanted(product.output) / current[product.inputs[0]]
            ops.append(_absorb(op, inputs[0], out))
        else:
            ops.append(op)
            out = _through(op, inputs)
            if op.kind == "ADD" and len(inputs) == 1:
                constants[op.inputs[1]] = _divide(constants[op.inputs[1]], out)
        current[op.output] = out
    tensors = tuple(constants.get(t.name, t) for t in graph.tensors)
    return Graph(graph.name, tensors, tuple(ops), graph.input, graph.output).validate()


#: How far a dense convolution's input is equalised. 0 leaves quiet channels few steps, 1 leaves the weights few; on
#: real clips the published network's logits were closest to float at a quarter.
STRENGTH = 0.25


def equalize(graph: Graph, levels: Mapping[str, Scale], strength: float = STRENGTH) -> Graph:
    """`rescale` with scales from the measured `levels` of each activation's channels (one positive number a channel).

    Where only per-channel weights and products read a group, channels come to one level. A dense convolution trades
    the steps of its input against those of its weights: there the scale is level**strength.
    """
    first = groups(graph)
    members: dict[str, list[str]] = {}
    for name, group in first.items():
        members.setdefault(group, []).append(name)
    dense = {first[op.inputs[0]] for op in graph.ops if op.kind == "CONV_2D"}
    scales = {}
    for group, names in members.items():
        level = np.max([levels[name] for name in names if name in levels], axis=0)
        # A dead channel must not get enormous weights.
        level = np.maximum(level, 1e-3 * level.max()) if level.max() > 0 else np.ones(len(level))
        level = level / np.exp(np.log(level).mean())
        scales[group] = level ** (strength if group in dense else 1.0)
    return rescale(graph, scales)


def _gains(graph: Graph) -> dict[str, Op]:
    """Depthwise outputs that only multiply one activation, by name, with the MUL that reads them."""
    readers: dict[str, list[Op]] = {}
    for op in graph.ops:
        for name in op.inputs:
            readers.setdefault(name, []).append(op)
    return {
        op.output: readers[op.output][0]
        for op in graph.ops
        if op.kind == "DEPTHWISE_CONV_2D"
        and len(readers.get(op.output, [])) == 1
        and readers[op.output][0].kind == "MUL"
        and readers[op.output][0].inputs[1] == op.output
    }


def _through(op: Op, inputs: list[Scale]) -> Scale:
    if op.kind == "MUL" and len(inputs) == 2:
        return inputs[0] * inputs[1]
    if op.kind == "RSQRT":
        return inputs[0] ** -0.5
    if len(inputs) == 2 and not np.allclose(inputs[0], inputs[1], rtol=1e-9):
        raise InputError(f"{op.name}: both sides of a sum must be stored at one scale")
    return inputs[0]


def _absorb(op: Op, before: Scale, after: Scale) -> Op:
    assert op.weight is not None
    assert op.bias is not None
    factor = before / after if op.kind == "DEPTHWISE_CONV_2D" else before / after[:, None, None, None]
    return replace(op, weight=(op.weight * factor).astype(np.float32), bias=(op.bias / after).astype(np.float32))


def _divide(tensor: Tensor, scale: Scale) -> Tensor:
    assert tensor.data is not None
    if np.all(scale == 1.0):
        return tensor
    data = (tensor.data / scale[None, None, None]).astype(np.float32)
    return Tensor(tensor.name, data.shape, data=data)
