"""The C library built for this machine, and its structs, for tests that call single functions."""

from __future__ import annotations

import ctypes
import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyscene.firmware_bench.families import LIBRARY

_FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O2", "-shared", "-fPIC")


class Conv(ctypes.Structure):
    """`ts_conv`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "requant")),
        *((name, ctypes.c_int32) for name in ("inputs", "outputs", "zero_point", "low", "high")),
    )


class Operand(ctypes.Structure):
    """`ts_operand`."""

    _fields_ = (("data", ctypes.c_void_p), ("column_step", ctypes.c_int32), ("channel_step", ctypes.c_int32))


def build(sources: tuple[str, ...], folder: Path, defines: tuple[str, ...] = ()) -> ctypes.CDLL:
    """A shared library of files of the C library, which have to compile without a warning; skips without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: run `apt-get install gcc`")
    target = folder / "library.so"
    files = [str(LIBRARY / name) for name in sources]
    subprocess.run([compiler, *_FLAGS, *defines, *files, "-o", str(target)], check=True, timeout=100)
    return ctypes.CDLL(str(target))


def fields(parameters: Any, name: str) -> Any:
    """A C struct of int32 with the fields of a frozen dataclass, up to and including `name`."""
    values = dataclasses.asdict(parameters)
    names = list(values)[: list(values).index(name) + 1]
    return (ctypes.c_int32 * len(names))(*(values[key] for key in names))


def pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    """Where a contiguous array begins."""
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def pointers(rows: list[NDArray[np.int8]]) -> Any:
    """`const int8_t *const *` of contiguous rows."""
    return (ctypes.c_void_p * max(len(rows), 1))(*(row.ctypes.data for row in rows))
