"""Is it a whole .tflite? Asked before anything parses or runs a file that came from elsewhere.

The interpreter trusts offsets, lengths and indices as it finds them, and a wild one ends the process. So every table,
vector and string is followed here first, inside the file's bounds and with a budget; then every index, shape and
constant is held against what it refers to. What passes can still be a network that nothing runs, but not a trap.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from ...runtime.errors import InputError, require
from .tflite_layout import TABLES, UNIONS, WIDTHS

IDENTIFIER = b"TFL3"

MAX_BYTES = 64 << 20

#: Tables that a file may hold, counted each time one is referred to.
MAX_TABLES = 100_000

#: Sizes of all activations together: an interpreter allocates what the file asks for.
MAX_TENSOR_BYTES = 512 << 20

#: Bits of one element by the schema's number of the type; strings, resources and variants have no fixed size.
_BITS = {0: 32, 1: 16, 2: 32, 3: 8, 4: 64, 6: 8, 7: 16, 8: 64, 9: 8, 10: 64, 11: 128, 12: 64, 15: 32, 16: 16}
_BITS |= {17: 4, 18: 16, 19: 2, 20: 4, 21: 8, 22: 8}
_UNSIZED = {5, 13, 14}


class _BrokenError(ValueError):
    """Why a file is not what it should be."""


def parse_model(data: bytes, source: str = "the .tflite") -> Any:
    """The schema's `ModelT` of a file that is whole; `source` names it in messages.

    Any network of TFLite's operators passes, whatever its types. Raises `InputError` that says what is wrong.
    """
    schema = require("ai_edge_litert.schema_py_generated", "export")
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise InputError(
            f"{source} is not a TFLite model (no {IDENTIFIER.decode()} mark): make one with `tinyscene export`"
        )
    if len(data) > MAX_BYTES:
        raise InputError(f"{source} is larger than {MAX_BYTES} bytes: not a model for this kind of device")
    try:
        _Walk(data, schema).table("Model", _offset(data, 0))
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        _check_references(model)
    except _BrokenError as error:
        raise InputError(f"{source} is truncated or damaged ({error}): get or export it again") from error
    except Exception as error:  # what the generated accessors make of a file that passed the walk
        raise InputError(
            f"{source} is truncated or damaged ({type(error).__name__}: {error}): get or export it again"
        ) from error
    return model


class _Walk:
    """One pass over everything that can be reached from the root."""

    def __init__(self, data: bytes, schema: Any) -> None:
        self.data = data
        self.tables = 0
        self.bytes = 0
        self.max_bytes = 16 * len(data) + (1 << 20)  # a vector may be shared, but not by everything
        self.unions = {
            union: {number: name for name, number in vars(getattr(schema, union)).items() if isinstance(number, int)}
            for union in UNIONS
        }

    def table(self, kind: str, at: int) -> None:
        """Check the table of `kind` at byte `at` and all below it."""
        self.tables += 1
        if self.tables > MAX_TABLES:
            raise _BrokenError(f"more than {MAX_TABLES} tables")
        vtable = at - self._number("<i", at, 4)
        size, extent = self._number("<H", vtable, 2), self._number("<H", vtable + 2, 2)
        if size < 4 or size % 2 or extent < 4:
            raise _BrokenError(f"table {kind} at {at} has an impossible layout")
        self._inside(vtable, size, f"layout of {kind}")
        self._inside(at, extent, kind)
        fields = TABLES.get(kind, ())
        places = struct.unpack_from(f"<{(size - 4) // 2}H", self.data, vtable + 4)
        choice = 0  # the byte before a union
        for field, place in zip(fields, places, strict=False):
            if not place:
                choice = 0
                continue
            width = WIDTHS.get(field, 4)
            if place < 4 or place + width > extent:
                raise _BrokenError(f"a field of {kind} at {at} lies outside it")
            if field == "-":
                continue
            if field in WIDTHS:
                self._aligned(at + place, width, kind)
                choice = self.data[at + place]
            else:
                self._follow(kind, field, at + place, choice)
        for place in places[len(fields) :]:  # of a schema newer than ours
            if place and not 4 <= place < extent:
                raise _BrokenError(f"a field of {kind} at {at} lies outside it")

    def _follow(self, kind: str, field: str, at: int, choice: int) -> None:
        target = at + _offset(self.data, at)
        if field == "s":
            end = self._vector(target, 1, f"a string of {kind}")
            if end >= len(self.data) or self.data[end]:
                raise _BrokenError(f"a string of {kind} has no end")
        elif field.endswith("?"):
            name = self.unions[field[:-1]].get(choice)
            if choice and name is not None:
                self.table(name, target)
        elif not field.startswith("["):
            self.table(field, target)
        elif field[1:] in WIDTHS:
            self._vector(target, WIDTHS[field[1:]], f"a vector of {kind}")
        else:
            end = self._vector(target, 4, f"a vector of {kind}")
            for place in range(target + 4, end, 4):
                self.table(field[1:], place + _offset(self.data, place))

    def _vector(self, at: int, width: int, what: str) -> int:
        """The end of the vector at `at`."""
        count = self._number("<I", at, 4)
        self._inside(at + 4, count * width, what)
        if count:
            self._aligned(at + 4, width, what)
        self.bytes += count * width
        if self.bytes > self.max_bytes:
            raise _BrokenError("its parts are shared so often that it would fill the memory")
        return at + 4 + count * width

    def _number(self, form: str, at: int, width: int) -> int:
        self._inside(at, width, "an offset")
        self._aligned(at, width, "an offset")
        return int(struct.unpack_from(form, self.data, at)[0])

    def _inside(self, at: int, size: int, what: str) -> None:
        if at < 0 or at + size > len(self.data):
            raise _BrokenError(f"{what} at {at} reaches beyond the file's {len(self.data)} bytes")

    def _aligned(self, at: int, width: int, what: str) -> None:
        if at % width:
            raise _BrokenError(f"{what} at {at} is not aligned to {width} bytes")


def _offset(data: bytes, at: int) -> int:
    if at + 4 > len(data):
        raise _BrokenError(f"an offset at {at} reaches beyond the file's {len(data)} bytes")
    return int(struct.unpack_from("<I", data, at)[0])


def _check_references(model: Any) -> None:
    """Raise `_BrokenError` where an index, a shape or a constant does not fit what it refers to."""
    buffers, codes = _list(model.buffers), _list(model.operatorCodes)
    if _list(model.externalBuffers) or any((buffer.offset or 0) > 1 for buffer in buffers):
        raise _BrokenError("its constants lie outside the file")
    subgraphs = _list(model.subgraphs)
    if not subgraphs or not buffers:
        raise _BrokenError("it has no network")
    total = 0
    for subgraph in subgraphs:
        tensors = _list(subgraph.tensors)
        total += sum(_check_tensor(tensor, buffers) for tensor in tensors)
        if total > MAX_TENSOR_BYTES:
            raise _BrokenError(f"its tensors take more than {MAX_TENSOR_BYTES >> 20} MiB")
        for operator in _list(subgraph.operators):
            _index(operator.opcodeIndex, codes, "operator code")
            for number in (*_list(operator.inputs), *_list(operator.intermediates)):
                if number != -1:  # an optional input that is not given
                    _index(number, tensors, "tensor")
            for number in _list(operator.outputs):
                _index(number, tensors, "tensor")
            if (operator.largeCustomOptionsOffset or 0) > 1:
                raise _BrokenError("its options lie outside the file")
        for number in (*_list(subgraph.inputs), *_list(subgraph.outputs)):
            _index(number, tensors, "tensor")
    for entry in _list(model.metadata):
        _index(entry.buffer, buffers, "buffer")
    for number in _list(model.metadataBuffer):
        _index(number, buffers, "buffer")
    for signature in _list(model.signatureDefs):
        subgraph = _index(signature.subgraphIndex, subgraphs, "subgraph")
        for entry in (*_list(signature.inputs), *_list(signature.outputs)):
            _index(entry.tensorIndex, _list(subgraph.tensors), "tensor")


def _check_tensor(tensor: Any, buffers: list[Any]) -> int:
    """Bytes of one tensor, after a look at its shape, its constant and its quantisation."""
    shape = [int(size) for size in _list(tensor.shape)]
    if len(shape) > 8 or any(size < 0 for size in shape):
        raise _BrokenError(f"a tensor has shape {shape[:9]}")
    if len(_list(tensor.shapeSignature)) not in (0, len(shape)):
        raise _BrokenError(f"a tensor of shape {shape} has a signature of another rank")
    if tensor.type not in _BITS and tensor.type not in _UNSIZED:
        raise _BrokenError(f"a tensor has the unknown type {tensor.type}")
    size = -(-math.prod(shape) * _BITS.get(tensor.type, 0) // 8)
    content = _index(tensor.buffer, buffers, "buffer").data
    stored = 0 if content is None else len(content)
    sized = tensor.type in _BITS and tensor.sparsity is None
    if stored and sized and stored != size:
        raise _BrokenError(f"a constant of shape {shape} and type {tensor.type} has {stored} bytes, expected {size}")
    quantization = tensor.quantization
    if quantization is not None and quantization.details is None:
        scales, zeros = len(_list(quantization.scale)), len(_list(quantization.zeroPoint))
        axis = quantization.quantizedDimension or 0
        if scales > 1 and (not 0 <= axis < len(shape) or scales != shape[axis]):
            raise _BrokenError(f"a tensor of shape {shape} has {scales} scales along axis {axis}")
        if zeros not in (0, scales) and (zeros != 1 or not scales):
            raise _BrokenError(f"a tensor has {scales} scales and {zeros} zero points")
    return size if not stored else 0


def _index(number: int, among: list[Any], what: str) -> Any:
    if not 0 <= number < len(among):
        raise _BrokenError(f"it refers to {what} {number} of {len(among)}")
    return among[number]


def _list(values: Any) -> Any:
    """A vector that may be absent: a list, or the array that numbers are read into."""
    return () if values is None else values
