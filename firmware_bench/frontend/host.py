"""The C front end compiled for this machine, to be measured and tested."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError, UnavailableError
from ...runtime.frontend_spec import FrontendSpec
from ..families import LIBRARY
from .sources import files, library

#: One call for Python, with the values before rounding beside the frames.
GLUE = """
#include "ts_fft.h"
#include "ts_frontend.h"
#include "ts_frontend_mel.h"

static ts_number *glue_steps;
void ts_frontend_tap(ts_number steps) { *glue_steps++ = steps; }

int32_t glue_bytes(void);
int32_t glue_bytes(void) { return (int32_t)sizeof(ts_frontend); }

int32_t glue_feed(ts_frontend *frontend, void *scratch, const int16_t *pcm, int32_t n, int8_t *out, ts_number *steps);
int32_t glue_feed(ts_frontend *frontend, void *scratch, const int16_t *pcm, int32_t n, int8_t *out, ts_number *steps) {
    int32_t frames = 0;
    glue_steps = steps;
    while (n > 0 || ts_frontend_due(frontend)) {
        const int32_t taken = ts_frontend_push(frontend, pcm, n);
        pcm += taken;
        n -= taken;
        if (ts_frontend_due(frontend)) {
            ts_frontend_frame(frontend, scratch, out + frames++ * TS_FRONTEND_MELS);
        }
    }
    return frames;
}
"""


def host_compiler() -> list[str]:
    """`$CC`, or the first C compiler found; raises `UnavailableError` where there is none."""
    if chosen := os.environ.get("CC"):
        return chosen.split()
    for name in ("gcc", "clang", "cc"):
        if found := shutil.which(name):
            return [found]
    raise UnavailableError("measuring the C front end needs a C compiler: run `apt-get install gcc`")


def compile_c(command: Sequence[str], sources: Sequence[Path], out: Path) -> Path:
    """Run a compiler on C files and return what it made; raises `InputError` with its words where it fails."""
    done = subprocess.run(
        [*command, *map(str, sources), "-o", str(out)], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise InputError(f"{command[0]} could not compile the C front end: {done.stderr.strip()[-2000:]}")
    return out


def write_sources(
    folder: Path, spec: FrontendSpec, input_scale: float, input_zero_point: int, fixed: bool
) -> list[Path]:
    """Write the front end without the scene to `folder`; returns its .c files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = dict(files(spec, input_scale, input_zero_point, fixed))
    for name in library(fixed):
        if not name.startswith("ts_scene"):
            written[name] = (LIBRARY / name).read_text()
    for name, text in written.items():
        (folder / name).write_text(text)
    return [folder / name for name in written if name.endswith(".c")]


@dataclass(frozen=True)
class Arithmetic:
    """What the C calculates in; `narrow` takes fixed point as parts do it that multiply to 32 bits only."""

    fixed: bool
    narrow: bool = False


class HostFrontend:
    """A stream through the C front end on this machine, built in `folder`."""

    def __init__(
        self,
        folder: Path,
        spec: FrontendSpec,
        input_scale: float,
        input_zero_point: int,
        arithmetic: Arithmetic,
        flags: Sequence[str] = ("-O2",),
    ) -> None:
        sources = write_sources(folder, spec, input_scale, input_zero_point, arithmetic.fixed)
        glue = folder / "glue.c"
        glue.write_text(GLUE)
        options = [
            "-std=c99",
            "-shared",
            "-fPIC",
            *flags,
            f"-DTS_FRONTEND_NARROW={int(arithmetic.narrow)}",
            "-DTS_FRONTEND_TAP",
        ]
        # A loaded library stays: each instance gets a file of its own.
        out = folder / f"frontend{id(self)}.so"
        self._library = ctypes.CDLL(
            str(compile_c([*host_compiler(), *options, f"-I{folder}"], [*sources, glue], out).resolve())
        )
        self.spec, self.fixed = spec, arithmetic.fixed
        self._zero_point = input_zero_point
        self.state_bytes: int = self._library.glue_bytes()
        self._state = (ctypes.c_int64 * (self.state_bytes // 8 + 1))()
        self._scratch = (ctypes.c_int64 * (spec.n_fft // 2))()
        self.reset()

    def reset(self) -> None:
        """Start a new stream."""
        self._library.ts_frontend_init(self._state)

    def push(self, pcm: NDArray[np.int16]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
        """Feed int16 (n,) and return the frames that they complete: int8 (n_mels, k), and the same before rounding and
        clipping, in int8 steps, float64 (n_mels, k)."""
        pcm = np.ascontiguousarray(pcm, np.int16)
        room = 2 + len(pcm) // self.spec.hop_length
        frames = np.empty((room, self.spec.n_mels), np.int8)
        steps = np.empty(frames.shape, np.int32 if self.fixed else np.float32)
        count = self._library.glue_feed(
            self._state,
            self._scratch,
            pcm.ctypes.data_as(ctypes.c_void_p),
            len(pcm),
            frames.ctypes.data_as(ctypes.c_void_p),
            steps.ctypes.data_as(ctypes.c_void_p),
        )
        values = steps[:count].T.astype(np.float64)
        return frames[:count].T.copy(), values / 65536.0 if self.fixed else values + self._zero_point
