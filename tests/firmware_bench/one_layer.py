"""An int8 graph of one op, and what LiteRT's reference kernels make of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph, Op, Quant, Tensor
from tinyscene.export.graph_check import output_shape


@st.composite
def quants(draw: st.DrawFn, low: float = 1e-3, high: float = 1.0) -> Quant:
    """Any int8 quantisation with a scale between two limits."""
    exponent = draw(st.floats(np.log2(low), np.log2(high)))
    return Quant(float(np.float32(2.0**exponent)), draw(st.sampled_from([-128, -127, -3, 0, 90, 127])))


def one_layer(
    kind: str,
    shapes: list[tuple[int, ...]],
    given: list[Quant],
    result: Quant,
    constants: Mapping[int, NDArray[np.int8]] | None = None,
    **values: Any,
) -> Graph:
    """The graph of one op that reads operands `a`, `b` .. and writes `y`; `constants` are operands by number."""
    names = tuple("abc"[: len(shapes)])
    op = Op(kind, names, "y", **values)
    held = constants or {}
    tensors = [Tensor(name, shapes[i], given[i], held.get(i)) for i, name in enumerate(names)]
    tensors.append(Tensor("y", output_shape(op, shapes), result))
    return Graph("one", tuple(tensors), (op,), names[0], "y").validate()


def reference(graph: Graph, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
    """The graph's output in LiteRT's reference kernels."""
    resolver = litert.OpResolverType.BUILTIN_REF
    runner = litert.Interpreter(
        model_content=write_tflite(graph), num_threads=1, experimental_op_resolver_type=resolver
    )
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], inputs)
    runner.invoke()
    return np.asarray(runner.get_tensor(runner.get_output_details()[0]["index"]))
