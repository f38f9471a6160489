"""Inner tensors of a model file: which there are, and a copy of the file that gives them as outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...runtime.errors import InputError, require
from ..formats.tflite_structure import parse_model

#: What TFLite-Micro needs beside the tensors: its own structures, scratch buffers and alignment.
_ARENA_BYTES = 2 << 20


@dataclass(frozen=True)
class Tap:
    """Inner tensors in the order they are written: `handles` are what an interpreter knows them by, `names` what the
    graph calls them; `model` gives every one of them as a further output."""

    handles: tuple[int | str, ...]
    names: tuple[str, ...]
    model: bytes
    arena_bytes: int = 0  # enough for TFLite-Micro to keep all tensors


def tap_tflite(model: bytes) -> Tap:
    """The tap of a .tflite; raises `InputError` when its structure is broken."""
    import flatbuffers

    tree = parse_model(model)
    try:
        graph = tree.subgraphs[0]
        indices = list(dict.fromkeys(int(index) for op in graph.operators for index in op.outputs))
        sizes = [int(np.prod(graph.tensors[index].shape, dtype=np.int64)) * 8 for index in indices]
        names = _names(graph, indices)
        answers = [int(index) for index in graph.outputs]
        graph.outputs = answers + [index for index in indices if index not in answers]
        tree.signatureDefs = None  # a signature lists outputs of its own
        builder = flatbuffers.Builder(len(model))
        builder.Finish(tree.Pack(builder), b"TFL3")
    except Exception as error:  # what the generated writer makes of a strange network
        raise InputError(
            f"the .tflite cannot be instrumented ({type(error).__name__}: {error}): export it again"
        ) from error
    arena = min(_ARENA_BYTES + 4 * len(model) + sum(sizes), 1 << 30)
    return Tap(tuple(indices), names, bytes(builder.Output()), arena)


def tap_onnx(model: bytes) -> Tap:
    """The tap of an ONNX model of `onnx_writer`: the rounded activations of a QDQ model, every value of a float one.

    Raises `InputError` when it cannot be parsed, `UnavailableError` without the package onnx.
    """
    onnx = require("onnx", "export")
    try:
        tree = onnx.load_model_from_string(model)
        graph = tree.graph
        written = [node.output[0] for node in graph.node]
        kinds: dict[str, Any] = {tensor.name: tensor.data_type for tensor in graph.initializer}
        rounded = {node.output[0]: kinds[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
        if rounded:
            values = {name: kind for name, kind in rounded.items() if name.endswith(("/int8", "/int16"))}
        else:
            values = {name: onnx.TensorProto.FLOAT for name in written if "/" not in name}
        given = {output.name for output in graph.output}
        for name, kind in values.items():
            if name not in given:
                graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
        data = tree.SerializeToString()
    except Exception as error:  # protobuf's decoder and whatever a strange graph leads to
        raise InputError(f"the ONNX model is damaged ({error or type(error).__name__}): export it again") from error
    # What the input's integers stand for is written to a tensor of its own.
    names = tuple(name.rpartition("/")[0].removesuffix("/rounded") if rounded else name for name in values)
    return Tap(tuple(values), names, data)


def _names(graph: Any, indices: list[int]) -> tuple[str, ...]:
    """The file's own names, or the tensors' numbers where these are empty or repeat."""
    stored = [_text(graph.tensors[index].name) for index in indices]
    return tuple(
        name if name and stored.count(name) == 1 else f"{name} [tensor {index}]".strip()
        for name, index in zip(stored, indices, strict=True)
    )


def _text(name: bytes | str | None) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else (name or "")
