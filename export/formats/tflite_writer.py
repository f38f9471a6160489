"""An int8 graph as a .tflite file, written through the flatbuffer schema alone: no TensorFlow, same bytes every time.

Tensor names are the graph's; an op's constants are called NAME/weight, NAME/bias and so on, which is how
`tflite_reader` finds every name again.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ..graph import Graph, Op, Quant
from .metadata import METADATA_NAME, Metadata

IDENTIFIER = b"TFL3"

#: Op versions that stand for the int8 and the int16 kernels in TFLite's registry.
VERSIONS = {
    "PAD": (2, 3),
    "CONV_2D": (3, 4),
    "DEPTHWISE_CONV_2D": (3, 5),
    "ADD": (2, 3),
    "AVERAGE_POOL_2D": (2, 3),
    "MEAN": (2, 3),
    "MUL": (2, 4),
    "RSQRT": (2, 3),
    "QUANTIZE": (1, 2),
    "MAX_POOL_2D": (2, 3),
    "FULLY_CONNECTED": (4, 7),
    "RESHAPE": (1, 1),
    "SOFTMAX": (2, 3),
    "RELU": (2, 4),
    "RELU6": (2, 3),
}

_DTYPES = {
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
}


class _AlignedBuffer(schema.BufferT):
    """A constant whose bytes start at a multiple of 16, as the schema asks and DMA and SIMD loads need."""

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the schema's name
        payload = np.ascontiguousarray(self.data).tobytes()
        builder.StartVector(1, len(payload), 16)
        builder.head -= len(payload)
        builder.Bytes[builder.head : builder.head + len(payload)] = payload
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal number vectors once: every channel's int64 zero point is 0, a fifth of a small model's file."""

    def __init__(self, initial_size: int) -> None:
        super().__init__(initial_size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802 - flatbuffers' name
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


class _Model:
    """Collects tensors, buffers and operator codes while the ops are written."""

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [schema.BufferT()]  # buffer 0 is the empty one that activations refer to
        self.codes: dict[tuple[str, int], int] = {}
        self.index: dict[str, int] = {}

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        quantization: Any,
        dtype: str = "int8",
        data: NDArray[Any] | None = None,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), _DTYPES[dtype]
        tensor.quantization, tensor.hasRank = quantization, True
        if data is not None:
            tensor.buffer = len(self.buffers)
            buffer = _AlignedBuffer()
            buffer.data = data
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        number = len(self.tensors) - 1
        # The graph's tensors come first: a constant inside an op never takes the name of one of them.
        self.index.setdefault(name, number)
        return number

    def code(self, kind: str, version: int) -> int:
        return self.codes.setdefault((kind, version), len(self.codes))


