"""A network as compiled C in this process, and its debug build, which shows every tensor it makes."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...export.graph import Graph
from ...runtime.errors import InputError
from ..generator import GeneratedModel
from .library import shared_library

#: Hands each row of the debug build on to Python.
_TAP = """\
#include "model.h"
typedef void ts_tap(int32_t tensor, int32_t row, const int8_t *data, int32_t bytes);
static ts_tap *ts_tap_show;
void ts_tap_set(ts_tap *show);
void ts_tap_set(ts_tap *show) { ts_tap_show = show; }
void ts_model_tap(int32_t tensor, int32_t row, const int8_t *data, int32_t bytes) {
    if (ts_tap_show) {
        ts_tap_show(tensor, row, data, bytes);
    }
}
"""

_Tap = ctypes.CFUNCTYPE(None, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32)

#: Rows begin on a cache line.
_ALIGNMENT = 64


class _Input(ctypes.Structure):
    """`ts_input`."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("row_step", ctypes.c_int32),
        ("column_step", ctypes.c_int32),
        ("first", ctypes.c_int32),
        ("columns", ctypes.c_int32),
    )


class NativeModel:
    """Generated C of the `host` family, compiled and loaded. An object has an arena of its own: threads may run two
    objects at once, but not one."""

    def __init__(self, model: GeneratedModel, graph: Graph, tapped: bool = False) -> None:
        """`tapped` is the debug build. Raises `UnavailableError` without a C compiler."""
        files = {**model.files, "ts_tap.c": _TAP} if tapped else model.files
        self.model, self.graph = model, graph
        self.path = shared_library(files, ("TS_MODEL_TAP",) if tapped else ())
        self._library = _load(self.path)
        self._library.ts_model_run.restype = None
        self._library.ts_host_kernels.restype = ctypes.c_char_p
        self._library.ts_host_form_name.restype = ctypes.c_char_p
        plane = model.plan.stages[0].plane
        self.shape = (plane.rows, plane.columns, plane.channels)
        self.classes = int(np.prod(graph.tensor[graph.output].shape))
        memory = np.zeros(model.plan.arena_bytes + _ALIGNMENT, np.int8)
        start = -memory.ctypes.data % _ALIGNMENT
        self._arena = memory[start : start + model.plan.arena_bytes]

    @property
    def kernels(self) -> str:
        """Which form of the kernels runs, as C chose it for this processor: avx512, avx2, neon-dot, neon or plain."""
        return str(self._library.ts_host_kernels().decode())

    def forms(self) -> list[str]:
        """Forms in this build, the best first; the processor need not have each."""
        names = iter(range(16))
        found = iter(lambda: self._library.ts_host_form_name(next(names)), None)
        return [name.decode() for name in found]

    def use(self, form: str) -> bool:
        """Take that form, in every object of this network in the process; False where the processor lacks it."""
        return bool(self._library.ts_host_select(form.encode()))

    def run(self, values: NDArray[np.int8]) -> NDArray[np.int8]:
        """Int8 logits (n_classes,) of an int8 input (rows, columns, channels); raises `InputError` for another."""
        if values.shape != self.shape or values.dtype != np.int8:
            raise InputError(
                f"{self.graph.name} takes int8 {list(self.shape)}, got {values.dtype} {list(values.shape)}"
            )
        held = np.ascontiguousarray(values)
        _, columns, channels = self.shape
        given = _Input(held.ctypes.data, columns * channels, channels, 0, columns)
        logits = np.empty(self.classes, np.int8)
        self._library.ts_model_run(
            ctypes.c_void_p(self._arena.ctypes.data), ctypes.byref(given), ctypes.c_void_p(logits.ctypes.data)
        )
        return logits


class TappedModel:
    """The debug build: logits and every activation of the graph."""

    #: The C tells one listener in the process of its rows.
    _lock = threading.Lock()

    def __init__(self, model: GeneratedModel, graph: Graph) -> None:
        """Raises as `NativeModel` does."""
        self._model, self.graph = NativeModel(model, graph, tapped=True), graph

    def run(self, values: NDArray[np.int8]) -> tuple[NDArray[np.int8], dict[str, NDArray[np.int8]]]:
        """Logits (n_classes,) of an input (rows, columns, channels), and each op's output by name in its shape.

        The C folds padding into what reads it: a PAD's output is made here of what it pads. Raises `InputError` for a
        tensor of which the C does not make every row, because nothing reads them.
        """
        model, rows = self._model.model, dict[tuple[int, int], bytes]()

        def show(tensor: int, row: int, data: int, size: int) -> None:
            rows[tensor, row] = ctypes.string_at(data, size)

        listener = _Tap(show)
        with self._lock:
            self._model._library.ts_tap_set(listener)
            try:
                logits = self._model.run(values)
            finally:
                self._model._library.ts_tap_set(_Tap(0))
        number = {name: place for place, name in enumerate(model.tensors)}
        found = {self.graph.input: values[None]}
        for op in self.graph.ops:
            shape = self.graph.tensor[op.output].shape
            if op.output in number:
                place = number[op.output]
                count = model.plan.stages[place].plane.rows
                data = b"".join(rows.get((place, row), b"") for row in range(count))
                if len(data) != int(np.prod(shape)):
                    raise InputError(f"the C does not make all of {op.output}: what it leaves out is read by nothing")
                found[op.output] = np.frombuffer(data, np.int8).reshape(shape)
            elif op.kind == "PAD":
                quant = self.graph.tensor[op.output].quant
                widths = ((0, 0), *op.pads, (0, 0))
                found[op.output] = np.pad(
                    found[op.inputs[0]], widths, constant_values=0 if quant is None else quant.zero_point
                )
            elif op.kind == "RESHAPE":
                found[op.output] = found[op.inputs[0]].reshape(shape)
            else:
                raise InputError(f"the C does not make {op.output} ({op.kind}) as a tensor of its own")
        return logits, {op.output: found[op.output] for op in self.graph.ops}


def _load(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be loaded ({error}): remove it and try again") from error
