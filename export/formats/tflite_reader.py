"""A .tflite file as the graph: bit for bit the one it was written from, or what another converter's file says.

Reads what `tflite_writer` writes and any other fully-integer network of the graph's ops. Where a converter has another
way to say the same thing, the graph gets ours: float ends are taken off, empty and repeated names made unique, an
absent bias is zeros. What the graph cannot hold exactly is refused with the reason, never half understood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ..graph import Graph, Op, Quant, Tensor
from .metadata import METADATA_NAME, Metadata, parse_metadata
from .tflite_ops import KIND_OF, NO_MOVE, OpReader, builtin_name
from .tflite_structure import parse_model

#: Multiply-accumulates of the largest network that is taken: far more than any device here runs, and seconds of work.
MAX_MACS = 10_000_000_000

_BITS = {schema.TensorType.INT8: 8, schema.TensorType.INT16: 16}
_DTYPES: dict[int, np.dtype[Any]] = {
    schema.TensorType.INT8: np.dtype("<i1"),
    schema.TensorType.INT16: np.dtype("<i2"),
    schema.TensorType.INT32: np.dtype("<i4"),
    schema.TensorType.INT64: np.dtype("<i8"),
}


@dataclass(frozen=True, eq=False)
class Network:
    """A network that was read; `as_stored` is False when its ends or names are not the file's own."""

    graph: Graph
    as_stored: bool
    metadata: Metadata | None = None


def read_tflite(data: bytes, source: str = "the .tflite") -> Graph:
    """The integer graph of a .tflite; raises as `read_network` does."""
    return read_network(data, source).graph


def read_network(data: bytes, source: str = "the .tflite") -> Network:
    """Read an int8 network, or one with activations of 16 bits in places; `source` names the file in messages.

    Raises `InputError` when the data is truncated or damaged, holds float tensors anywhere but at its ends, or uses an
    op or an option that the graph cannot express.
    """
    model = parse_model(data, source)
    try:
        network = _Reader(model, source).network()
    except InputError:
        raise
    except (ValueError, TypeError, IndexError, AttributeError, KeyError, OverflowError) as error:
        raise InputError(f"{source} holds what this toolkit cannot read ({type(error).__name__}: {error})") from error
    network.graph.validate()
    macs = sum(cost.macs for cost in network.graph.costs())
    if macs > MAX_MACS:
        raise InputError(f"{source} needs {macs:,} multiply-accumulates, at most {MAX_MACS:,} are taken")
    return network


