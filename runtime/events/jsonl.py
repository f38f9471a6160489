"""Events in a file, one JSON object a line, rotated by size: FILE, FILE.1 (the newest of the old), ... FILE.N."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from pathlib import Path

from ..errors import InputError
from ..output import plain
from .background import DeliveryError
from .event import Event

#: How much of a file's end is searched at a time for where its last whole line ends.
_TAIL_BYTES = 4096


class JsonlFile:
    """A `Destination` that appends whole lines to a file.

    A line is one write. A program that is killed within it, or a disk that is full, can leave the beginning of a line:
    the first is cut off when the file is next opened, the second at once. The file is locked (`flock`) against a second
    program, and made anew when someone moves or deletes it. Nothing is forced to the disk before a file is rotated or
    closed, so a power cut may cost what the system had not written yet, usually the last half minute.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        """Append to `path`; keep `keep` files of at most `max_bytes` beside it (more for a line longer than that).

        Raises `InputError` for sizes that are not positive and a path that is there and no file.
        """
        if max_bytes < 1:
            raise InputError(f"events file of at most {max_bytes} bytes, expected more than 0: set --events-max-mb")
        if keep < 1:
            raise InputError(f"{keep} rotated events files to keep, expected 1 or more: set --events-keep")
        if path.exists() and not path.is_file():
            raise InputError(f"events file {path} is not a file: name one (its folder has to be there)")
        self.path, self._max_bytes, self._keep = path, max_bytes, keep
        self._handle: int | None = None
        self._size = 0

    def deliver(self, event: Event) -> None:
        """Append one line; raises `DeliveryError` without a folder or beside another writer, `OSError` by the disk."""
        line = to_line(event)
        handle = self._opened()
        if self._size and self._size + len(line) > self._max_bytes:
            self._rotate()
            handle = self._opened()
        written = 0
        try:
            while written < len(line):
                written += os.write(handle, line[written:])
        except OSError:
            # Half a line is worse than none. A full disk lets a file become shorter; one that does not, because it was
            # pulled out, is repaired when it is opened again.
            with contextlib.suppress(OSError):
                os.ftruncate(handle, self._size)
            self._handle = None
            os.close(handle)
            raise
        self._size += written

    def close(self) -> None:
        """Force the file to the disk and close it."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _opened(self) -> int:
        if self._handle is not None:
            if self._is_current(self._handle):
                return self._handle
            self.close()  # moved or deleted: what comes next belongs into a new file
        if not self.path.parent.is_dir():
            raise DeliveryError(f"folder {self.path.parent} is not there")
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise DeliveryError(f"{self.path} is not a file")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeliveryError(f"another program writes to {self.path}") from None
            if not self._is_current(handle):
                raise DeliveryError(f"{self.path} was replaced")
            self._size = _cut_torn_line(handle)
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return handle

    def _is_current(self, handle: int) -> bool:
        """Whether `path` still leads to the open file."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(handle)
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def _rotate(self) -> None:
        """Move every old file up by one and the present one to the first place.

        Each step is one rename, from the back. Killed between two of them, it leaves a free place, which the next
        rotation fills: only the file in the last place is ever replaced.
        """
        names = [self.path, *(Path(f"{self.path}.{number}") for number in range(1, self._keep + 1))]
        free = next((number for number, name in enumerate(names) if number and not name.exists()), self._keep)
        self.close()
        for number in range(free, 0, -1):
            names[number - 1].replace(names[number])


def to_line(event: Event) -> bytes:
    """The event as one line of ASCII JSON; a value that JSON does not know is written as its text."""
    return json.dumps(plain(event.to_dict()), allow_nan=False, default=str).encode("ascii") + b"\n"


def _cut_torn_line(handle: int) -> int:
    """Cut off what follows the last line's end, and return the size that is left."""
    size = os.fstat(handle).st_size
    whole = size
    while whole:
        start = max(0, whole - _TAIL_BYTES)
        found = os.pread(handle, whole - start, start).rfind(b"\n")
        if found >= 0:
            whole = start + found + 1
            break
        whole = start
    if whole < size:
        os.ftruncate(handle, whole)
    return whole
