"""The C front end as files: the tables written out, and the names of the library's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ...runtime.frontend_spec import FrontendSpec
from .tables import Tables, first_pass, fixed_constants, make_tables, passes

_COMMON = ("ts_fft_number.h", "ts_fft.h", "ts_fft.c", "ts_frontend.h", "ts_frontend.c", "ts_frontend_mel.h")
_SCENE = ("ts_scene.h", "ts_scene.c")


def library(fixed: bool) -> tuple[str, ...]:
    """Files of the C library that the front end and the scene are made of, beside those `files` writes.

    The scene also includes `ts_input.h` and the generated `model.h`.
    """
    name = "ts_frontend_fixed" if fixed else "ts_frontend_float"
    return (*_COMMON, f"{name}.h", f"{name}.c", *_SCENE)


def files(spec: FrontendSpec, input_scale: float, input_zero_point: int, fixed: bool) -> dict[str, str]:
    """frontend_tables.h and frontend_tables.c for the contract and the int8 input it ends in.

    `fixed` is for parts without an FPU. Raises `InputError` for a contract or a quantisation that the C cannot do.
    """
    if not 0.0 < input_scale < np.inf or not -128 <= input_zero_point <= 127:
        raise InputError(
            f"the network's input has scale {input_scale} and zero point {input_zero_point}, expected a positive scale "
            "and a zero point of int8"
        )
    tables = make_tables(spec, fixed)
    return {
        "frontend_tables.h": _header(tables, input_scale, input_zero_point),
        "frontend_tables.c": _source(tables),
    }


def _header(tables: Tables, input_scale: float, input_zero_point: int) -> str:
    spec, fixed = tables.spec, tables.fixed
    number = "int32_t" if fixed else "float"
    macros: dict[str, tuple[object, str]] = {
        "CONTRACT_HASH": (f'"{spec.hash()}"', ""),
        "CONTRACT": (f"0x{spec.hash()[:8]}u", "its first 32 bits"),
        "FIXED": (int(fixed), "1: whole numbers, 0: single precision"),
        "SAMPLE_RATE_HZ": (spec.sample_rate_hz, ""),
        "N_FFT": (spec.n_fft, ""),
        "WINDOW": (spec.win_length, "samples"),
        "HOP": (spec.hop_length, "samples"),
        "MELS": (spec.n_mels, ""),
        "FRAMES": (spec.n_frames(), "of one decision"),
        "INPUT_ZERO_POINT": (input_zero_point, "of the network's input"),
        "FIRST_BIN": (tables.first_bin, "of the mel bank"),
        "BINS": (len(tables.weights), ""),
        "FFT_FIRST": (first_pass(spec), "points in the transforms of the first pass"),
        "FFT_PASSES": (passes(spec), "after it, each of four transforms into one"),
        "TABLE_BYTES": (tables.flash_bytes, "of flash"),
    }
    notes = {
        "PREEMPHASIS": "in units of 1 / 32768",
        "MAX_SHIFT": "that a soft window is raised by",
        "UNIT": "an energy of 1 is 2^(UNIT + 2 shift)",
        "OFFSET": "log_offset is OFFSET * 2^OFFSET_SHIFT of them",
        "BIN_BITS": "of a bin's parts",
        "OCTAVE": "int8 steps in units of 2^-24",
        "BIAS": "int8 steps of energy 1, in units of 2^-16",
    }
    if fixed:
        for name, whole in fixed_constants(tables, input_scale, input_zero_point).items():
            text = f"{whole}u" if name == "OFFSET" else f"({whole})" if whole < 0 else f"{whole}"
            macros[name] = (text, notes.get(name, ""))
    else:
        for name, real in {
            "PREEMPHASIS": spec.preemphasis,
            "LOG_OFFSET": spec.log_offset,
            "NORM_SHIFT": spec.norm_shift,
            "NORM_SCALE": spec.norm_scale,
            "INPUT_SCALE": input_scale,
        }.items():
            macros[name] = (_float(real), "")
    lines = [
        "/* Written by tinyscene: the log-mel front end's contract and its tables.",
        f" * {spec.sample_rate_hz} Hz, window {spec.win_length} in {spec.n_fft} points, hop {spec.hop_length}, "
        f"{spec.n_mels} mels from {spec.fmin_hz:g} to {spec.fmax_hz:g} Hz. */",
        "#ifndef TS_FRONTEND_TABLES_H",
        "#define TS_FRONTEND_TABLES_H",
        "",
        "#include <stdint.h>",
        "",
    ]
    for name, (value, note) in macros.items():
        lines.append(f"#define TS_FRONTEND_{name} {value}" + (f" /* {note} */" if note else ""))
    lines.append("")
    for name, kind, size, note in _arrays(tables, number):
        lines += [f"/* {note} */", f"extern const {kind} ts_frontend_{name}[{size}];"]
    return "\n".join([*lines, "", "#endif", ""])


def _source(tables: Tables) -> str:
    lines = ["/* Written by tinyscene: the tables of frontend_tables.h. */", '#include "frontend_tables.h"', ""]
    for name, kind, size, _ in _arrays(tables, "int32_t" if tables.fixed else "float"):
        lines += [f"const {kind} ts_frontend_{name}[{size}] = {{", *_rows(getattr(tables, name)), "};", ""]
    return "\n".join(lines)


def _arrays(tables: Tables, number: str) -> list[tuple[str, str, int, str]]:
    """Name, C type, size and comment of each table."""
    weight = "uint16_t" if tables.fixed else "float"
    unit = " in units of 2^-31" if tables.fixed else ""
    arrays = [
        ("window", number, len(tables.window), f"first half of the window{unit or ', times 2^-16'}"),
        ("cosine", number, len(tables.cosine), f"of a quarter turn in steps of 1 / N_FFT{unit}"),
        ("segments", "uint16_t", len(tables.segments), "where each segment's weights begin; the last is their number"),
        ("weights", weight, len(tables.weights), "of the rising triangle" + (", 2^-16" if tables.fixed else "")),
    ]
    if tables.fixed:
        arrays.append(("log2", "int32_t", len(tables.log2), "log2(1 + i / 128) in units of 2^-24"))
    return arrays


def _rows(values: NDArray[Any]) -> list[str]:
    """The numbers, twelve a line."""
    words = [_float(value) if values.dtype == np.float32 else str(value) for value in values.tolist()]
    return ["    " + ", ".join(words[start : start + 12]) + "," for start in range(0, len(words), 12)]


def _float(value: float) -> str:
    """A C literal that reads back as the same float32."""
    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"
