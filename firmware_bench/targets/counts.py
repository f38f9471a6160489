"""From how often each block ran to instructions, functions and modelled cycles.

A block is a run of instructions with one entry. Adding 1 where each executed block begins and taking 1 away where it
ends makes the running sum the number of times each place in the code was executed; blocks may overlap, as they do when
the same code is entered in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .build import Firmware
from .cycles import modelled_cycles

#: The struct `ts_count` of `c/startup/ts_count.h`.
STATE = np.dtype([(name, "<i8") for name in ("first", "end", "budget", "previous", "stopped")])


class Counts:
    """The counters of one firmware's code, one for every two bytes.

    `state` (1,) STATE says where the code lies and how much of it may still run, `edges` (n + 1,) int64 takes the
    beginnings and ends of blocks, `taken` (n + 1,) int64 counts at the end of a block how often execution went on
    elsewhere. An emulator writes into all three. With `memory`, int64 of `memory_words`, they lie in it, and behind
    them (n,) whether the instruction at each place is a wide one.
    """

    def __init__(self, firmware: Firmware, memory: NDArray[np.int64] | None = None) -> None:
        self._firmware = firmware
        self.first, self.end = firmware.contents.code
        self.places = (self.end - self.first + 1) // 2
        if memory is None:
            memory = np.zeros(self.memory_words(firmware), np.int64)
        head = STATE.itemsize // 8
        self.state: NDArray[Any] = memory[:head].view(STATE)
        self.edges = memory[head : head + self.places + 1]
        self.taken = memory[head + self.places + 1 : head + 2 * (self.places + 1)]
        self.state["first"], self.state["end"] = self.first, self.end
        self._starts, self._wide = self._decode()
        memory[head + 2 * (self.places + 1) :] = self._wide

    @staticmethod
    def memory_words(firmware: Firmware) -> int:
        """How many int64 the counters of `firmware` take."""
        first, end = firmware.contents.code
        places = (end - first + 1) // 2
        return STATE.itemsize // 8 + 2 * (places + 1) + places

    def begin(self, limit: int, entry: int) -> None:
        """Count from nothing, from a jump to `entry`, for about `limit` instructions."""
        self.edges[:] = 0
        self.taken[:] = 0
        state = self.state[0]
        wide = 4 if self._firmware.target.architecture == "aarch64" else 3  # bytes, on the average or more
        state["budget"], state["previous"], state["stopped"] = wide * limit, entry, 0

    @property
    def stopped(self) -> bool:
        """Whether as much ran as was allowed."""
        return bool(self.state["stopped"][0])

    @property
    def budget(self) -> int:
        """Bytes of code that may still run."""
        return int(self.state["budget"][0])

    def executed(self) -> NDArray[np.int64]:
        """(n,) int64: how often the instruction that begins at each place was executed, 0 where none begins."""
        passes = np.cumsum(self.edges[: self.places])
        executed = np.zeros(self.places, np.int64)
        # Instructions follow each other without gaps within whatever was executed; data between has a sum of 0.
        place, total = 0, self.places
        active = np.flatnonzero(passes)
        starts = []
        while place < total:
            if passes[place] == 0:
                following = np.searchsorted(active, place)
                if following == len(active):
                    break
                place = int(active[following])
            starts.append(place)
            place += 2 if self._wide[place] else 1
        found = np.array(starts, np.int64)
        executed[found] = passes[found]
        return executed

    def by_function(self, executed: NDArray[np.int64]) -> dict[str, int]:
        """Instructions of each function that ran, the most first; what lies in no function is "?". They add up to
        the sum of `executed`."""
        ran = np.flatnonzero(executed)
        owner = np.searchsorted(self._starts, ran, side="right") - 1
        totals: dict[str, int] = {}
        functions = self._firmware.contents.functions
        for index in np.unique(owner):
            name = functions[index].name if index >= 0 else "?"
            totals[name] = totals.get(name, 0) + int(executed[ran[owner == index]].sum())
        return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))

    def cycles(self, executed: NDArray[np.int64]) -> int | None:
        """The modelled cycles of the target; None for one without a model."""
        model = self._firmware.target.cycle_model
        return None if model is None else modelled_cycles(model, self._code, executed, self.taken)

    def summary(self) -> tuple[int, Mapping[str, int], int | None]:
        """Instructions, their split by function, modelled cycles of what ran since `begin`; to be asked once."""
        last = int(self.state["previous"][0])
        if self.first <= last <= self.end:
            self.taken[(last - self.first) >> 1] += 1  # the return, after which no block of the code began
        executed = self.executed()
        return int(executed.sum()), self.by_function(executed), self.cycles(executed)

    def _decode(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The places where functions start, and for each place whether an instruction there has four bytes."""
        raw = bytearray(self.places * 2)
        for address, data in self._firmware.contents.segments:
            low, high = max(address, self.first), min(address + len(data), self.end)
            if low < high:
                raw[low - self.first : high - self.first] = data[low - address : high - address]
        self._code = np.frombuffer(bytes(raw), "<u2")
        match self._firmware.target.architecture:
            case "arm":
                wide = self._code >> 11 >= 0x1D
            case "riscv":
                wide = (self._code & 3) == 3
            case _:
                wide = np.ones(self.places, np.bool_)
        starts = [(function.address - self.first) // 2 for function in self._firmware.contents.functions]
        return np.array(starts, np.int64), wide
