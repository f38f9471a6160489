"""Do the engines agree on a network that brings no golden vectors: a .tflite from anywhere, or a bundle on many inputs?

LiteRT's reference kernels are the measure. Engines that promise to be exact have to give the same bytes, inner tensors
included; the others and ONNX Runtime, on the file that `onnx_writer` makes of it, the same answers within a tolerance.
The graph as it was read is checked too: written out again it has to give the same logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ...runtime.int8 import dequantize
from ..engines.catalogue import catalogue
from ..engines.engine import Engine, Replay
from ..engines.tap import tap_tflite
from ..formats.tflite_structure import parse_model
from ..formats.tflite_writer import write_tflite
from ..graph import Graph, Quant
from .check import Check, guarded
from .divergence import Divergence, Order, compare_layers, compare_logits, drifting_layer, fineness, first_difference
from .verify import MAY_REFUSE, WORKERS, Found

REFERENCE = "litert-reference"

#: Steps by which the logits of an engine that rounds otherwise may be off on inputs that no front end gives, for half
#: of them and for any. LiteRT's default kernels came to 3 at most on trained students, 18 with global response
#: normalisation in ops, and 19 on an untrained network, which amplifies what rounding leaves.
TYPICAL_STEPS, STEPS = 10, 56

#: Inputs that one process gets when there are many.
CHUNK = 250

_INTEGERS = {"int8": 0, "int16": 0, "uint8": 128}


@dataclass(frozen=True, eq=False)
class Subject:
    """A .tflite with its graph and how its ends are to be read: their dtypes, and the shape that it takes."""

    data: bytes
    graph: Graph
    order: Order
    shape: tuple[int, ...]
    dtype: str
    output_dtype: str

    @classmethod
    def of(cls, data: bytes, graph: Graph) -> Subject:
        """Read the ends of `data`, whose graph is `graph`."""
        model = parse_model(data)
        subgraph, tap = model.subgraphs[0], tap_tflite(data)
        first, last = (subgraph.tensors[int(ends[0])] for ends in (subgraph.inputs, subgraph.outputs))
        kinds = {op.output: op.kind for op in graph.ops}
        order = [(name, f"{name} ({kinds[name]})" if name in kinds else name) for name in tap.names]
        dtypes = [_dtype(tensor.type) for tensor in (first, last)]
        return cls(data, graph, order, tuple(int(size) for size in first.shape[1:]), *dtypes)

    def inputs(self, values: NDArray[Any]) -> NDArray[Any]:
        """Integers of the graph's input (n, ...) as the file takes them."""
        rows = values.reshape(len(values), *self.shape)
        if self.dtype == "float32":
            return _real(rows, self.graph.input_quant)
        return (rows.astype(np.int32) + _INTEGERS[self.dtype]).astype(self.dtype)

    def logits(self, found: NDArray[Any]) -> NDArray[Any]:
        """The file's answers as the integers of the graph's output, (n, n_classes)."""
        quant = self.graph.output_quant
        rows = found.reshape(len(found), -1)
        if self.output_dtype == "float32":
            return (np.rint(rows / np.float32(quant.scale)) + quant.zero_point).astype(quant.dtype)
        return (rows.astype(np.int32) - _INTEGERS[self.output_dtype]).astype(quant.dtype)


def verify_file(
    data: bytes, graph: Graph, engines: Sequence[Engine], inputs: NDArray[Any], may_refuse: bool = False
) -> list[Check]:
    """Checks of `data`, a .tflite that was read as `graph`, on `inputs` (n, ...) in the integers of the graph's input.

    With `may_refuse` engines other than LiteRT and ONNX Runtime may lack an op of the model. The first check is the
    reading itself; nothing stops at a failure, but without the reference there is nothing more.
    """
    subject = Subject.of(data, graph)
    measure = catalogue()[REFERENCE]
    try:
        reference = measure.replay(data, subject.inputs(inputs), layers=True)
    except InputError as error:
        return [Check(measure.name, False, str(error), REFERENCE)]
    logits = subject.logits(reference.logits)

    def check(engine: Engine) -> Check:
        may = may_refuse and engine.key in MAY_REFUSE
        return guarded(engine.name, engine.key, lambda: _judge(engine, subject, inputs, reference, logits), may)

    checks = [guarded("the graph as read", None, lambda: _reading(measure, graph, inputs, logits))]
    with ThreadPoolExecutor(WORKERS) as pool:
        checks += pool.map(check, [e for e in engines if e.key != REFERENCE and e.file != "model_float.onnx"])
    return checks


