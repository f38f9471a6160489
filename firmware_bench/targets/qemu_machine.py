"""Firmware in QEMU: the Cortex-M55, which unicorn does not have, and a second opinion on the others.

GDB's protocol over pipes writes memory and registers and runs; a plugin counts blocks into memory that is shared with
this process, so that nothing is parsed and nothing is counted but the call.
"""

from __future__ import annotations

import contextlib
import mmap
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from ...runtime.errors import InputError, UnavailableError
from .build import Firmware
from .counts import Counts
from .gdb import GdbLink
from .library import compiled_library
from .machine import INSTRUCTION_LIMIT, CallResult, Machine, MachineError

_PAINT = b"\xa5"
_STANDSTILL_S = 60.0  # a processor that executes nothing for so long sleeps, and nothing will wake it
_PROGRAMS = {
    "arm": ("qemu-system-arm", "qemu-system-arm", ()),
    "riscv": ("qemu-system-riscv32", "qemu-system-misc", ("-bios", "none")),
}
#: GDB's numbers: of the first argument (which is the result too) and how many there are, stack pointer, return address,
#: program counter.
_REGISTERS = {"arm": (0, 4, 13, 14, 15), "riscv": (10, 8, 2, 1, 32)}


class QemuMachine(Machine):
    """One emulated board without peripherals in use."""

    def __init__(self, firmware: Firmware) -> None:
        super().__init__(firmware)
        target = firmware.target
        assert target.memory is not None
        program, package, options = _PROGRAMS[target.architecture]
        path = shutil.which(program)
        if path is None:
            raise UnavailableError(
                f"{target.key} in QEMU needs {program}, which is not installed: run "
                f"`apt-get install --no-install-recommends {package}`"
            )
        plugin = compiled_library("ts_qemu_plugin", f"TS_PLUGIN_VERSION={_plugin_version(path)}")
        if plugin is None:
            raise UnavailableError(
                "counting in QEMU needs a compiler for this machine: run `apt-get install gcc libc6-dev`"
            )
        self._stack = (target.memory.ram, target.memory.ram + target.memory.stack_bytes)
        self._usable = True
        with contextlib.ExitStack() as held:
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="tinyscene-qemu-")))
            self._errors = folder / "errors"
            shared = folder / "counts"
            shared.write_bytes(bytes(8 * Counts.memory_words(firmware)))
            with shared.open("r+b") as handle:
                self._counts = Counts(firmware, np.frombuffer(mmap.mmap(handle.fileno(), 0), np.int64))
            command = [
                path,
                "-M",
                str(target.qemu_machine),
                *options,
                "-kernel",
                str(firmware.elf),
                "-S",
                "-gdb",
                "stdio",
            ]
            command += ["-display", "none", "-monitor", "none", "-serial", "null"]
            command += ["-plugin", f"file={plugin},counts={shared}"]
            errors = held.enter_context(self._errors.open("wb"))
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0
            )
            held.callback(self._reap)
            self._link = GdbLink(self._process, self._last_words)
            self._start()
            self._held = held.pop_all()

    def write(self, address: int, data: bytes) -> None:
        self._link.write(address, bytes(data))

    def read(self, address: int, n: int) -> bytes:
        return self._link.read(address, n)

    def call(self, name: str, *arguments: int, limit: int = INSTRUCTION_LIMIT) -> CallResult:
        if not self._usable:
            raise MachineError(f"cannot call {name}: this machine faulted before, open a new one")
        if len(arguments) > 8:
            raise InputError(f"{name} called with {len(arguments)} arguments, expected at most 8")
        entry = self.symbol(name)
        low, high = self._stack
        first, passed, sp, lr, _ = _REGISTERS[self.firmware.target.architecture]
        self._link.write(low, _PAINT * (high - low))
        for number, value in enumerate(arguments[:passed]):
            self._link.set_register(first + number, value)
        stack = high
        rest = b"".join((value & 0xFFFFFFFF).to_bytes(4, "little") for value in arguments[passed:])
        if rest:
            stack -= (len(rest) + 7) // 8 * 8
            self._link.write(stack, rest)
        self._link.set_register(sp, stack)
        self._link.set_register(lr, self.symbol("ts_idle") | self._thumb)
        self._run(name, entry, limit)
        instructions, by_function, cycles = self._counts.summary()
        value = self._link.register(first)
        used = len(self._link.read(low, stack - low).lstrip(_PAINT))
        if used == stack - low:
            self._usable = False
            raise MachineError(f"{name} used more than the {used} bytes of stack: move its arrays out of its frame")
        return CallResult(value - (value >> 31 << 32), instructions, by_function, cycles, used)

    def close(self) -> None:
        self._held.close()

    @property
    def _thumb(self) -> int:
        return 1 if self.firmware.target.architecture == "arm" else 0

    def _start(self) -> None:
        """Run the startup until it idles."""
        self._link.set_breakpoint(self.symbol("ts_idle"))
        self._link.set_breakpoint(self.symbol("ts_stop"))
        self._run("Reset", self.symbol("Reset"), INSTRUCTION_LIMIT)

    def _run(self, name: str, entry: int, limit: int) -> None:
        """Run from `entry` until the processor idles."""
        first, _, _, _, pc = _REGISTERS[self.firmware.target.architecture]
        self._link.set_register(pc, entry)
        self._counts.begin(limit, entry)
        self._usable = False
        seen, since = self._counts.budget, time.monotonic()

        def keep_on() -> bool:
            nonlocal seen, since
            if self._counts.budget != seen:
                seen, since = self._counts.budget, time.monotonic()
            return not self._counts.stopped and time.monotonic() - since < _STANDSTILL_S

        finished = self._link.run(keep_on)
        at = self._link.register(pc)
        if at == self.symbol("ts_stop"):
            low, high = self._stack
            raise MachineError(
                f"{name} faulted at {self.place(self._link.register(first))}: check its buffers and its {high - low} "
                "bytes of stack"
            )
        if not finished or at != self.symbol("ts_idle"):
            raise MachineError(f"{name} did not return within {limit} instructions, it was at {self.place(at)}")
        self._usable = True

    def _last_words(self) -> str:
        """What QEMU wrote before it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        said = self._errors.read_text(errors="replace").strip().splitlines()
        return said[0] if said else f"it said nothing, exit code {self._process.poll()}"

    def _reap(self) -> None:
        """End the process and take its exit code."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()


def _plugin_version(program: str) -> int:
    """Of the plugin interface: QEMU 9 refuses the first."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=60)
    words = done.stdout.split("version ", 1)
    major = words[-1].split(".", 1)[0]
    return 1 if not major.isdigit() or int(major) < 9 else 2
