"""The counter that unicorn calls at every block: compiled when there is a compiler, else in Python.

Both write the same numbers. The compiled one makes an inference several times faster to emulate.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .counts import STATE, Counts
from .library import compiled_library

#: The C hook's own: the state, then the two counters and unicorn's function that stops it.
_HOOK = np.dtype([("state", STATE), ("edges", "<u8"), ("taken", "<u8"), ("stop", "<u8")])


class BlockHook:
    """Counts the blocks of one unicorn machine into `counts`."""

    def __init__(self, uc: Any, counts: Counts, *, python: bool = False) -> None:
        import unicorn

        self._counts = counts
        library = None if python else compiled_library("ts_unicorn_hook")
        if library is None:
            uc.hook_add(unicorn.UC_HOOK_BLOCK, self._block)
            return
        from unicorn.unicorn_py3.unicorn import uclib

        # unicorn writes through these as long as its machine lives: they are kept as long as this object.
        self._function = ctypes.CDLL(str(library)).ts_unicorn_block
        self._memory: NDArray[Any] = np.zeros(1, _HOOK)
        self._memory["state"] = counts.state
        counts.state = self._memory["state"]
        self._memory["edges"], self._memory["taken"] = counts.edges.ctypes.data, counts.taken.ctypes.data
        self._memory["stop"] = ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p).value
        handle = ctypes.c_size_t()
        status = uclib.uc_hook_add(
            uc._uch, ctypes.byref(handle), unicorn.UC_HOOK_BLOCK, ctypes.cast(self._function, ctypes.c_void_p),
            ctypes.c_void_p(self._memory.ctypes.data), ctypes.c_uint64(1), ctypes.c_uint64(0),
        )  # fmt: skip
        if status != 0:
            raise unicorn.UcError(status)

    def _block(self, uc: Any, address: int, size: int, user: Any) -> None:
        """What `c/startup/ts_count.h` does."""
        counts = self._counts
        state = counts.state[0]
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
