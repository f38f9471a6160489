"""When each idle and active block ran, kept in a file so that an instrument's log can be joined with it afterwards.

The file is JSON lines. The first is `{"schema": "tinyscene.energy_marks/1", "clock": "unix", "hop_s": 0.25}`; each of
the others is a block: `{"kind": "active", "group": 0, "start_s": ..., "end_s": ..., "inferences": 812}`.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..atomic import write_file
from ..errors import InputError
from .meter import Clock

SCHEMA = "tinyscene.energy_marks/1"

BlockKind = Literal["idle", "active"]


@dataclass(frozen=True)
class Block:
    """A stretch of time in which nothing was run (idle), or whole inferences one after the other (active)."""

    kind: BlockKind
    group: int
    start_s: float
    end_s: float
    inferences: int = 0


@dataclass(frozen=True)
class Marks:
    """The blocks of a run in order of time, the clock they go by, and the time between inferences of listening."""

    blocks: tuple[Block, ...]
    clock: Clock = "monotonic"
    hop_s: float | None = None

    def shifted(self, by_s: float, clock: Clock) -> Marks:
        """The same blocks told by another clock."""
        blocks = tuple(Block(b.kind, b.group, b.start_s + by_s, b.end_s + by_s, b.inferences) for b in self.blocks)
        return Marks(blocks, clock, self.hop_s)


def write_marks(path: Path, marks: Marks) -> None:
    """Write `marks`, which have to be told by "unix", whole or not at all."""
    if marks.clock != "unix":
        raise InputError(f"marks by the clock {marks.clock!r} mean nothing to another instrument, expected 'unix'")
    lines = [{"schema": SCHEMA, "clock": marks.clock, "hop_s": marks.hop_s}, *map(asdict, marks.blocks)]
    write_file(path, "".join(json.dumps(line) + "\n" for line in lines).encode())


def read_marks(path: Path) -> Marks:
    """Read what `write_marks` wrote; raises `InputError` with the line's number."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): give the file of --energy-marks") from error
    return parse_marks(text, path.name)


def parse_marks(text: str, name: str) -> Marks:
    """The marks in `text`; `name` says in messages where it came from. Raises `InputError` with the line's number."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InputError(f"{name} is empty, expected the marks that --energy-marks writes")
    head = _object(*lines[0], name)
    if head.get("schema") != SCHEMA or head.get("clock") != "unix":
        raise InputError(f"{name} line {lines[0][0]}: expected schema {SCHEMA!r} and clock 'unix': write it again")
    hop_s = head.get("hop_s")
    if hop_s is not None and not (_is_time(hop_s) and hop_s > 0):
        raise InputError(f"{name} line {lines[0][0]}: hop_s is {hop_s!r}, expected seconds above 0")
    blocks: list[Block] = []
    for number, line in lines[1:]:
        block = _block(_object(number, line, name), f"{name} line {number}")
        if blocks and block.start_s < blocks[-1].end_s:
            raise InputError(f"{name} line {number}: begins before the block above it ended")
        blocks.append(block)
    return Marks(tuple(blocks), "unix", None if hop_s is None else float(hop_s))


def _object(number: int, line: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} line {number} is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{name} line {number}: expected an object in braces")
    return value


def _block(value: dict[str, Any], where: str) -> Block:
    kind: Any = value.get("kind")
    group: Any = value.get("group")
    inferences: Any = value.get("inferences")
    start_s: Any = value.get("start_s")
    end_s: Any = value.get("end_s")
    if kind not in ("idle", "active"):
        raise InputError(f"{where}: kind is {kind!r}, expected 'idle' or 'active'")
    if not (_is_time(start_s) and _is_time(end_s) and start_s < end_s):
        raise InputError(f"{where}: from {start_s!r} to {end_s!r}, expected start_s below end_s in seconds")
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**53 for n in (group, inferences)):
        raise InputError(f"{where}: group {group!r} and inferences {inferences!r}, expected whole numbers")
    if (kind == "active") != (inferences > 0):
        raise InputError(f"{where}: {inferences} inferences in a block that is {kind}")
    return Block(kind, group, float(start_s), float(end_s), inferences)


def _is_time(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15 and math.isfinite(value)
    )
