"""Firmware as a 64-bit Arm Linux program: under QEMU's user emulation, or straight on such a machine.

The program is the firmware and `c/startup/ts_harness.c`, which takes requests on its standard input.
"""

from __future__ import annotations

import contextlib
import os
import platform
import select
import shutil
import struct
import subprocess
import tempfile
import time
from typing import IO

from ...runtime.errors import InputError, UnavailableError
from .build import Firmware
from .machine import INSTRUCTION_LIMIT, CallResult, Machine, MachineError

_EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")


class Aarch64Machine(Machine):
    """One process. It counts neither instructions nor stack: the emulator "unicorn" does. `seconds` is how long a call
    may take."""

    def __init__(self, firmware: Firmware, *, seconds: float = 300.0) -> None:
        super().__init__(firmware)
        self._seconds = seconds
        native = platform.machine() == "aarch64" and platform.system() == "Linux"
        path = next((found for name in _EMULATORS if (found := shutil.which(name))), None)
        if path is None and not native:
            raise UnavailableError(
                f"{firmware.target.key} needs {_EMULATORS[0]}, which is not installed: run "
                "`apt-get install --no-install-recommends qemu-user-static`"
            )
        command = [str(firmware.elf.resolve())] if native or path is None else [path, str(firmware.elf)]
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
        )

    def write(self, address: int, data: bytes) -> None:
        self._ask(struct.pack("<3Q", ord("W"), address, len(data)) + bytes(data), 8, f"a write to {address:#x}")

    def read(self, address: int, n: int) -> bytes:
        return self._ask(struct.pack("<3Q", ord("R"), address, n), n, f"a read from {address:#x}")

    def call(self, name: str, *arguments: int, limit: int = INSTRUCTION_LIMIT) -> CallResult:
        if len(arguments) > 8:
            raise InputError(f"{name} called with {len(arguments)} arguments, expected at most 8")
        request = struct.pack("<3Q", ord("C"), self.symbol(name), len(arguments))
        request += b"".join((value & (1 << 64) - 1).to_bytes(8, "little") for value in arguments)
        (value,) = struct.unpack("<ixxxx", self._ask(request, 8, name))
        return CallResult(value)

    def close(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
        self._errors.close()

    def _ask(self, request: bytes, n: int, what: str) -> bytes:
        """Send a request and wait for its `n` bytes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        end = time.monotonic() + self._seconds
        answer = b""
        with contextlib.suppress(BrokenPipeError):  # what it died of is told below
            left = memoryview(request)
            while left:
                left = left[os.write(self._process.stdin.fileno(), left) :]
        while len(answer) < n:
            ready, _, _ = select.select([self._process.stdout], [], [], max(end - time.monotonic(), 0))
            if not ready:
                self._process.kill()
                raise MachineError(f"{what} did not return within {self._seconds:g} s")
            piece = os.read(self._process.stdout.fileno(), n - len(answer))
            if not piece:
                raise MachineError(f"{what} ended the program: {self._last_words()}; check its buffers and its stack")
            answer += piece
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return said[0] if said else f"exit code {self._process.returncode}"
