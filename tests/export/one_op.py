"""Single-op .tflite files written through the schema alone: any builtin op, any element type, well formed or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

#: Kinds whose options have another name than the op's in camel case.
_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "LOGISTIC": "NONE",
    "RELU": "NONE",
    "TANH": "NONE",
    "RSQRT": "NONE",
    "SQRT": "NONE",
}


def tensor(
    shape: Sequence[int], dtype: str = "int8", data: Any = None, scale: float | None = 0.1, zero_point: int = 0
) -> dict[str, Any]:
    """What a tensor of the file is; `scale=None` leaves it without quantisation, `data` makes it a constant."""
    return {"shape": list(shape), "dtype": dtype, "data": data, "scale": scale, "zero_point": zero_point}


def tflite(ops: Sequence[Mapping[str, Any]], tensors: Mapping[str, Mapping[str, Any]], io: Sequence[str]) -> bytes:
    """A file of `ops` ({kind, inputs, outputs, version, options}) over `tensors` by name; `io` is (input, output)."""
    model, subgraph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description, model.buffers = 3, "one op", [schema.BufferT()]
    names = list(tensors)
    subgraph.tensors = []
    for name, given in tensors.items():
        entry = schema.TensorT()
        entry.name, entry.shape, entry.buffer, entry.hasRank = name, given["shape"], 0, True
        if -1 in given["shape"]:
            entry.shapeSignature, entry.shape = given["shape"], [abs(size) for size in given["shape"]]
        entry.type = getattr(schema.TensorType, given["dtype"].upper())
        if given["scale"] is not None:
            entry.quantization = schema.QuantizationParametersT()
            entry.quantization.scale = np.array([given["scale"]], np.float32)
            entry.quantization.zeroPoint = np.array([given["zero_point"]], np.int64)
        if given["data"] is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(given["data"], given["dtype"]).tobytes(), np.uint8)
            entry.buffer = len(model.buffers)
            model.buffers.append(buffer)
        subgraph.tensors.append(entry)
    model.operatorCodes, subgraph.operators = [], []
    for op in ops:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, op["kind"])
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), op.get("version", 1)
        code.customCode = op.get("custom")
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes)
        operator.inputs = [names.index(name) for name in op["inputs"]]
        operator.outputs = [names.index(name) for name in op["outputs"]]
        kind = _OPTIONS.get(op["kind"], "".join(word.capitalize() for word in op["kind"].split("_")) + "Options")
        if hasattr(schema.BuiltinOptions, kind) and hasattr(schema, f"{kind}T"):
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = getattr(schema, f"{kind}T")()
            for key, value in op.get("options", {}).items():
                setattr(operator.builtinOptions, key, value)
        model.operatorCodes.append(code)
        subgraph.operators.append(operator)
    subgraph.inputs, subgraph.outputs, subgraph.name = [names.index(io[0])], [names.index(io[1])], "main"
    model.subgraphs = [subgraph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def one_op(kind: str, dtype: str = "int8", **changes: Any) -> bytes:
    """A file of one op of `kind` on a [1, 4, 4, 8] tensor `x`, written to `y` as TFLite's converter would.

    `dtype` is of the activations; "hybrid" gives float activations and int8 weights. `changes` replace operands by
    name or, as `options`, the op's options.
    """
    activation = "float32" if dtype == "hybrid" else dtype
    weight = "float32" if dtype == "float32" else "int8"
    bias = {"int8": "int32", "int16": "int64"}.get(dtype, "float32")
    scale = None if activation == "float32" else 0.1
    options: dict[str, Any] = {}
    operands: dict[str, Any] = {"x": tensor((1, 4, 4, 8), activation, scale=scale)}
    result: dict[str, Any] = tensor((1, 4, 4, 8), activation, scale=scale)
    version = 2 if dtype == "int8" else 4 if dtype == "int16" else 1
    w_scale = None if weight == "float32" else 0.5
    b_scale = None if bias == "float32" else 0.05
    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        shape = (8, 1, 1, 8) if kind == "CONV_2D" else (1, 1, 1, 8)
        operands["weight"] = tensor(shape, weight, np.ones(shape), w_scale)
        operands["bias"] = tensor((8,), bias, np.zeros(8), b_scale)
        options = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
        options |= {"depthMultiplier": 1} if kind == "DEPTHWISE_CONV_2D" else {}
        version = 3
    elif kind == "FULLY_CONNECTED":
        operands["x"] = tensor((1, 8), activation, scale=scale)
        operands["weight"] = tensor((5, 8), weight, np.ones((5, 8)), w_scale)
        operands["bias"] = tensor((5,), bias, np.zeros(5), b_scale)
        result = tensor((1, 5), activation, scale=scale)
    elif kind in ("ADD", "MUL", "SUB", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"):
        operands["other"] = tensor((1, 4, 4, 8), activation, scale=scale)
    elif kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        options = {"strideH": 1, "strideW": 1, "filterHeight": 2, "filterWidth": 2, "padding": 0}
    elif kind in ("MEAN", "SUM", "REDUCE_MAX"):
        operands["axes"] = tensor((2,), "int32", [1, 2], None)
        options, result = {"keepDims": False}, tensor((1, 8), activation, scale=scale)
    elif kind == "PAD":
        operands["pads"] = tensor((4, 2), "int32", [[0, 0], [1, 1], [1, 1], [0, 0]], None)
        result = tensor((1, 6, 6, 8), activation, scale=scale)
    elif kind == "RESHAPE":
        operands["shape"] = tensor((2,), "int32", [1, 128], None)
        result = tensor((1, 128), activation, scale=scale)
    elif kind == "SOFTMAX":
        operands["x"] = tensor((1, 8), activation, scale=scale)
        to = {"int8": (1 / 256, -128), "int16": (1 / 32768, 0)}.get(dtype, (scale, 0))
        result, options = tensor((1, 8), activation, None, *to), {"beta": 1.0}
    elif kind == "RSQRT" and dtype == "int8":
        operands["x"] = tensor((1, 4, 4, 8), activation, None, scale, -128)
    elif kind in ("LOGISTIC", "TANH") and activation != "float32":
        one = (1 / 256, -128) if kind == "LOGISTIC" else (1 / 128, 0)
        one = one if dtype == "int8" else (1 / 32768, 0)
        result = tensor((1, 4, 4, 8), activation, None, *one)
    elif kind == "QUANTIZE":
        result = tensor((1, 4, 4, 8), "int8" if activation == "float32" else activation, scale=0.2)
    elif kind == "DEQUANTIZE":
        result = tensor((1, 4, 4, 8), "float32", scale=None)
    options |= changes.pop("options", {})
    result = changes.pop("y", result)
    version = changes.pop("version", version)
    operands |= changes
    op = {"kind": kind, "inputs": list(operands), "outputs": ["y"], "options": options, "version": version}
    return tflite([op], {**operands, "y": result}, ("x", "y"))