def write_tflite(graph: Graph, metadata: Metadata | None = None) -> bytes:
    """Serialise an int8 `graph`, with labels and front end in the file when `metadata` is given.

    Raises `InputError` when it is float or breaks one of TFLite's rules.
    """
    graph.validate()
    if not graph.is_int8:
        raise InputError(f"graph {graph.name} is float: only int8 graphs are written as .tflite")
    model = _Model()
    for tensor in graph.tensors:
        assert tensor.quant is not None
        model.tensor(tensor.name, tensor.shape, _per_tensor(tensor.quant), tensor.quant.dtype.name, tensor.data)
    operators = [_operator(model, graph, op) for op in graph.ops]

    subgraph = schema.SubGraphT()
    subgraph.name, subgraph.tensors, subgraph.operators = graph.name, model.tensors, operators
    subgraph.inputs, subgraph.outputs = [model.index[graph.input]], [model.index[graph.output]]

    root = schema.ModelT()
    if metadata is not None:
        entry, buffer = schema.MetadataT(), _AlignedBuffer()
        buffer.data = np.frombuffer(metadata.to_json().encode(), np.uint8)
        entry.name, entry.buffer = METADATA_NAME, len(model.buffers)
        model.buffers.append(buffer)
        root.metadata = [entry]
    root.version, root.description = 3, "tinyscene"
    root.subgraphs, root.buffers = [subgraph], model.buffers
    root.operatorCodes = [_operator_code(*code) for code in model.codes]
    builder = _SharingBuilder(1 << 20)
    builder.Finish(root.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _operator(model: _Model, graph: Graph, op: Op) -> Any:
    operator = schema.OperatorT()
    wide = op.output in graph.wide
    builtin = _builtin(op)
    operator.opcodeIndex = model.code(builtin, VERSIONS[builtin][wide])
    inputs = [model.index[name] for name in op.inputs]
    if op.kind == "PAD":
        pads = np.array([(0, 0), *op.pads, (0, 0)], np.int32)
        inputs.append(model.tensor(f"{op.name}/pads", pads.shape, None, "int32", pads))
    elif op.kind == "MEAN":
        axes = np.array(op.axes, np.int32)
        inputs.append(model.tensor(f"{op.name}/axes", axes.shape, None, "int32", axes))
    elif op.kind == "RESHAPE":
        shape = np.array(op.shape, np.int32)
        inputs.append(model.tensor(f"{op.name}/shape", shape.shape, None, "int32", shape))
    elif op.weight is not None:
        inputs += _weight_constants(model, graph, op)
    operator.inputs, operator.outputs = inputs, [model.index[op.output]]
    operator.builtinOptionsType, operator.builtinOptions = _options(op, _multiplier(graph, op))
    if op.kind == "ADD" and wide:
        operator.builtinOptions.potScaleInt16 = False  # scales are any number, not powers of two
    return operator


def _builtin(op: Op) -> str:
    """TFLite's name of an op: there, a requantisation that clamps is an activation."""
    if op.kind == "QUANTIZE" and op.relu:
        return "RELU" if op.ceiling is None else "RELU6"
    return op.kind


def _weight_constants(model: _Model, graph: Graph, op: Op) -> list[int]:
    quant = graph.tensor[op.inputs[0]].quant
    assert op.weight is not None
    assert op.bias is not None
    assert op.weight_scales is not None
    assert quant is not None
    axis = 3 if op.kind == "DEPTHWISE_CONV_2D" else 0
    scales = op.weight_scales
    if op.kind == "FULLY_CONNECTED" and (scales == scales[0]).all():
        scales = scales[:1]  # the same arithmetic, and what older kernels know
    weight = model.tensor(f"{op.name}/weight", op.weight.shape, _per_channel(scales, axis), data=op.weight)
    bias_scales = np.float32(quant.scale) * scales
    bias = model.tensor(f"{op.name}/bias", op.bias.shape, _per_channel(bias_scales, 0), op.bias.dtype.name, op.bias)
    return [weight, bias]


def _options(op: Op, multiplier: int) -> tuple[int, Any]:
    kinds = schema.BuiltinOptions
    padding = schema.Padding.SAME if op.padding == "SAME" else schema.Padding.VALID
    activation = _activation(op)
    if op.kind == "CONV_2D":
        conv = schema.Conv2DOptionsT()
        conv.padding, conv.fusedActivationFunction = padding, activation
        conv.strideH, conv.strideW = op.stride
        return kinds.Conv2DOptions, conv
    if op.kind == "DEPTHWISE_CONV_2D":
        depthwise = schema.DepthwiseConv2DOptionsT()
        depthwise.padding, depthwise.fusedActivationFunction = padding, activation
        depthwise.depthMultiplier = multiplier
        depthwise.strideH, depthwise.strideW = op.stride
        return kinds.DepthwiseConv2DOptions, depthwise
    if op.kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        pool = schema.Pool2DOptionsT()
        pool.padding, pool.fusedActivationFunction = padding, activation
        pool.strideH, pool.strideW = op.stride
        pool.filterHeight, pool.filterWidth = op.window
        return kinds.Pool2DOptions, pool
    if op.kind in ("ADD", "MUL"):
        elementwise = schema.AddOptionsT() if op.kind == "ADD" else schema.MulOptionsT()
        elementwise.fusedActivationFunction = activation
        return (kinds.AddOptions if op.kind == "ADD" else kinds.MulOptions), elementwise
    if op.kind == "MEAN":
        reducer = schema.ReducerOptionsT()
        reducer.keepDims = op.keep_dims
        return kinds.ReducerOptions, reducer
    if op.kind == "PAD":
        return kinds.PadOptions, schema.PadOptionsT()
    if op.kind == "FULLY_CONNECTED":
        dense = schema.FullyConnectedOptionsT()
        dense.fusedActivationFunction = activation
        return kinds.FullyConnectedOptions, dense
    if op.kind == "RESHAPE":
        reshape = schema.ReshapeOptionsT()
        reshape.newShape = np.array(op.shape, np.int32)
        return kinds.ReshapeOptions, reshape
    if op.kind == "SOFTMAX":
        softmax = schema.SoftmaxOptionsT()
        softmax.beta = 1.0
        return kinds.SoftmaxOptions, softmax
    if op.kind == "QUANTIZE" and not op.relu:
        return kinds.QuantizeOptions, schema.QuantizeOptionsT()
    return kinds.NONE, None  # RSQRT, RELU and RELU6 have no options


def _activation(op: Op) -> int:
    kinds = schema.ActivationFunctionType
    if op.ceiling not in (None, 6.0):
        raise InputError(f"{op.name}: no activation of TFLite ends at {op.ceiling}: 6 is the only ceiling it has")
    return int(kinds.NONE if not op.relu else kinds.RELU if op.ceiling is None else kinds.RELU6)


def _multiplier(graph: Graph, op: Op) -> int:
    """Output channels of a depthwise convolution for each of its input's."""
    channels = graph.tensor[op.inputs[0]].shape[-1]
    return op.weight.shape[3] // channels if op.kind == "DEPTHWISE_CONV_2D" and op.weight is not None else 1


def _operator_code(kind: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode, code.version = code.builtinCode, version  # both fields: old readers know one
    return code


def _per_tensor(quant: Quant) -> Any:
    quantization = schema.QuantizationParametersT()
    quantization.scale = np.array([quant.scale], np.float32)
    quantization.zeroPoint = np.array([quant.zero_point], np.int64)
    return quantization


def _per_channel(scales: NDArray[np.float32], axis: int) -> Any:
    quantization = schema.QuantizationParametersT()
    quantization.scale = scales.astype(np.float32)
    quantization.zeroPoint = np.zeros(scales.size, np.int64)
    quantization.quantizedDimension = axis
    return quantization
