"""A generated model built for this machine and run through ctypes, and LiteRT's reference kernels to hold it to."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from numpy.typing import NDArray

from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph
from tinyscene.firmware_bench.generator import GeneratedModel

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror")

#: Hands each row on to a function of Python's.
_TAP = """\
#include "model.h"
static void (*show)(int32_t, int32_t, const int8_t *, int32_t);
void set_tap(void (*f)(int32_t, int32_t, const int8_t *, int32_t));
void set_tap(void (*f)(int32_t, int32_t, const int8_t *, int32_t)) { show = f; }
void ts_model_tap(int32_t tensor, int32_t row, const int8_t *data, int32_t bytes) { show(tensor, row, data, bytes); }
"""

_Tap = ctypes.CFUNCTYPE(None, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32)

_GUARD, _GUARD_BYTES = 77, 64


class _Input(ctypes.Structure):
    """`ts_input`."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("row_step", ctypes.c_int32),
        ("column_step", ctypes.c_int32),
        ("first", ctypes.c_int32),
        ("columns", ctypes.c_int32),
    )


def compiler(name: str = "gcc") -> str:
    """Path of a C compiler; skips without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}: run `apt-get install {name}`")
    return found


def write(model: GeneratedModel, folder: Path, tap: bool = True) -> list[str]:
    """Write the files and, for a debug build, what receives its rows; returns the names of the C sources."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {**model.files, "tap.c": _TAP} if tap else model.files
    for name, content in files.items():
        assert isinstance(content, str)
        (folder / name).write_text(content)
    return [name for name in files if name.endswith(".c")]


class HostModel:
    """The debug build of a generated model in this process."""

    def __init__(self, model: GeneratedModel, folder: Path, flags: Iterable[str] = ("-O1",)) -> None:
        self.model = model
        sources = write(model, folder)
        command = [compiler(), *STRICT, *flags, "-DTS_MODEL_TAP", "-shared", "-fPIC", "-o", "model.so", *sources]
        subprocess.run(command, cwd=folder, check=True, timeout=100)
        self._library = ctypes.CDLL(str(folder / "model.so"))
        self._rows: dict[int, dict[int, bytes]] = {}
        self._tap = _Tap(self._show)
        self._library.set_tap(self._tap)

    def _show(self, tensor: int, row: int, data: int, size: int) -> None:
        self._rows.setdefault(tensor, {})[row] = ctypes.string_at(data, size)

    def run(self, values: NDArray[np.int8], ring_from: int | None = None) -> NDArray[np.int8]:
        """Logits of an input (rows, columns, channels), given as it is, or as a ring of frames that begins anywhere.

        The arena is filled with another pattern before each run, and what lies around it must stay as it was.
        """
        rows, columns, channels = values.shape
        if ring_from is None:
            held = np.ascontiguousarray(values)
            given = _Input(held.ctypes.data, columns * channels, channels, 0, columns)
        else:
            held = np.ascontiguousarray(np.roll(values.transpose(1, 0, 2), ring_from, axis=0))
            given = _Input(held.ctypes.data, channels, rows * channels, ring_from, columns)
        plan = self.model.plan
        memory = np.full(plan.arena_bytes + 2 * _GUARD_BYTES + 16, _GUARD, np.int8)
        start = _GUARD_BYTES - (memory.ctypes.data + _GUARD_BYTES) % 16 + 16
        memory[start : start + plan.arena_bytes] = np.random.default_rng(0).integers(-128, 128, plan.arena_bytes)
        classes = plan.stages[-1].plane.rows * plan.stages[-1].plane.data_bytes
        logits = np.full(classes + 2, _GUARD, np.int8)
        self._rows.clear()
        arena = ctypes.c_void_p(memory.ctypes.data + start)
        self._library.ts_model_run(arena, ctypes.byref(given), ctypes.c_void_p(logits.ctypes.data + 1))
        around = np.concatenate([memory[:start], memory[start + plan.arena_bytes :], logits[[0, -1]]])
        assert (around == _GUARD).all(), "bytes around the arena or the logits were written"
        return logits[1:-1].copy()

    def tensor(self, name: str) -> NDArray[np.int8]:
        """Values of a tensor in the last run, flat; rows that nothing needed are missing at the end."""
        rows = self._rows.get(self.model.tensors.index(name), {})
        assert sorted(rows) == list(range(len(rows)))
        return np.frombuffer(b"".join(rows[row] for row in range(len(rows))), np.int8)


class Reference:
    """LiteRT's reference kernels on a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._interpreter = litert.Interpreter(
            model_content=write_tflite(graph),
            num_threads=1,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
        )
        self._interpreter.allocate_tensors()
        details = self._interpreter.get_tensor_details()
        self._index = {entry["name"]: entry["index"] for entry in details}

    def run(self, values: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        """Every activation of an input (rows, columns, channels), by name."""
        given = self._interpreter.get_input_details()[0]
        self._interpreter.set_tensor(given["index"], values.reshape(given["shape"]))
        self._interpreter.invoke()
        names = [self.graph.input, *(op.output for op in self.graph.ops)]
        return {name: self._interpreter.get_tensor(self._index[name]).copy() for name in names}


def assert_same(host: HostModel, reference: Reference, inputs: Iterable[NDArray[np.int8]]) -> set[bytes]:
    """Logits and every tensor that the C makes equal the reference, byte for byte; returns the answers."""
    answers = set()
    for values in inputs:
        logits, expected = host.run(values), reference.run(values)
        for name, tensor in expected.items():
            if name not in host.model.tensors:
                continue
            found = host.tensor(name)
            whole = tensor.reshape(-1)[: found.size]
            wrong = int((found != whole).sum())
            assert wrong == 0, f"{name}: {wrong} of {found.size} values differ"
        np.testing.assert_array_equal(logits, expected[reference.graph.output].reshape(-1))
        answers.add(logits.tobytes())
    return answers


def adversarial(shape: tuple[int, ...], count: int) -> list[NDArray[np.int8]]:
    """Inputs at the ends of the range: constants, stripes, single spikes, noise of all sizes."""
    rng = np.random.default_rng(4)
    found = [np.full(shape, value, np.int8) for value in (-128, 127, 0, -1, 1)]
    stripes = np.indices(shape)
    found += [np.where(stripes[axis] % 2 == 0, -128, 127).astype(np.int8) for axis in (0, 1)]
    found.append(np.where((stripes[0] + stripes[1]) % 2 == 0, 127, -128).astype(np.int8))
    while len(found) < count:
        kind = len(found) % 4
        if kind == 0:
            values = rng.integers(-128, 128, shape)
        elif kind == 1:
            values = np.where(rng.random(shape) < 0.5, -128, 127)
        elif kind == 2:
            values = np.full(shape, int(rng.integers(-128, 128)))
            values[tuple(rng.integers(0, size) for size in shape)] = int(rng.choice([-128, 127]))
        else:
            values = np.clip(rng.normal(rng.integers(-100, 100), rng.integers(1, 60), shape), -128, 127)
        found.append(values.astype(np.int8))
    return found[:count]