class _Reader:
    """One parse: the schema's objects and the names given out."""

    def __init__(self, model: Any, source: str) -> None:
        self.source = source
        if len(model.subgraphs) != 1:
            raise InputError(f"{source} has {len(model.subgraphs)} subgraphs, expected 1")
        self.model = model
        self.subgraph = model.subgraphs[0]
        self.buffers = model.buffers
        self.codes = model.operatorCodes
        self.tensors = self.subgraph.tensors or []
        self.stored_names = [_text(tensor.name) for tensor in self.tensors]
        # Constants give way: an activation's name is what people see.
        order = sorted(range(len(self.tensors)), key=self.is_constant)
        unique = dict(zip(order, _unique([self.stored_names[number] for number in order]), strict=True))
        self.names = [unique[number] for number in range(len(order))]

    def network(self) -> Network:
        """The graph between the file's integer ends."""
        operators = list(self.subgraph.operators or ())
        inputs, outputs = ([int(n) for n in ends if ends is not None] for ends in self._ends())
        if len(inputs) != 1 or len(outputs) != 1:
            raise InputError(f"{self.source} has {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
        first, operators = self._strip_front(inputs[0], operators)
        last, operators = self._strip_back(outputs[0], operators)
        ops = tuple(self._op(operator) for operator in operators)
        used = {name for op in ops for name in (*op.inputs, op.output)} | {self.names[first]}
        # Every other tensor is a constant inside an op; the order of the rest is the file's.
        tensors = {self.names[i]: self.tensor(i) for i in range(len(self.tensors)) if self.names[i] in used}
        ops = tuple(_broadcast_constants(op, tensors) for op in ops)
        name = _text(self.subgraph.name) or "main"
        graph = Graph(name, tuple(tensors.values()), ops, self.names[first], self.names[last])
        shown = {number: self.names[number] for number in range(len(self.names)) if self.names[number] in used}
        own_names = all(self.stored_names[number] == name for number, name in shown.items())
        return Network(graph, own_names and (first, last) == (inputs[0], outputs[0]), self._metadata())

    def tensor(self, index: int) -> Tensor:
        """An activation or a constant operand."""
        tensor = self._entry(index)
        name, quantization = self.names[index], tensor.quantization
        scales = None if quantization is None else quantization.scale
        if tensor.type not in _BITS or scales is None or len(scales) != 1:
            raise InputError(f"{self.source}: tensor {name} is not int8 with one scale: float models are not read")
        zeros = quantization.zeroPoint
        zero = int(zeros[0]) if zeros is not None and len(zeros) else 0
        quant = Quant(float(np.float32(scales[0])), zero, _BITS[tensor.type])
        data = self.constant(index) if self.is_constant(index) else None
        return Tensor(name, self.shape(index), quant, data)

    def shape(self, index: int) -> tuple[int, ...]:
        """Sizes of a tensor as recorded."""
        shape = self._entry(index).shape
        return () if shape is None else tuple(int(size) for size in shape)

    def quantization(self, index: int) -> tuple[NDArray[np.float32], int]:
        """Scales of a constant and the axis that they go along; raises `InputError` for a zero point that is not 0."""
        quantization = self._entry(index).quantization
        if quantization is None or quantization.scale is None or quantization.details is not None:
            raise InputError(f"{self.source}: constant {self.names[index]} has no scales")
        zeros = quantization.zeroPoint
        if zeros is not None and np.any(zeros):
            raise InputError(f"{self.source}: constant {self.names[index]} has a zero point, expected 0")
        return np.array(quantization.scale, np.float32), int(quantization.quantizedDimension or 0)

    def is_constant(self, index: int) -> bool:
        """Whether the file holds the tensor's values."""
        tensor = self._entry(index)
        return bool(tensor.buffer) and self.buffers[tensor.buffer].data is not None

    def constant(self, index: int) -> NDArray[Any]:
        """A constant's integers."""
        tensor = self._entry(index)
        if tensor.type == schema.TensorType.FLOAT32:
            raise InputError(f"{self.source}: {self.names[index]} is float32: only fully-integer models are read")
        if tensor.type not in _DTYPES or not self.is_constant(index) or tensor.sparsity is not None:
            raise InputError(f"{self.source}: {self.names[index]} is no constant of integers")
        data = self.buffers[tensor.buffer].data
        # A copy in native byte order: the graph must not keep the whole file alive or be read-only.
        values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), _DTYPES[tensor.type])
        return values.reshape(self.shape(index)).astype(values.dtype.newbyteorder("="))

    def _metadata(self) -> Metadata | None:
        for entry in self.model.metadata or ():
            content = self.buffers[entry.buffer].data
            if _text(entry.name) == METADATA_NAME and content is not None:
                return parse_metadata(np.asarray(content, np.uint8).tobytes(), self.source)
        return None

    def _op(self, operator: Any) -> Op:
        builtin = builtin_name(self.codes[operator.opcodeIndex])
        kind = KIND_OF.get(builtin)
        if kind is None:
            raise InputError(
                f"{self.source} uses operator {builtin}, which this toolkit does not write: "
                "`tinyscene lint FILE` says what each target makes of it"
            )
        if operator.inputs is None or operator.outputs is None or len(operator.outputs) != 1:
            raise InputError(f"{self.source}: an operator {builtin} lacks its input or has several outputs")
        return OpReader(self, builtin, kind, operator).op()

    def _strip_front(self, first: int, operators: list[Any]) -> tuple[int, list[Any]]:
        """The integer input and the ops after it: a QUANTIZE of float or uint8 goes, and what only renames axes."""
        while operators:
            readers = [op for op in operators if op.inputs is not None and first in op.inputs]
            builtin = builtin_name(self.codes[operators[0].opcodeIndex])
            foreign = builtin == "QUANTIZE" and self._entry(first).type not in _BITS
            if readers != operators[:1] or not (foreign or self._moves_nothing(operators[0], builtin)):
                break
            if foreign:
                self._check_end(first, int(operators[0].outputs[0]))
            first, operators = int(operators[0].outputs[0]), operators[1:]
        return first, operators

    def _strip_back(self, last: int, operators: list[Any]) -> tuple[int, list[Any]]:
        """The integer output and the ops before it: a DEQUANTIZE to float or a QUANTIZE to uint8 goes."""
        if operators and self._entry(last).type not in _BITS:
            final = operators[-1]
            builtin = builtin_name(self.codes[final.opcodeIndex])
            if builtin in ("DEQUANTIZE", "QUANTIZE") and last in final.outputs:
                self._check_end(last, int(final.inputs[0]))
                return int(final.inputs[0]), operators[:-1]
        return last, operators

    def _check_end(self, outer: int, inner: int) -> None:
        """A float end may go; one of uint8 only when it holds the same real numbers as the int8 inside."""
        if self._entry(outer).type == schema.TensorType.FLOAT32:
            return
        found, kept = self._entry(outer).quantization, self._entry(inner).quantization
        same = (
            self._entry(outer).type == schema.TensorType.UINT8
            and found is not None
            and kept is not None
            and np.array_equal(found.scale, kept.scale)
            and np.array_equal(np.asarray(found.zeroPoint) - 128, kept.zeroPoint)
        )
        if not same:
            raise InputError(f"{self.source}: its end {self.names[outer]} is neither int8, float32 nor the uint8 of it")

    def _moves_nothing(self, operator: Any, builtin: str) -> bool:
        """Whether an op at the front only gives the input another shape, as from NCHW to NHWC of one channel."""
        if builtin not in NO_MOVE or operator.outputs is None or len(operator.outputs) != 1:
            return False
        source, target = self.shape(int(operator.inputs[0])), self.shape(int(operator.outputs[0]))
        if builtin == "TRANSPOSE":
            order = [axis for axis in self.constant(int(operator.inputs[1])).ravel() if source[axis] > 1]
            if order != sorted(order):
                return False
        return len(target) == 4 and target[0] == target[3] == 1 and np.prod(source) == np.prod(target)

    def _ends(self) -> tuple[Any, Any]:
        none: list[int] = []
        graph = self.subgraph
        return (none if graph.inputs is None else graph.inputs, none if graph.outputs is None else graph.outputs)

    def _entry(self, index: int) -> Any:
        if not 0 <= index < len(self.tensors):
            raise InputError(f"{self.source} refers to tensor {index} of {len(self.tensors)}")
        return self.tensors[index]


def _broadcast_constants(op: Op, tensors: dict[str, Tensor]) -> Op:
    """`op`, its constant operands given the rank of its result: (channels,) becomes (1, 1, 1, channels)."""
    for name in op.inputs:
        tensor, rank = tensors[name], len(tensors[op.output].shape)
        if tensor.data is not None and len(tensor.shape) < rank:
            shape = (*(1,) * (rank - len(tensor.shape)), *tensor.shape)
            tensors[name] = Tensor(name, shape, tensor.quant, tensor.data.reshape(shape))
    return op


def _unique(names: list[str]) -> list[str]:
    """Names without empty or repeated ones: the first of a kind keeps its own."""
    taken, unique, seen = set(names), [], set()
    for name in names:
        number = 2
        fresh = name
        while not fresh or fresh in seen or (fresh != name and fresh in taken):
            fresh, number = f"{name or 'tensor'}#{number}", number + 1
        seen.add(fresh)
        unique.append(fresh)
    return unique


def _text(name: bytes | str | None) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else (name or "")
