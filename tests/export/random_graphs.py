"""Hypothesis strategy for small int8 graphs that use every op with every option the graph knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tinyscene.export.graph import Graph, Op
from tinyscene.export.graph_builder import GraphBuilder
from tinyscene.export.quantize import quantize


@st.composite
def float_graphs(draw: st.DrawFn) -> Graph:
    """A chain of ops on a small input, ending in class means."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    builder = GraphBuilder(draw(st.sampled_from(["net", "größe", "a b"])), "in", (1, draw(st.integers(4, 9)), 8, 1))
    x = "in"
    for index in range(draw(st.integers(1, 6))):
        x = _append(draw, rng, builder, f"op.{index}", x)
    x = _convolution(draw, rng, builder, "head", x, "CONV_2D")
    builder.add("MEAN", "out", x, axes=(1, 2), keep_dims=False)
    return builder.build()


@st.composite
def int8_graphs(draw: st.DrawFn) -> Graph:
    """A float graph quantised with arbitrary ranges."""
    graph = draw(float_graphs())
    limit = st.floats(0.01, 100)
    ranges = {tensor.name: (-draw(limit), draw(limit)) for tensor in graph.tensors}
    for op in graph.ops:
        if op.kind == "RSQRT":
            ranges[op.inputs[0]] = (0.0, draw(limit))
    return quantize(graph, ranges)


def _append(draw: st.DrawFn, rng: np.random.Generator, builder: GraphBuilder, name: str, x: str) -> str:
    _, height, width, channels = builder.shape(x)
    kind = draw(st.sampled_from(["CONV_2D", "DEPTHWISE_CONV_2D", "PAD", "ADD", "MUL", "POOL", "GAIN"]))
    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return _convolution(draw, rng, builder, name, x, kind)
    if kind == "PAD":
        amount = st.integers(0, 2)
        pads = ((draw(amount), draw(amount)), (draw(amount), draw(amount)))
        return builder.add("PAD", name, x, pads=pads)
    if kind == "POOL":
        window = (min(height, 3), min(width, 2))
        return builder.add("AVERAGE_POOL_2D", name, x, window=window, stride=(draw(st.integers(1, 2)), 1))
    if kind == "GAIN":  # a gain from the channels' energies
        square = builder.add("MUL", f"{name}.square", x, x)
        energy = builder.add("MEAN", f"{name}.energy", square, axes=(1, 2))
        return builder.add("MUL", name, x, builder.add("RSQRT", f"{name}.inverse", energy))
    other = x
    if draw(st.booleans()):
        values = rng.normal(size=(1, 1, 1, channels)).astype(np.float32)
        other = builder.constant(f"{name}.constant", values)
    return builder.add(kind, name, x, other, relu=draw(st.booleans()))


def _convolution(draw: st.DrawFn, rng: np.random.Generator, builder: GraphBuilder, name: str, x: str, kind: str) -> str:
    _, height, width, channels = builder.shape(x)
    kernel = (draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width))))
    outputs = draw(st.integers(1, 5)) if kind == "CONV_2D" else channels
    shape = (outputs, *kernel, channels) if kind == "CONV_2D" else (1, *kernel, channels)
    return builder.add(
        kind,
        name,
        x,
        weight=rng.normal(size=shape).astype(np.float32),
        bias=rng.normal(size=outputs).astype(np.float32),
        stride=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        padding=draw(st.sampled_from(["SAME", "VALID"])),
        relu=draw(st.booleans()),
    )


def with_op(graph: Graph, index: int, **changes: object) -> Graph:
    """The graph with fields of one op replaced."""
    ops: list[Op] = list(graph.ops)
    ops[index] = replace(ops[index], **changes)  # type: ignore[arg-type]
    return Graph(graph.name, graph.tensors, tuple(ops), graph.input, graph.output)
