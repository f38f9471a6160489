"""What a process takes from the machine, and what the other processes take: processor time and memory.

Linux: /proc/stat (all cores, in ticks of 10 ms), /proc/self/status.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

#: Columns of /proc/stat's first line that are work, counted from 1: user, nice, system, irq, softirq, and the time in
#: which a virtual machine's host ran somebody else. Guests are in "user" already.
_WORK = (1, 2, 3, 6, 7, 8)


@dataclass(frozen=True)
class Memory:
    """Resident memory of this process in bytes; None where the system does not tell."""

    rss_bytes: int | None  # now
    peak_rss_bytes: int | None  # the most since the process began


@dataclass(frozen=True)
class Usage:
    """Counters at one moment; only differences of two mean something."""

    wall_s: float  # steady clock
    cpu_s: float  # processor time of this process and of its children that have ended
    machine_s: float | None  # processor time of everything on this machine, all cores; None where nobody tells
    cores: int


@dataclass(frozen=True)
class Load:
    """What was taken between two readings."""

    wall_s: float
    cpu_share: float  # of one core, by this process: 1.0 is one core all the time
    others_share: float | None  # of one core, by everything else; None where nobody tells
    cores: int


def read_usage(root: Path = Path("/")) -> Usage:
    """The counters now."""
    own = os.times()
    return Usage(
        wall_s=time.perf_counter(),
        cpu_s=own.user + own.system + own.children_user + own.children_system,
        machine_s=_machine_s(root),
        cores=os.cpu_count() or 1,
    )


def load_between(before: Usage, after: Usage) -> Load:
    """The load from `before` to `after`.

    The machine's time comes in ticks of each core, so the others' share is right to some hundredths of a second in
    all, whatever the length of the interval.
    """
    wall_s = max(after.wall_s - before.wall_s, 1e-9)
    own_s = after.cpu_s - before.cpu_s
    others_s = None
    if before.machine_s is not None and after.machine_s is not None:
        others_s = max(0.0, after.machine_s - before.machine_s - own_s)
    return Load(wall_s, own_s / wall_s, None if others_s is None else others_s / wall_s, after.cores)


def read_memory(root: Path = Path("/")) -> Memory:
    """Resident memory of this process now, and its peak."""
    try:
        status = (root / "proc/self/status").read_text()
    except OSError:
        return Memory(None, None)
    kilobytes = {name: int(value) for name, value in re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status, re.MULTILINE)}
    rss, peak = kilobytes.get("VmRSS"), kilobytes.get("VmHWM")
    return Memory(None if rss is None else 1024 * rss, None if peak is None else 1024 * peak)


def _machine_s(root: Path) -> float | None:
    try:
        with (root / "proc/stat").open() as file:
            columns = file.readline().split()
    except OSError:
        return None
    if len(columns) < 9 or columns[0] != "cpu" or not all(column.isdigit() for column in columns[1:]):
        return None
    return sum(int(columns[position]) for position in _WORK) / os.sysconf("SC_CLK_TCK")
