"""Hypothesis strategy for int8 graphs that are awkward to plan: branches, odd sizes, all paddings, late rereads."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyscene.export.graph import Graph
from tinyscene.export.graph_builder import GraphBuilder
from tinyscene.export.quantization.quantize import quantize

CLAMPS: tuple[dict[str, Any], ...] = ({}, {"relu": True}, {"relu": True, "ceiling": 6.0})

KINDS = (
    "CONV_2D",
    "POINTWISE",
    "DEPTHWISE_CONV_2D",
    "DEPTHWISE3",
    "PAD",
    "PADDED",
    "POOL",
    "JOIN",
    "BROADCAST",
    "RESIDUAL",
    "GRN",
    "MEAN",
    "QUANTIZE",
    "RESHAPE",
)


@st.composite
def planned_graphs(draw: st.DrawFn) -> Graph:
    """Up to seven steps from KINDS on a small input, then any of the usual ends."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (1, draw(st.integers(3, 12)), draw(st.integers(1, 9)), draw(st.sampled_from([1, 1, 2, 5])))
    builder = _Net(draw, rng, "net", "in", shape)
    x, seen = "in", []
    for index in range(draw(st.integers(1, 7))):
        seen.append(x)
        x = builder.step(f"op.{index}", x, seen)
    builder.end(x)
    graph = builder.build()
    limit = st.floats(0.01, 100)
    ranges = {tensor.name: (-draw(limit), draw(limit)) for tensor in graph.tensors}
    for op in graph.ops:
        if op.kind == "RSQRT":
            ranges[op.inputs[0]] = (0.0, draw(limit))
    return quantize(graph, ranges)


