"""A light view of a .tflite: what each operator reads and writes, for files of any origin and any element type.

It understands no arithmetic, so that float, hybrid and foreign models can be judged as well as this toolkit's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...runtime.errors import InputError, require
from ..formats.tflite_structure import parse_model

#: Constants of at most so many elements are kept: axes, paddings, shapes, but no weights.
SMALL = 64

MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Operand:
    """One tensor that an operator reads or writes; `dtype` is TFLite's name for its elements, in lower case.

    `number` tells tensors apart, which names need not.
    """

    number: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool = False
    quantised: bool = False
    dynamic: bool = False  # a size is only known when the model runs
    values: tuple[int, ...] | None = None  # of a small integer constant


@dataclass(frozen=True)
class Operator:
    """One operator; it is named after the first tensor that it writes."""

    index: int
    name: str
    kind: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    code: int = 0  # TFLite's number of the builtin operator
    version: int = 1
    macs: int = 0
    trouble: tuple[str, str] | None = None  # rule and fix where no integer form exists (untrained networks)

    @property
    def activations(self) -> tuple[Operand, ...]:
        """What flows through: inputs that are no constants, and outputs."""
        return tuple(operand for operand in self.inputs if not operand.constant) + self.outputs

    @property
    def dtype(self) -> str:
        """Element type of the first tensor that flows in, else out."""
        return self.activations[0].dtype if self.activations else "none"

    @property
    def is_hybrid(self) -> bool:
        """Whether integer weights meet float activations."""
        weights = len(self.inputs) > 1 and self.inputs[1].constant and self.inputs[1].dtype in ("int8", "uint8", "int4")
        return weights and self.dtype == "float32"


@dataclass(frozen=True)
class ModelView:
    """The operators of a model's main subgraph in running order; `data` is None for a network without a file."""

    name: str
    operators: tuple[Operator, ...]
    data: bytes | None = None
    notes: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(operator.macs for operator in self.operators)


def read_operators(data: bytes, source: str = "the .tflite") -> ModelView:
    """View the first subgraph of a .tflite; raises `InputError` when it is no TFLite model, damaged or without ops."""
    schema = require("ai_edge_litert.schema_py_generated", "export")
    if len(data) > MAX_BYTES:
        raise InputError(f"{source} has {len(data):,} bytes, expected at most {MAX_BYTES:,}: no model for such devices")
    model = parse_model(data, source)
    operators = _Viewer(schema, model).operators()
    if not operators:
        raise InputError(f"{source} has no operators: nothing to judge")
    more = len(model.subgraphs) - 1
    notes = (f"{more} more subgraphs (other signatures, or bodies of control flow) are not judged",) if more else ()
    return ModelView(source, operators, data, notes)


class _Viewer:
    def __init__(self, schema: Any, model: Any) -> None:
        self.schema = schema
        self.model = model
        self.subgraph = model.subgraphs[0]
        self.kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
        self.dtypes = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
        self.operands = [self._operand(number, tensor) for number, tensor in enumerate(self.subgraph.tensors)]

    def operators(self) -> tuple[Operator, ...]:
        return tuple(self._operator(index, operator) for index, operator in enumerate(self.subgraph.operators))

    def _operand(self, number: int, tensor: Any) -> Operand:
        shape = tuple(int(size) for size in (() if tensor.shape is None else tensor.shape))
        signature = () if tensor.shapeSignature is None else tensor.shapeSignature
        data = self.model.buffers[tensor.buffer].data if tensor.buffer else None
        dtype = self.dtypes.get(tensor.type, f"type {tensor.type}")
        values = None
        if data is not None and dtype in ("int32", "int64"):
            numbers = np.frombuffer(np.asarray(data, np.uint8).tobytes(), dtype)
            values = tuple(int(number) for number in numbers) if numbers.size <= SMALL else None
        quantization = tensor.quantization
        return Operand(
            number=number,
            name=_text(tensor.name),
            shape=shape,
            dtype=dtype,
            constant=data is not None,
            quantised=quantization is not None and quantization.scale is not None and len(quantization.scale) > 0,
            dynamic=any(int(size) < 0 for size in (*shape, *signature)),
            values=values,
        )

    def _operator(self, index: int, operator: Any) -> Operator:
        code = self.model.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        kind = self.kinds.get(number, f"builtin operator {number}")
        if kind == "CUSTOM":
            kind = f"CUSTOM {_text(code.customCode)}"
        inputs = tuple(self.operands[i] for i in _indices(operator.inputs))
        outputs = tuple(self.operands[i] for i in _indices(operator.outputs))
        options = {} if operator.builtinOptions is None else dict(vars(operator.builtinOptions))
        return Operator(
            index=index,
            name=outputs[0].name if outputs else f"op {index}",
            kind=kind,
            inputs=inputs,
            outputs=outputs,
            options=options,
            code=number,
            version=int(code.version),
            macs=multiply_accumulates(kind, inputs, outputs),
        )


def multiply_accumulates(kind: str, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> int:
    """Products of weights (or of two activations, in a matrix product) and activations that an op sums up."""
    if len(inputs) < 2 or not outputs:
        return 0
    result, weight = _size(outputs[0].shape), inputs[1].shape
    if kind == "CONV_2D" and len(weight) == 4:
        return result * weight[1] * weight[2] * weight[3]
    if kind == "DEPTHWISE_CONV_2D" and len(weight) == 4:
        return result * weight[1] * weight[2]
    if kind == "FULLY_CONNECTED" and len(weight) == 2:
        return result * weight[1]
    if kind == "TRANSPOSE_CONV" and len(weight) == 4 and len(inputs) > 2:
        return _size(inputs[2].shape) * weight[0] * weight[1] * weight[2]
    if kind == "BATCH_MATMUL" and inputs[0].shape:
        return result * inputs[0].shape[-1]
    return 0


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod([max(size, 1) for size in shape], dtype=np.int64))


def _indices(indices: Any) -> list[int]:
    # An optional input that is left out has the index -1.
    return [int(index) for index in (() if indices is None else indices) if int(index) >= 0]


def _text(name: bytes | str | None) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else (name or "")