def verify_many(
    data: bytes, graph: Graph, engines: Sequence[Engine], inputs: NDArray[Any], what: str
) -> Iterator[Check]:
    """Byte for byte: logits and all inner tensors of every exact engine against the reference on all of `inputs`."""
    subject = Subject.of(data, graph)
    measure = catalogue()[REFERENCE]
    exact = [engine for engine in engines if engine.exact_on(graph) and engine.key != REFERENCE]
    if not exact:
        raise InputError("--many compares exact engines: name one with --engine, such as tflite-micro")
    rows = subject.inputs(inputs)
    chunks = range(0, len(rows), CHUNK)
    expected = [measure.replay(data, rows[start : start + CHUNK], digests=True) for start in chunks]

    def compare(engine: Engine) -> Found:
        for start, wanted in zip(chunks, expected, strict=True):
            found = engine.replay(data, rows[start : start + CHUNK], digests=True)
            assert wanted.digests is not None
            same = wanted.logits.tobytes() == found.logits.tobytes()
            if same and found.digests is not None and np.array_equal(wanted.digests, found.digests):
                continue
            return _first_of_many(engine, measure, subject, rows, start, wanted, found)
        tensors = len(subject.order)
        return (
            True,
            f"{len(rows):,} {what} inputs: logits and all {tensors} inner tensors are byte for byte equal",
            None,
        )

    for engine in exact:
        yield guarded(f"{engine.name}, {what}", engine.key, partial(compare, engine))


def _first_of_many(
    engine: Engine,
    measure: Engine,
    subject: Subject,
    rows: NDArray[Any],
    start: int,
    wanted: Replay,
    found: Replay,
) -> Found:
    differs = (wanted.logits != found.logits).reshape(len(wanted.logits), -1).any(axis=1)
    if wanted.digests is not None and found.digests is not None:
        differs |= (wanted.digests != found.digests).any(axis=1)
    if not differs.any():
        return False, "it gives no digests of its inner tensors", None
    number = start + int(differs.argmax())
    pair = [e.replay(subject.data, rows[number : number + 1], layers=True) for e in (measure, engine)]
    difference = compare_layers(subject.order, pair[0].layers or {}, pair[1].layers or {})
    return False, f"input {number}: {difference or 'its answers vary from run to run'}", difference


def _reading(measure: Engine, graph: Graph, inputs: NDArray[Any], logits: NDArray[Any]) -> Found:
    """The graph written out again against the file itself."""
    again = measure.replay(write_tflite(graph), inputs.reshape(len(inputs), *graph.tensor[graph.input].shape[1:]))
    difference = first_difference("logits", logits, again.logits.reshape(len(inputs), -1))
    if difference:
        return False, f"written out again it differs: {difference}", difference
    return True, f"written out again it gives the same {logits.size:,} logits on {len(inputs)} inputs", None


def _judge(engine: Engine, subject: Subject, inputs: NDArray[Any], reference: Replay, expected: NDArray[Any]) -> Found:
    graph, layers = subject.graph, reference.layers or {}
    quant = graph.output_quant
    if engine.file.endswith(".onnx"):
        from ..formats.onnx_writer import write_onnx

        real = _real(inputs.reshape(len(inputs), *graph.tensor[graph.input].shape[1:]), graph.input_quant)
        real = np.moveaxis(real, -1, 1) if real.ndim == 4 else real
        found = engine.replay(write_onnx(graph), np.ascontiguousarray(real), layers=True)
        logits = found.logits.reshape(len(inputs), -1)
        theirs = {n: np.moveaxis(v, 1, -1) if v.ndim == 4 else v for n, v in (found.layers or {}).items()}
    else:
        found = engine.replay(subject.data, subject.inputs(inputs), layers=True)
        theirs = dict(found.layers or {})
        integers = subject.logits(found.logits)
        if engine.exact_on(graph):
            difference = compare_layers(subject.order, layers, theirs) or first_difference("logits", expected, integers)
            equal = f"{len(subject.order)} inner tensors and {expected.size:,} logits are bit for bit equal"
            return difference is None, equal if difference is None else str(difference), difference
        logits = _real(integers, quant)
    real_logits = _real(expected, quant)
    fine = fineness(quant.dtype)
    ok, detail = compare_logits(real_logits, logits, STEPS * fine * quant.scale, quant.scale)
    detail = detail.replace("clips", "inputs")
    if logits.shape == real_logits.shape:
        typical = float(np.median(np.abs(logits - real_logits).max(axis=1))) / quant.scale
        ok &= typical <= TYPICAL_STEPS * fine
        detail += f", {typical:.0f} steps for half of them (at most {TYPICAL_STEPS * fine})"
    drift: Divergence | None = None
    if not ok:
        integers_only = {name: v for name, v in layers.items() if v.dtype.kind == "i"}
        drift = drifting_layer(subject.order, integers_only, theirs, {})
    return ok, detail if drift is None else f"{drift}; {detail}", drift


def _real(values: NDArray[Any], quant: Quant) -> NDArray[np.float32]:
    return dequantize(values, quant.scale, quant.zero_point)


def _dtype(number: int) -> str:
    names = {0: "float32", 3: "uint8", 7: "int16", 9: "int8"}  # the schema's TensorType
    if number not in names:
        raise InputError(f"the .tflite's ends are of type {number}, expected int8, int16, uint8 or float32")
    return names[number]
