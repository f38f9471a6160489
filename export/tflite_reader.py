"""A .tflite file back into the graph it was written from, bit for bit.

Reads what `tflite_writer` writes; any other file is refused with the reason, never half understood.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from ..runtime.errors import InputError
from .graph import KINDS, Graph, Op, Quant, Tensor
from .tflite_writer import IDENTIFIER

MAX_BYTES = 64 << 20

_DTYPES: dict[int, np.dtype[Any]] = {schema.TensorType.INT8: np.dtype("<i1"), schema.TensorType.INT32: np.dtype("<i4")}
_NAMES = {getattr(schema.BuiltinOperator, kind): kind for kind in KINDS}


def read_tflite(data: bytes, source: str = "the .tflite") -> Graph:
    """Read an int8 graph; `source` names the file in messages.

    Raises `InputError` when the data is truncated or foreign, holds float tensors, or uses an op or an option that the
    graph cannot express.
    """
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise InputError(
            f"{source} is not a TFLite model (no {IDENTIFIER.decode()} mark): make one with `tinyscene export`"
        )
    if len(data) > MAX_BYTES:
        raise InputError(f"{source} is larger than {MAX_BYTES} bytes: not a model of this toolkit")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        graph = _Reader(model, source).graph()
    except InputError:
        raise
    except Exception as error:  # the generated accessors raise whatever a wild offset leads to
        raise InputError(
            f"{source} is truncated or damaged ({type(error).__name__}: {error}): export it again"
        ) from error
    return graph.validate()


class _Reader:
    """One parse: the schema's objects and the names already given out."""

    def __init__(self, model: Any, source: str) -> None:
        self.source = source
        if len(model.subgraphs or ()) != 1:
            raise InputError(f"{source} has {len(model.subgraphs or ())} subgraphs, expected 1")
        self.subgraph = model.subgraphs[0]
        self.buffers = model.buffers
        self.codes = model.operatorCodes
        self.tensors = self.subgraph.tensors

    def graph(self) -> Graph:
        ops = tuple(self._op(operator) for operator in self.subgraph.operators)
        inputs, outputs = list(self.subgraph.inputs), list(self.subgraph.outputs)
        if len(inputs) != 1 or len(outputs) != 1:
            raise InputError(f"{self.source} has {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
        used = {name for op in ops for name in (*op.inputs, op.output)}
        # Every other tensor is a constant inside an op; the order of the rest is the file's.
        tensors = tuple(self._tensor(index) for index in range(len(self.tensors)) if self._name(index) in used)
        name = _text(self.subgraph.name)
        return Graph(name, tensors, ops, self._name(inputs[0]), self._name(outputs[0]))

    def _op(self, operator: Any) -> Op:
        code = self.codes[operator.opcodeIndex]
        kind = _NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode))
        if kind is None:
            raise InputError(
                f"{self.source} uses builtin operator {code.builtinCode}, which this toolkit does not write"
            )
        options = operator.builtinOptions
        inputs, output = list(operator.inputs), self._name(operator.outputs[0])
        values: dict[str, Any] = {}
        count = 1
        if kind == "PAD":
            pads = self._constant(inputs[1])
            if pads.shape != (4, 2) or pads[[0, 3]].any():
                raise InputError(f"{self.source}: {output} pads more than frequency and time")
            values["pads"] = tuple((int(before), int(after)) for before, after in pads[1:3])
        elif kind == "MEAN":
            values["axes"] = tuple(int(axis) for axis in self._constant(inputs[1]))
            values["keep_dims"] = bool(options.keepDims)
        elif kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            values.update(self._convolution(kind, options, inputs))
        elif kind == "AVERAGE_POOL_2D":
            values["window"] = (options.filterHeight, options.filterWidth)
            values["stride"] = (options.strideH, options.strideW)
            values["padding"] = _padding(options)
        elif kind in ("ADD", "MUL"):
            count = 2
        if hasattr(options, "fusedActivationFunction"):
            values["relu"] = self._relu(options, output)
        return Op(kind, tuple(self._name(index) for index in inputs[:count]), output, **values)

    def _convolution(self, kind: str, options: Any, inputs: list[int]) -> dict[str, Any]:
        if len(inputs) != 3 or options.dilationHFactor != 1 or options.dilationWFactor != 1:
            raise InputError(f"{self.source}: a convolution lacks its bias or is dilated")
        axis = 0 if kind == "CONV_2D" else 3
        quantization = self.tensors[inputs[1]].quantization
        if quantization is None or quantization.scale is None or quantization.quantizedDimension != axis:
            raise InputError(f"{self.source}: weights {self._name(inputs[1])} are not quantised per output channel")
        scales = np.array(quantization.scale, np.float32)
        source, bias = self._tensor(inputs[0]).quant, self.tensors[inputs[2]].quantization
        assert source is not None
        # The graph keeps no bias scales: they are the product of these two, and must be that in the file.
        if bias is None or not np.array_equal(bias.scale, np.float32(source.scale) * scales):
            raise InputError(f"{self.source}: bias {self._name(inputs[2])} is not at input scale * weight scale")
        return {
            "weight": self._constant(inputs[1]),
            "bias": self._constant(inputs[2]),
            "weight_scales": scales,
            "stride": (options.strideH, options.strideW),
            "padding": _padding(options),
        }

    def _relu(self, options: Any, output: str) -> bool:
        activation = options.fusedActivationFunction
        if activation not in (schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU):
            raise InputError(f"{self.source}: {output} has activation {activation}, expected none or ReLU")
        return bool(activation == schema.ActivationFunctionType.RELU)

    def _tensor(self, index: int) -> Tensor:
        tensor = self.tensors[index]
        name, shape = self._name(index), tuple(int(size) for size in tensor.shape)
        quantization = tensor.quantization
        scales = None if quantization is None else quantization.scale
        if tensor.type != schema.TensorType.INT8 or scales is None or len(scales) != 1:
            raise InputError(f"{self.source}: tensor {name} is not int8 with one scale: float models are not read")
        quant = Quant(float(np.float32(scales[0])), int(quantization.zeroPoint[0]))
        data = self._constant(index) if tensor.buffer and self.buffers[tensor.buffer].data is not None else None
        return Tensor(name, shape, quant, data)

    def _constant(self, index: int) -> NDArray[Any]:
        tensor = self.tensors[index]
        if tensor.type not in _DTYPES:
            raise InputError(f"{self.source}: constant {self._name(index)} is neither int8 nor int32")
        data = self.buffers[tensor.buffer].data
        # A copy in native byte order: the graph must not keep the whole file alive or be read-only.
        values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), _DTYPES[tensor.type])
        return values.reshape([int(size) for size in tensor.shape]).astype(values.dtype.newbyteorder("="))

    def _name(self, index: int) -> str:
        if not 0 <= index < len(self.tensors):
            raise InputError(f"{self.source} refers to tensor {index} of {len(self.tensors)}")
        return _text(self.tensors[index].name)


def _padding(options: Any) -> str:
    return "SAME" if options.padding == schema.Padding.SAME else "VALID"


def _text(name: bytes | str | None) -> str:
    return name.decode() if isinstance(name, bytes) else (name or "")
