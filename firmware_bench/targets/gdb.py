"""The remote protocol of GDB over a process's pipes: enough of it to write memory and registers and to run."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from subprocess import Popen

from .machine import MachineError

_CHUNK = 1024  # bytes of memory in a packet: QEMU takes packets of up to 4096 characters
_ANSWER_S = 60.0  # anything but running is answered at once; this is for a machine with other work


class GdbLink:
    """A stopped processor at the other end of `process`'s standard input and output.

    Every method raises `MachineError` when the process ended; `explain` then gives its last words.
    """

    def __init__(self, process: Popen[bytes], explain: Callable[[], str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin.fileno(), process.stdout.fileno()
        self._explain = explain
        self._pending = b""
        self.ask("qSupported:xmlRegisters=arm")
        self.ask("qXfer:features:read:target.xml:0,ffb")  # registers can be written one by one only after this

    def write(self, address: int, data: bytes) -> None:
        """Put `data` to `address`."""
        for start in range(0, len(data), _CHUNK):
            piece = data[start : start + _CHUNK]
            if self.ask(f"M{address + start:x},{len(piece):x}:{piece.hex()}") != "OK":
                raise MachineError(f"no memory for {len(piece)} bytes at {address + start:#x}: check the address")

    def read(self, address: int, n: int) -> bytes:
        """The `n` bytes from `address`."""
        found = b""
        while len(found) < n:
            wanted = min(_CHUNK, n - len(found))
            answer = self.ask(f"m{address + len(found):x},{wanted:x}")
            if len(answer) != 2 * wanted:
                raise MachineError(f"no memory of {wanted} bytes at {address + len(found):#x}: check the address")
            found += bytes.fromhex(answer)
        return found

    def register(self, number: int) -> int:
        """The 32 bits of a register."""
        return int.from_bytes(bytes.fromhex(self.ask(f"p{number:x}")), "little")

    def set_register(self, number: int, value: int) -> None:
        """Set a register to 32 bits."""
        answer = self.ask(f"P{number:x}={(value & 0xFFFFFFFF).to_bytes(4, 'little').hex()}")
        if answer != "OK":
            raise MachineError(f"register {number} cannot be set: the emulator answered {answer!r}")

    def set_breakpoint(self, address: int) -> None:
        """Stop before the instruction at `address`."""
        answer = self.ask(f"Z0,{address:x},2")
        if answer != "OK":
            raise MachineError(f"no breakpoint at {address:#x}: the emulator answered {answer!r}")

    def run(self, keep_on: Callable[[], bool]) -> bool:
        """Run until something stops the processor; `keep_on` is asked every so often whether to go on waiting.

        False when it said no: the processor is stopped then too.
        """
        self._send("c")
        wait = 0.002
        while True:
            answer = self._receive(wait)
            if answer is not None:
                return True
            wait = min(2 * wait, 0.1)
            if not keep_on():
                os.write(self._input, b"\x03")
                if self._receive(_ANSWER_S) is None:
                    raise MachineError(f"the emulator does not stop: {self._explain()}")
                return False

    def ask(self, command: str) -> str:
        """Send a command and wait for its answer."""
        self._send(command)
        answer = self._receive(_ANSWER_S)
        if answer is None:
            raise MachineError(f"the emulator does not answer {command[:40]!r}: {self._explain()}")
        return answer

    def _send(self, command: str) -> None:
        data = command.encode()
        try:
            os.write(self._input, b"$%s#%02x" % (data, sum(data) & 0xFF))
        except OSError as error:
            raise MachineError(f"the emulator ended: {self._explain()}") from error

    def _receive(self, seconds: float) -> str | None:
        """The next packet; None when none came in time."""
        end = time.monotonic() + seconds
        while True:
            start, close = self._pending.find(b"$"), self._pending.find(b"#")
            if start >= 0 and close >= start and len(self._pending) >= close + 3:
                packet, self._pending = self._pending[start + 1 : close], self._pending[close + 3 :]
                os.write(self._input, b"+")
                return packet.decode("latin-1")
            left = end - time.monotonic()
            ready, _, _ = select.select([self._output], [], [], max(left, 0))
            if not ready:
                return None
            data = os.read(self._output, 65536)
            if not data:
                raise MachineError(f"the emulator ended: {self._explain()}")
            self._pending += data
