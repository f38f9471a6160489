"""A serial line to a board: one command, one reply, a deadline for each."""

from __future__ import annotations

import os
import time
import zlib
from dataclasses import dataclass
from typing import Any

from ...runtime.errors import InputError, UnavailableError, require

READY = "m-ready"

#: What a board says when it starts.
STARTED = "m-init-done"

#: Characters of a command, its % included.
COMMAND_LENGTH = 80

#: A line longer than this, or a reply of more lines, is no board that speaks the protocol.
LONGEST_LINE = 4096
MOST_LINES = 8192

#: How long an attempt to find the end of earlier replies waits before the next.
_SYNC_ATTEMPT_S = 1.0
_SYNC_QUIET_S = 0.25


class BoardError(UnavailableError):
    """The board did not answer, or not as the protocol has it (exit code 3)."""


@dataclass(frozen=True)
class Reply:
    """What came before `m-ready`, without line ends, how long it took on this machine, and the CRC-32 of all of it."""

    command: str
    lines: tuple[str, ...]
    elapsed_s: float
    crc: int


class Link:
    """An open serial line. Not safe to share between threads.

    After an error the line may be in the middle of a reply: call `synchronize` before the next command.
    """

    def __init__(self, serial: Any, name: str, timeout_s: float = 5.0) -> None:
        """Take an open pyserial port; `name` is what errors call it, `timeout_s` what a usual command may take."""
        self.name = name
        self.timeout_s = timeout_s
        self._serial = serial
        self._waiting = bytearray()
        self._attempts = 0
        self._errors: tuple[type[Exception], ...] = (require("serial", "firmware").SerialException, OSError)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the port."""
        self._serial.close()

    def synchronize(self, timeout_s: float = 10.0) -> None:
        """Find the end of whatever was said before: cut commands, replies to another program, a start of the board.

        Sends a word that no board knows until its echo comes back, so that what is read next answers what is sent
        next. Raises `BoardError` when nothing or no protocol is heard within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        heard = 0
        while time.monotonic() < deadline:
            self._attempts += 1
            word = f"sync-{os.getpid():x}-{self._attempts}"
            until = min(deadline, time.monotonic() + _SYNC_ATTEMPT_S)
            self._send(f"{word}%".encode(), deadline)
            echoed = False
            while (line := self._line(until)) is not None:
                heard += len(line)
                text = line.decode("ascii", "replace").strip()
                if text.startswith("e-[") and text.endswith(f"{word}]"):
                    echoed = True
                elif text == READY and echoed:
                    return
                elif text == READY:  # of a command before, or of our word with garbage before it: ours is next or lost
                    until = min(until, time.monotonic() + _SYNC_QUIET_S)
        what = (
            f"{heard} bytes came, none of them an answer in the protocol of MLPerf Tiny: check --baud and the firmware"
            if heard
            else "nothing came: check the cable, the port and that the firmware runs"
        )
        raise BoardError(f"no board answers on {self.name} within {timeout_s:g} s; {what}")

    def command(self, text: str, timeout_s: float | None = None) -> Reply:
        """Send `text` and wait for its whole reply, at most `timeout_s` or what is usual.

        Raises `InputError` for a text that is no command, and `BoardError` when the reply is not there after
        `timeout_s`, is damaged or endless, or when the board started again.
        """
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        data = f"{text}%".encode("ascii", "replace")
        if len(data) > COMMAND_LENGTH or not text.isprintable() or "%" in text:
            raise InputError(f"{text!r:.100} is no command: expected at most {COMMAND_LENGTH - 1} characters without %")
        self._expect_silence(text)
        start = time.monotonic()
        deadline = start + timeout_s
        self._send(data, deadline)
        lines: list[str] = []
        crc = 0
        while True:
            raw = self._line(deadline)
            if raw is None:
                raise BoardError(f"{self._about(text)}: no {READY} within {timeout_s:g} s, {self._heard(lines)}")
            crc = zlib.crc32(raw, crc)
            try:
                line = raw.decode("ascii").rstrip("\r\n")
            except UnicodeDecodeError:
                line = "\0"
            if line and not line.isprintable():
                raise BoardError(f"{self._about(text)}: a damaged line {raw[:60]!r}: check the cable and --baud")
            if STARTED in line:
                raise BoardError(f"{self._about(text)}: the board started again (it said {line!r:.60}): run it again")
            if line == READY:
                return Reply(text, tuple(lines), time.monotonic() - start, crc)
            lines.append(line)
            if len(lines) > MOST_LINES:
                raise BoardError(f"{self._about(text)}: more than {MOST_LINES} lines and no {READY}")

    def _about(self, command: str) -> str:
        return f"board on {self.name}, command {command!r:.60}"

    @staticmethod
    def _heard(lines: list[str]) -> str:
        return f"the last of {len(lines)} lines was {lines[-1]!r:.80}" if lines else "nothing came"

    def _expect_silence(self, command: str) -> None:
        """Nothing may be waiting before a command: it would be taken for the reply."""
        self._fetch(0.0)
        if not self._waiting:
            return
        found = bytes(self._waiting)
        self._waiting.clear()
        if STARTED.encode() in found:
            raise BoardError(f"{self._about(command)}: the board started again before it: run it again")
        raise BoardError(f"{self._about(command)}: {len(found)} bytes came that nobody asked for, {found[:60]!r}")

    def _send(self, data: bytes, deadline: float) -> None:
        try:
            self._serial.write_timeout = max(deadline - time.monotonic(), 0.01)
            self._serial.write(data)
            self._serial.flush()
        except self._errors as error:
            raise BoardError(f"cannot write to {self.name} ({error}): is the board still there?") from error

    def _line(self, deadline: float) -> bytes | None:
        """The next line with its end, or None when it is not whole by `deadline`."""
        while True:
            end = self._waiting.find(b"\n")
            if end >= 0:
                line = bytes(self._waiting[: end + 1])
                del self._waiting[: end + 1]
                return line
            if len(self._waiting) > LONGEST_LINE:
                found = bytes(self._waiting[:40])
                self._waiting.clear()
                raise BoardError(
                    f"board on {self.name}: {LONGEST_LINE} bytes without the end of a line, {found!r}..: check --baud"
                )
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._fetch(min(left, 0.1))

    def _fetch(self, timeout_s: float) -> None:
        """Add what has arrived to `_waiting`; waits at most `timeout_s` for the first byte."""
        try:
            ready = self._serial.in_waiting
            self._serial.timeout = timeout_s
            self._waiting += self._serial.read(min(max(ready, 1), LONGEST_LINE))
        except self._errors as error:
            raise BoardError(f"cannot read from {self.name} ({error}): is the board still there?") from error


def open_link(port: str, baud: int = 115200) -> Link:
    """Open a serial port, or any URL that pyserial knows, such as `socket://localhost:5000` for an emulator.

    Raises `InputError` for a baud rate that no port has, `UnavailableError` when the port cannot be opened.
    """
    if not 50 <= baud <= 20_000_000:
        raise InputError(f"--baud is {baud}, expected 50 to 20000000 (115200 is usual)")
    serial = require("serial", "firmware")
    try:
        opened = serial.serial_for_url(port, baudrate=baud, timeout=0.1, write_timeout=5.0)
    except (serial.SerialException, OSError, ValueError) as error:
        raise UnavailableError(
            f"cannot open the serial port {port} ({error}): list the ports with `python -m serial.tools.list_ports`"
        ) from error
    return Link(opened, port)
