"""Mixed precision: chosen layers compute in 16 bits, with a QUANTIZE op at each border to the int8 rest.

A layer in 16 bits reads and writes int16 (zero point 0) with int8 weights and int64 biases, TFLite's "int16x8". Between
two such layers an activation is never rounded to 8 bits, which is what helps where int8 is too coarse; a single one
between int8 layers gains nothing, because its result is rounded at the border. The network's own input and output stay
int8. In the float graph the borders are there as well, as identities, so that both have the same tensors.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...runtime.errors import InputError
from ..graph import Graph, Op, Tensor

#: Stands for every layer.
ALL = "all"


@dataclass(frozen=True, eq=False)
class Widened:
    """A float `graph` with its borders, and the names of the tensors to hold in 16 bits."""

    graph: Graph
    wide: frozenset[str]


def parse_layers(text: str) -> tuple[str, ...]:
    """Layers from a list with commas: names, prefixes, `all`, `auto` or `auto:N`; empty text names none."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def layers_named(graph: Graph, names: Sequence[str]) -> frozenset[str]:
    """The ops of `graph` that `names` mean: an op, every op below a prefix as in `blocks.3`, or `all`.

    Raises `InputError` for a name that means none, with the nearest one that does.
    """
    found: set[str] = set()
    ops = [op.name for op in graph.ops]
    known = sorted({".".join(parts[: n + 1]) for parts in (op.split(".") for op in ops) for n in range(len(parts))})
    for name in names:
        meant = {op for op in ops if name in (ALL, op) or op.startswith(f"{name}.")}
        if not meant:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise InputError(f"no layer {name!r} in the network: did you mean {near[0]!r}? or {ALL!r} for every layer")
        found |= meant
    return frozenset(found)


def widen(graph: Graph, layers: Sequence[str]) -> Widened:
    """The float `graph` with borders around `layers` (names as in `layers_named`) and what is wide between them.

    A tensor T that a border carries over is called T/as16 or T/as8. Raises `InputError` for an unknown layer.
    """
    return _Borders(graph, layers_named(graph, layers)).result()


class _Borders:
    """The ops written so far, and under which name each activation is at hand in 8 and in 16 bits."""

    def __init__(self, graph: Graph, layers: frozenset[str]) -> None:
        self.graph, self.layers = graph, layers
        self.ops: list[Op] = []
        self.added: list[Tensor] = []
        self.wide: set[str] = set()
        self.held: dict[tuple[str, int], str] = {(graph.input, 8): graph.input}
        # A constant that only wide layers read is wide itself; one that both read gets a twin.
        narrow = {name for op in graph.ops if op.name not in layers for name in op.inputs}
        for tensor in graph.tensors:
            if tensor.data is not None:
                self.held[tensor.name, 8 if tensor.name in narrow else 16] = tensor.name

    def result(self) -> Widened:
        for op in self.graph.ops:
            self._add(op)
        self.wide |= {name for (name, bits), stored in self.held.items() if bits == 16 and name == stored}
        graph = Graph(
            self.graph.name, (*self.graph.tensors, *self.added), tuple(self.ops), self.graph.input, self.graph.output
        )
        return Widened(graph.validate(), frozenset(self.wide))

    def _add(self, op: Op) -> None:
        bits = 16 if op.name in self.layers else 8
        inputs = tuple(self._at(name, bits) for name in op.inputs)
        if bits == 8 or op.output != self.graph.output:
            self.held[op.output, bits] = op.output
            self.ops.append(replace(op, inputs=inputs))
            return
        # The logits leave the network in 8 bits under their own name.
        stored = self._twin(op.output, bits)
        self.ops.append(replace(op, inputs=inputs, output=stored))
        self.ops.append(Op("QUANTIZE", (stored,), op.output))
        self.held[op.output, 8] = op.output

    def _at(self, name: str, bits: int) -> str:
        """The tensor that holds `name` in `bits`, carried over a new border when there is none yet."""
        if (name, bits) not in self.held:
            stored = self._twin(name, bits)
            if self.graph.tensor[name].data is None:
                self.ops.append(Op("QUANTIZE", (self.held[name, 24 - bits],), stored))
        return self.held[name, bits]

    def _twin(self, name: str, bits: int) -> str:
        stored = f"{name}/as{bits}"
        self.added.append(replace(self.graph.tensor[name], name=stored))
        self.held[name, bits] = stored
        if bits == 16:
            self.wide.add(stored)
        return stored
