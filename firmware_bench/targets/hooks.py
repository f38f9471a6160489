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
_HOOK = np.dtype([("state", STATE), ("edges", "<u8"), ("taken", "<u8"), ("stop", "<u8"), ("unaligned", "<i8")])


class BlockHook:
    """Counts the blocks of one unicorn machine into `counts`.

    With `aligned` its accesses to memory are looked at too, because unicorn lets every processor do those that a part
    of architecture 6 faults at; that is twenty times slower.
    """

    def __init__(self, uc: Any, counts: Counts, *, aligned: bool = False, python: bool = False) -> None:
        import unicorn

        self._uc = uc
        self._counts = counts
        self._unaligned = 0
        accesses = unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE
        library = None if python else compiled_library("ts_unicorn_hook")
        self._memory: NDArray[Any] | None = None
        if library is None:
            uc.hook_add(unicorn.UC_HOOK_BLOCK, self._block)
            if aligned:
                uc.hook_add(accesses, self._access)
            return
        from unicorn.unicorn_py3.unicorn import uclib

        # unicorn writes through these as long as its machine lives: they are kept as long as this object.
        self._functions = ctypes.CDLL(str(library))
        self._uclib = uclib
        self._memory = np.zeros(1, _HOOK)
        self._memory["state"] = counts.state
        counts.state = self._memory["state"]
        self._memory["edges"], self._memory["taken"] = counts.edges.ctypes.data, counts.taken.ctypes.data
        self._memory["stop"] = ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p).value
        self._add(unicorn.UC_HOOK_BLOCK, self._functions.ts_unicorn_block)
        if aligned:
            self._add(accesses, self._functions.ts_unicorn_access)

    def unaligned(self) -> int | None:
        """The address of the access that stopped the machine because its size does not divide it; None for none."""
        found = self._unaligned if self._memory is None else int(self._memory["unaligned"][0])
        return found - 1 if found else None

    def _add(self, kind: int, function: Any) -> None:
        """Have unicorn call a C function."""
        import unicorn

        assert self._memory is not None
        handle = ctypes.c_size_t()
        status = self._uclib.uc_hook_add(
            self._uc._uch, ctypes.byref(handle), kind, ctypes.cast(function, ctypes.c_void_p),
            ctypes.c_void_p(self._memory.ctypes.data), ctypes.c_uint64(1), ctypes.c_uint64(0),
        )  # fmt: skip
        if status != 0:
            raise unicorn.UcError(status)

    def _access(self, uc: Any, kind: int, address: int, size: int, value: int, user: Any) -> None:
        if address & (size - 1) and not self._unaligned:
            self._unaligned = address + 1
            uc.emu_stop()

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