class _Net(GraphBuilder):
    """A graph under construction that draws its own options."""

    def __init__(self, draw: st.DrawFn, rng: np.random.Generator, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.draw, self.rng = draw, rng

    def normal(self, *shape: int) -> NDArray[np.float32]:
        return self.rng.normal(size=shape).astype(np.float32)

    def options(self) -> dict[str, Any]:
        stride = (self.draw(st.integers(1, 3)), self.draw(st.integers(1, 3)))
        padding = self.draw(st.sampled_from(["SAME", "VALID"]))
        return {"stride": stride, "padding": padding, **self.draw(st.sampled_from(CLAMPS))}

    def kernel(self, x: str) -> tuple[int, int]:
        _, height, width, _ = self.shape(x)
        return self.draw(st.integers(1, min(5, height))), self.draw(st.integers(1, min(5, width)))

    def conv(self, name: str, x: str, kernel: tuple[int, int], **options: Any) -> str:
        outputs = self.draw(st.sampled_from([1, 3, 4, 7, 8]))
        weight = self.normal(outputs, *kernel, self.shape(x)[3])
        return self.add("CONV_2D", name, x, weight=weight, bias=self.normal(outputs), **options)

    def depthwise(self, name: str, x: str, kernel: tuple[int, int], multiplier: int, **options: Any) -> str:
        outputs = self.shape(x)[3] * multiplier
        values = {"weight": self.normal(1, *kernel, outputs), "bias": self.normal(outputs), **options}
        return self.add("DEPTHWISE_CONV_2D", name, x, **values)

    def pad(self, name: str, x: str) -> str:
        amounts = [self.draw(st.integers(0, 2)) for _ in range(4)]
        return self.add("PAD", name, x, pads=((amounts[0], amounts[1]), (amounts[2], amounts[3])))

    def pool(self, name: str, x: str) -> str:
        kind = self.draw(st.sampled_from(["MAX_POOL_2D", "AVERAGE_POOL_2D"]))
        window = self.shape(x)[1:3] if self.draw(st.booleans()) else self.kernel(x)
        return self.add(kind, name, x, window=tuple(window), **self.options())

    def step(self, name: str, x: str, seen: list[str]) -> str:
        """Append something to `x`, perhaps with one of the tensors `seen`."""
        _, height, width, channels = self.shape(x)
        kind = self.draw(st.sampled_from(KINDS))
        if kind == "DEPTHWISE3" and min(height, width) < 3:
            kind = "PADDED"
        if kind == "CONV_2D":
            return self.conv(name, x, self.kernel(x), **self.options())
        if kind == "POINTWISE":
            return self.conv(name, x, (1, 1), stride=(self.draw(st.integers(1, 2)), 1))
        if kind == "DEPTHWISE_CONV_2D":
            return self.depthwise(name, x, self.kernel(x), self.draw(st.integers(1, 3)), **self.options())
        if kind == "DEPTHWISE3":
            return self.depthwise(name, x, (3, 3), 1, **self.options())
        if kind == "PAD":
            return self.pad(name, x)
        if kind == "PADDED":  # a PAD that its reader takes in
            padded = self.pad(f"{name}.pad", x)
            if self.draw(st.booleans()):
                return self.pool(name, padded)
            return self.conv(name, padded, self.kernel(padded), **self.options())
        if kind == "POOL":
            return self.pool(name, x)
        if kind == "JOIN":
            same = [other for other in (*seen, x) if self.shape(other) == self.shape(x)]
            op = self.draw(st.sampled_from(["ADD", "MUL"]))
            return self.add(op, name, x, self.draw(st.sampled_from(same)), relu=self.draw(st.booleans()))
        if kind == "BROADCAST":
            sizes = [size if self.draw(st.booleans()) else 1 for size in (height, width, channels)]
            other = self.constant(f"{name}.constant", self.normal(1, *sizes))
            pair = self.draw(st.permutations([x, other])) if 1 not in sizes else [x, other]
            return self.add(self.draw(st.sampled_from(["ADD", "MUL"])), name, *pair)
        if kind == "RESIDUAL":
            hidden = self.conv(f"{name}.expand", x, (1, 1), relu=True)
            hidden = self.depthwise(f"{name}.depthwise", hidden, (min(3, height), min(3, width)), 1, padding="SAME")
            weight = self.normal(channels, 1, 1, self.shape(hidden)[3])
            hidden = self.add("CONV_2D", f"{name}.project", hidden, weight=weight, bias=self.normal(channels))
            return self.add("ADD", name, hidden, x, relu=True)
        if kind == "GRN":  # a gain from the channels' energies: x is read again after all of it was
            square = self.add("MUL", f"{name}.square", x, x)
            energy = self.add("MEAN", f"{name}.energy", square, axes=self.draw(st.sampled_from([(1, 2), (2,), (1, 3)])))
            return self.add("MUL", name, x, self.add("RSQRT", f"{name}.inverse", energy))
        if kind == "MEAN":
            axes = self.draw(st.sampled_from([(1,), (2,), (3,), (1, 2), (2, 3), (1, 2, 3)]))
            return self.add("MEAN", name, x, axes=axes)
        if kind == "QUANTIZE":
            return self.add("QUANTIZE", name, x, **self.draw(st.sampled_from(CLAMPS)))
        return self.add("RESHAPE", name, x, shape=(1, *self.draw(st.permutations([height, width, channels]))))

    def end(self, x: str) -> None:
        """Class means, a flattening, or means that drop any axis; then dense layers and shares, or none."""
        kind = self.draw(st.sampled_from(["MEAN", "FLAT", "AXES", "AS_IT_IS"]))
        if kind == "AS_IT_IS":
            self.add("QUANTIZE", "out", x)
            return
        if kind == "MEAN":
            x = self.add("MEAN", "means", x, axes=(1, 2), keep_dims=False)
        elif kind == "AXES":
            axes = self.draw(st.sampled_from([(1,), (2,), (3,), (1, 3), (2, 3)]))
            x = self.add("MEAN", "means", x, axes=axes, keep_dims=False)
        else:
            x = self.add("RESHAPE", "flat", x, shape=(1, int(np.prod(self.shape(x)))))
        if self.draw(st.booleans()):
            outputs, inputs = self.draw(st.integers(1, 5)), int(np.prod(self.shape(x)[1:]))
            weight = self.normal(outputs, inputs)
            x = self.add("FULLY_CONNECTED", "dense", x, weight=weight, bias=self.normal(outputs), relu=True)
        if self.draw(st.booleans()):
            self.add("SOFTMAX", "shares", x)
