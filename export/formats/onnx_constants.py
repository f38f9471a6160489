"""The constants of a QDQ model against those of the graph that it should hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError, require
from ..graph import Graph
from ..verification.divergence import Divergence
from .onnx_writer import write_onnx


def compare_constants(graph: Graph, model: bytes) -> tuple[int, Divergence | None]:
    """How many constants `graph` needs, and the first that differs in the ONNX `model`, in the order they are used.

    Raises `InputError` when the model cannot be parsed, `UnavailableError` without the package onnx.
    """
    expected, found = _constants(write_onnx(graph)), _constants(model)
    order = {name: place for place, tensor in enumerate(_order(graph)) for name in [tensor]}

    def place(name: str) -> int:
        return order.get(name.rpartition("/")[0].removesuffix("/weight").removesuffix("/bias"), -1)

    for name in sorted(expected, key=place):
        if difference := _difference(name, expected[name], found.get(name)):
            return len(expected), difference
    return len(expected), None


def _order(graph: Graph) -> list[str]:
    constants = [tensor.name for tensor in graph.tensors if tensor.data is not None]
    return [graph.input, *constants, *(op.output for op in graph.ops)]


def _difference(name: str, expected: NDArray[Any], found: NDArray[Any] | None) -> Divergence | None:
    tensor = name.rpartition("/")[0].removesuffix("/weight").removesuffix("/bias")
    if found is None or found.shape != expected.shape or found.dtype != expected.dtype:
        have = "missing" if found is None else f"{found.dtype} {found.shape}"
        return Divergence(
            tensor, (), None, None, f"{name} is {have}, model.tflite has {expected.dtype} {expected.shape}"
        )
    wrong = np.argwhere(expected != found)
    if not len(wrong):
        return None
    place = tuple(int(index) for index in wrong[0])
    values = found[place].item(), expected[place].item()
    text = (
        f"{name} differs from model.tflite: {len(wrong):,} of {expected.size:,} values, "
        f"at {list(place)} {values[0]:.9g} instead of {values[1]:.9g}"
    )
    return Divergence(tensor, place, *values, text)


def _constants(model: bytes) -> dict[str, NDArray[Any]]:
    onnx = require("onnx", "export")
    try:
        tree = onnx.load_model_from_string(model)
        return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tree.graph.initializer}
    except Exception as error:  # protobuf's decoder raises kinds of its own
        raise InputError(
            f"the model is no ONNX file ({str(error) or type(error).__name__}): export it again"
        ) from error
