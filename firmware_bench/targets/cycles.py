"""Modelled cycles of the two processors whose manuals give a table of timings; modelled, and validated on no board.

Sources: "Instruction set summary" and "Load/store timings" of Arm's Cortex-M4 (ARM 100166) and Cortex-M0+ (ARM DDI
0484) Technical Reference Manuals. Both are for memory without wait states, so flash that needs some is slower.
Assumed where the manual gives a range: a taken branch refills the M4's pipeline in 2 cycles (1 to 3), its division
takes 12 (2 to 12), the M0+ has the multiplier of one cycle. An instruction whose condition fails in an IT block is
counted as if it had not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_REFILL = 2  # cycles of a taken branch on an M4, beside its own


@dataclass(frozen=True)
class Timing:
    """One instruction: `cycles`, `taken` more when it branches. Of a load of one register `target` is where it goes;
    the M4 spares a cycle of a `load` right behind another whose target is none of its `sources`."""

    cycles: int
    taken: int = 0
    load: bool = False
    target: int = -1
    sources: tuple[int, ...] = ()


def modelled_cycles(model: str, code: NDArray[np.uint16], executed: NDArray[np.int64], taken: NDArray[np.int64]) -> int:
    """Cycles of the instructions of `code` (n,), each executed (n,) times; taken (n + 1,) says how often execution
    jumped away at each place, that is after the instruction before it. `model` is "cortex-m4" or "cortex-m0plus"."""
    timing = _MODELS[model]
    total = 0
    before, before_end = Timing(0), -1
    before_executed = 0
    for place in np.flatnonzero(executed):
        first = int(code[place])
        wide = first >> 11 >= 0x1D
        second = int(code[place + 1]) if wide else 0
        end = int(place) + (2 if wide else 1)
        cost, times = timing(first, second if wide else None), int(executed[place])
        total += cost.cycles * times + cost.taken * min(int(taken[end]), times)
        follows = before.load and cost.load and before_end == place and before.target not in cost.sources
        if follows and model == "cortex-m4":
            total -= min(times, before_executed)
        before, before_end, before_executed = cost, end, times
    return total


def _m4(first: int, second: int | None) -> Timing:
    return _m4_narrow(first) if second is None else _m4_wide(first, second)


def _m4_narrow(code: int) -> Timing:
    """A Thumb instruction of 16 bits."""
    top = code >> 11
    low, middle, high = code & 7, code >> 3 & 7, code >> 6 & 7
    if code >> 10 == 0b010001:  # on high registers
        target = code & 7 | code >> 4 & 8
        branches = code >> 8 & 3 == 3 or (target == 15 and code >> 8 & 3 != 1)
        return Timing(1, _REFILL if branches else 0)
    if top == 0b01001:  # from the literal pool
        return Timing(2, load=True, target=code >> 8 & 7)
    if top >> 1 == 0b0101:  # register offset
        if code >> 9 & 7 < 3:
            return Timing(2)
        return Timing(2, load=True, target=low, sources=(middle, high))
    if 0b01100 <= top <= 0b10001:  # immediate offset
        return Timing(2, load=True, target=low, sources=(middle,)) if top & 1 else Timing(1)
    if top == 0b10010:
        return Timing(1)
    if top == 0b10011:  # from the stack
        return Timing(2, load=True, target=code >> 8 & 7, sources=(13,))
    if code >> 9 in (0b1011010, 0b1011110):  # push, pop
        pops = code >> 11 & 1 and code >> 8 & 1
        return Timing(1 + (code & 0x1FF).bit_count(), _REFILL if pops else 0)
    if top >> 1 == 0b1100:  # several registers
        return Timing(1 + (code & 0xFF).bit_count())
    is_compare_and_branch = code & 0xF500 == 0xB100
    if is_compare_and_branch or top >> 1 == 0b1101 or top == 0b11100:
        return Timing(1, _REFILL)
    return Timing(1)


def _m4_wide(first: int, second: int) -> Timing:
    """A Thumb instruction of 32 bits."""
    if first & 0xEC00 == 0xEC00 and second >> 8 & 0xE == 0xA:
        return _m4_float(first, second)
    if first & 0xFE40 == 0xE800:  # several registers
        pops = first >> 4 & 1 and second >> 15
        return Timing(1 + second.bit_count(), _REFILL if pops else 0)
    if first & 0xFE40 == 0xE840:  # two registers, exclusive, table branch
        if first & 0xFFF0 == 0xE8D0 and second & 0xFFE0 == 0xF000:
            return Timing(2, _REFILL)
        return Timing(3 if first & 0x0120 else 2)
    if first >> 11 == 0b11110 and second >> 15:  # branches and control
        return Timing(1, _REFILL)
    if first & 0xFE00 == 0xF800:  # one register
        return _m4_single(first, second)
    is_division = first & 0xFFD0 == 0xFB90 and second & 0xF0 == 0xF0
    return Timing(12 if is_division else 1)


def _m4_single(first: int, second: int) -> Timing:
    by_register = first >> 7 & 1 == 0 and second & 0x0FC0 == 0 and first & 15 != 15
    if not first >> 4 & 1:
        return Timing(2 if by_register else 1)
    target = second >> 12
    sources = (first & 15, second & 15) if by_register else (first & 15,)
    return Timing(2, _REFILL if target == 15 else 0, load=True, target=target, sources=sources)


def _m4_float(first: int, second: int) -> Timing:
    """Of the FPU: loads, arithmetic, moves."""
    double = second >> 8 & 1
    if first & 0x0F20 == 0x0D00:  # one register
        return Timing(3 if double else 2)
    if first & 0x0FE0 == 0x0C40:  # two core registers
        return Timing(2)
    if first & 0x0E00 == 0x0C00:  # several registers
        return Timing(1 + (second & 0xFF))
    if second & 0x10:  # one core register
        return Timing(1)
    operation = first >> 4 & 0b1011
    if operation == 0b1000 or (operation == 0b1011 and first & 15 == 1 and second & 0xC0 == 0xC0):
        return Timing(14)  # division, square root
    return Timing(3 if operation in (0b0000, 0b0001, 0b1001, 0b1010) else 1)  # multiply-add


def _m0plus(first: int, second: int | None) -> Timing:
    if second is not None:
        return Timing(3)  # a call, a barrier or a system register
    top = first >> 11
    if first >> 10 == 0b010001:
        target = first & 7 | first >> 4 & 8
        branches = first >> 8 & 3 == 3 or (target == 15 and first >> 8 & 3 != 1)
        return Timing(2 if branches else 1)
    if top == 0b01001 or 0b01010 <= top <= 0b10011:
        return Timing(2)
    if first >> 9 in (0b1011010, 0b1011110):
        pops = first >> 11 & 1 and first >> 8 & 1
        return Timing((3 if pops else 1) + (first & 0x1FF).bit_count())
    if top >> 1 == 0b1100:
        return Timing(1 + (first & 0xFF).bit_count())
    if top >> 1 == 0b1101:
        return Timing(1, 1)
    return Timing(2 if top == 0b11100 else 1)


_MODELS: dict[str, Callable[[int, int | None], Timing]] = {"cortex-m4": _m4, "cortex-m0plus": _m0plus}
