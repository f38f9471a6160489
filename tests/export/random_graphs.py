"""Hypothesis strategy for small int8 graphs that use every op with every option the graph knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinyscene.export.graph import Graph, Op
from tinyscene.export.graph_builder import GraphBuilder
from tinyscene.export.quantization.quantize import quantize
from tinyscene.export.quantization.widen import widen

CLAMPS: tuple[dict[str, Any], ...] = ({}, {"relu": True}, {"relu": True, "ceiling": 6.0})


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
def foreign_graphs(draw: st.DrawFn) -> Graph:
    """A chain with the ops and options that only other converters write, before two dense layers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    builder = GraphBuilder("net", "in", (1, draw(st.integers(5, 9)), 8, 1))
    x = _convolution(draw, rng, builder, "stem", "in", "CONV_2D")
    for index in range(draw(st.integers(1, 4))):
        x = _append_foreign(draw, rng, builder, f"op.{index}", x)
    if draw(st.booleans()):
        shape = builder.shape(x)
        x = builder.add("RESHAPE", "flat", x, shape=(1, int(np.prod(shape))))
    x = _dense(draw, rng, builder, "hidden", x)
    x = _dense(draw, rng, builder, "logits", x)
    if draw(st.booleans()):
        builder.add("SOFTMAX", "shares", x)
    return builder.build()


@st.composite
def int8_graphs(draw: st.DrawFn, foreign: bool = False) -> Graph:
    """A float graph quantised with arbitrary ranges."""
    graph = draw(foreign_graphs() if foreign else float_graphs())
    limit = st.floats(0.01, 100)
    ranges = {tensor.name: (-draw(limit), draw(limit)) for tensor in graph.tensors}
    for op in graph.ops:
        if op.kind == "RSQRT":
            ranges[op.inputs[0]] = (0.0, draw(limit))
    return quantize(graph, ranges)


@st.composite
def mixed_graphs(draw: st.DrawFn) -> Graph:
    """A float graph quantised with any of its layers in 16 bits."""
    graph = draw(float_graphs())
    layers = draw(st.lists(st.sampled_from([op.name for op in graph.ops]), min_size=1, max_size=6))
    widened = widen(graph, layers)
    limit = st.floats(0.01, 100)
    ranges = {tensor.name: (-draw(limit), draw(limit)) for tensor in widened.graph.tensors}
    for op in widened.graph.ops:
        if op.kind == "RSQRT":
            ranges[op.inputs[0]] = (0.0, draw(limit))
    return quantize(widened.graph, ranges, widened.wide)


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


def _append_foreign(draw: st.DrawFn, rng: np.random.Generator, builder: GraphBuilder, name: str, x: str) -> str:
    _, height, width, channels = builder.shape(x)
    clamp = draw(st.sampled_from(CLAMPS))
    kind = draw(st.sampled_from(["MAX_POOL_2D", "AVERAGE_POOL_2D", "DEPTHWISE_CONV_2D", "QUANTIZE", "ADD", "RESHAPE"]))
    if kind.endswith("POOL_2D"):
        window = (min(height, draw(st.integers(1, 3))), min(width, draw(st.integers(1, 3))))
        stride, padding = (draw(st.integers(1, 2)), 1), draw(st.sampled_from(["SAME", "VALID"]))
        return builder.add(kind, name, x, window=window, stride=stride, padding=padding, **clamp)
    if kind == "DEPTHWISE_CONV_2D":
        outputs = channels * draw(st.integers(1, 3))
        weight, bias = rng.normal(size=(1, 2, 1, outputs)), rng.normal(size=outputs)
        values = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32), "padding": "SAME", **clamp}
        return builder.add(kind, name, x, **values)
    if kind == "QUANTIZE":
        return builder.add(kind, name, x, **clamp)
    if kind == "RESHAPE":
        return builder.add(kind, name, x, shape=(1, width, height, channels))
    return builder.add(kind, name, x, x, **clamp)


def _dense(draw: st.DrawFn, rng: np.random.Generator, builder: GraphBuilder, name: str, x: str) -> str:
    outputs, inputs = draw(st.integers(2, 5)), int(np.prod(builder.shape(x)))
    weight, bias = rng.normal(size=(outputs, inputs)) / np.sqrt(inputs), rng.normal(size=outputs)
    clamp = draw(st.sampled_from(CLAMPS))
    return builder.add(
        "FULLY_CONNECTED", name, x, weight=weight.astype(np.float32), bias=bias.astype(np.float32), **clamp
    )


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
