"""The counter that unicorn calls at every block: compiled when there is a compiler, else in Python.

Both write the same numbers. The compiled one makes an inference several times faster to emulate.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .counts import Counts
from .toolchains import zig_command

#: State shared with the hook, int64 each: first address, past the last address, budget in bytes of code, end of the
#: block before, 1 once the budget is spent; then two pointers.
_STATE = np.dtype(
    [("first", "<i8"), ("end", "<i8"), ("budget", "<i8"), ("previous", "<i8"), ("stopped", "<i8"),
     ("edges", "<u8"), ("taken", "<u8"), ("stop", "<u8")]
)  # fmt: skip

_SOURCE = """
#include <stdint.h>
typedef struct {
    int64_t first, end, budget, previous, stopped;
    int64_t *edges, *taken;
    int (*stop)(void *);
} ts_state;
void ts_block(void *uc, uint64_t address, uint32_t size, void *user) {
    ts_state *s = (ts_state *)user;
    const int64_t at = (int64_t)address, past = at + (int64_t)size;
    if (s->previous != at && s->previous >= s->first && s->previous <= s->end) {
        ++s->taken[(s->previous - s->first) >> 1];
    }
    s->previous = past;
    if (at >= s->first && past <= s->end) {
        ++s->edges[(at - s->first) >> 1];
        --s->edges[(past - s->first) >> 1];
    }
    s->budget -= (int64_t)size;
    if (s->budget < 0) {
        s->stopped = 1;
        s->stop(uc);
    }
}
"""


@functools.cache
def compiled_hook() -> Any:
    """The hook as a C function, compiled once in this process; None without a compiler."""
    zig = zig_command()
    commands = [[path] for name in ("gcc", "cc", "clang") if (path := shutil.which(name))]
    if zig is not None:
        commands.append([*zig, "cc"])
    for command in commands:
        with tempfile.TemporaryDirectory(prefix="tinyscene-hook-", ignore_cleanup_errors=True) as name:
            source, library = Path(name) / "hook.c", Path(name) / f"hook{'.dll' if sys.platform == 'win32' else '.so'}"
            source.write_text(_SOURCE)
            done = subprocess.run(
                [*command, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)],
                capture_output=True, check=False, timeout=120,
            )  # fmt: skip
            if done.returncode == 0:
                return ctypes.CDLL(str(library)).ts_block
    return None


class BlockHook:
    """Counts the blocks of one unicorn machine into `counts`."""

    def __init__(self, uc: Any, counts: Counts, *, python: bool = False) -> None:
        import unicorn
        from unicorn.unicorn_py3.unicorn import uclib

        self._counts = counts
        self._state: NDArray[Any] = np.zeros(1, _STATE)
        self._state["first"], self._state["end"] = counts.first, counts.end
        self._state["edges"], self._state["taken"] = counts.edges.ctypes.data, counts.taken.ctypes.data
        self._function = None if python else compiled_hook()
        self._uc = uc
        if self._function is None:
            uc.hook_add(unicorn.UC_HOOK_BLOCK, self._block)
            return
        self._state["stop"] = ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p).value
        handle = ctypes.c_size_t()
        status = uclib.uc_hook_add(
            uc._uch, ctypes.byref(handle), unicorn.UC_HOOK_BLOCK, ctypes.cast(self._function, ctypes.c_void_p),
            ctypes.c_void_p(self._state.ctypes.data), ctypes.c_uint64(1), ctypes.c_uint64(0),
        )  # fmt: skip
        if status != 0:
            raise unicorn.UcError(status)

    def begin(self, budget: int, entry: int) -> None:
        """Count from nothing, from a jump to `entry`; stop the machine after `budget` bytes of code."""
        self._counts.clear()
        state = self._state[0]
        state["budget"], state["previous"], state["stopped"] = budget, entry, 0

    @property
    def stopped(self) -> bool:
        """Whether the budget was spent."""
        return bool(self._state["stopped"][0])

    def _block(self, uc: Any, address: int, size: int, user: Any) -> None:
        state, counts = self._state[0], self._counts
        previous, past = int(state["previous"]), address + size
        if previous != address and counts.first <= previous <= counts.end:
            counts.taken[(previous - counts.first) >> 1] += 1
        state["previous"] = past
        if address >= counts.first and past <= counts.end:
            counts.edges[(address - counts.first) >> 1] += 1
            counts.edges[(past - counts.first) >> 1] -= 1
        state["budget"] -= size
        if state["budget"] < 0:
            state["stopped"] = 1
            uc.emu_stop()
