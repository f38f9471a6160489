"""Damage for files: truncation, flipped bits, huge lengths, moved and repeated pieces; the same for the same seed.

Run as a program it reads damaged .tflite files in a process of its own and runs in LiteRT what was taken for whole:
`python mutations.py MODEL FIRST COUNT` prints how many were refused and how many ran. A crash is its exit status.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

#: Numbers that lengths, offsets and indices are replaced by.
WILD = (0, 1, 2, 3, 4, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def mutate(data: bytes, seed: int) -> bytes:
    """`data` with one to four kinds of damage."""
    rng = np.random.default_rng(seed)
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = _place(rng, len(changed))
        match int(rng.integers(0, 9)):
            case 0:
                del changed[at:]
            case 1 | 2:
                changed[at] ^= 1 << int(rng.integers(8))
            case 3:
                changed[at] = int(rng.integers(256))
            case 4 | 5:
                _put(changed, at - at % 4, int(rng.choice(WILD)))
            case 6:  # an offset or length that is nearly right
                place = max(at - at % 4, 0)
                if place + 4 <= len(changed):
                    near = struct.unpack_from("<I", changed, place)[0] + int(rng.integers(-8, 9))
                    _put(changed, place, near)
            case 7:
                size = int(rng.integers(1, 65))
                piece = changed[at : at + size]
                target = _place(rng, len(changed))
                changed[target : target + len(piece)] = piece
            case 8:
                del changed[at : at + int(rng.integers(1, 9))]
        if len(changed) < 8:
            break
    return bytes(changed)


def _place(rng: np.random.Generator, size: int) -> int:
    """A position, as often near the start, where the directory of most files is, or the end as anywhere."""
    near = min(size, 4096)
    where = int(rng.integers(3))
    return int(
        rng.integers(size) if where == 0 else rng.integers(near) if where == 1 else size - 1 - rng.integers(near)
    )


def _put(data: bytearray, at: int, value: int) -> None:
    if at >= 0 and at + 4 <= len(data):
        struct.pack_into("<I", data, at, value & 0xFFFFFFFF)


def mutations(data: bytes, first: int, count: int) -> Iterator[bytes]:
    """Damaged copies number `first` to `first + count`."""
    return (mutate(data, seed) for seed in range(first, first + count))


def main(model: str, first: str, count: str) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from tinyscene.export.formats.tflite_reader import read_tflite
    from tinyscene.export.formats.tflite_structure import parse_model
    from tinyscene.runtime.errors import InputError

    data = Path(model).read_bytes()
    refused = unread = ran = failed = 0
    for number, damaged in enumerate(mutations(data, int(first), int(count)), int(first)):
        print(number, end="\r", file=sys.stderr, flush=True)
        try:
            parse_model(damaged)
        except InputError:
            refused += 1
            continue
        try:
            read_tflite(damaged)
        except InputError:
            unread += 1
            continue
        try:
            interpreter = Interpreter(
                model_content=damaged, num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
            )
            interpreter.allocate_tensors()
            interpreter.invoke()
            ran += 1
        except (RuntimeError, ValueError):
            failed += 1
    print(refused, unread, ran, failed)


if __name__ == "__main__":
    main(*sys.argv[1:])
