"""Puts a float graph together op by op."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graph import Graph, Op, Tensor
from .graph_check import output_shape


class GraphBuilder:
    """Appends ops one after another and works out each output's shape."""

    def __init__(self, name: str, input_name: str, shape: tuple[int, ...]) -> None:
        self.name, self.input = name, input_name
        self._tensors = {input_name: Tensor(input_name, shape)}
        self._ops: list[Op] = []

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor added so far."""
        return self._tensors[name].shape

    def constant(self, name: str, data: NDArray[np.float32]) -> str:
        """Add a constant operand and return its name."""
        self._tensors[name] = Tensor(name, data.shape, data=data)
        return name

    def add(self, kind: str, output: str, *inputs: str, **values: Any) -> str:
        """Append an op and return its output's name."""
        op = Op(kind, inputs, output, **values)
        shape = output_shape(op, [self._tensors[name].shape for name in inputs])
        self._tensors[output] = Tensor(output, shape)
        self._ops.append(op)
        return output

    def build(self) -> Graph:
        """The graph whose output is the last op's, checked."""
        ops = tuple(self._ops)
        return Graph(self.name, tuple(self._tensors.values()), ops, self.input, ops[-1].output).validate()
