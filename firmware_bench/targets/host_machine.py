"""Firmware on this machine: a shared library in this process, through ctypes."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from pathlib import Path

from ...runtime.errors import InputError
from .build import Firmware
from .machine import INSTRUCTION_LIMIT, CallResult, Machine, MachineError


class HostMachine(Machine):
    """The library, loaded anew: two machines share no variables. It is as fast as the machine is and counts nothing;
    what the firmware does wrong it does to this process, and a function that does not return is waited for."""

    def __init__(self, firmware: Firmware) -> None:
        super().__init__(firmware)
        # A library that is loaded already would be handed out again: load a copy, which may then go.
        with tempfile.TemporaryDirectory(prefix="tinyscene-host-", ignore_cleanup_errors=True) as folder:
            copy = shutil.copy(firmware.elf, Path(folder) / "firmware.so")
            try:
                self._library = ctypes.CDLL(str(copy))
            except OSError as error:
                raise MachineError(f"{firmware.elf} cannot be loaded ({error}): build it on this machine") from error
        self._base = self._load_address()
        self._end = max(symbol.address + symbol.size for symbol in firmware.symbols.values())

    def symbol(self, name: str) -> int:
        return self._base + super().symbol(name)

    def write(self, address: int, data: bytes) -> None:
        self._check(address, len(data))
        ctypes.memmove(address, bytes(data), len(data))

    def read(self, address: int, n: int) -> bytes:
        self._check(address, n)
        return ctypes.string_at(address, n)

    def call(self, name: str, *arguments: int, limit: int = INSTRUCTION_LIMIT) -> CallResult:
        if len(arguments) > 8:
            raise InputError(f"{name} called with {len(arguments)} arguments, expected at most 8")
        function = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_int64] * len(arguments))(self.symbol(name))
        return CallResult(function(*arguments))

    def _load_address(self) -> int:
        """Where the library begins: any exported symbol tells."""
        for symbol in self.firmware.contents.functions:
            try:
                function = getattr(self._library, symbol.name)
            except AttributeError:
                continue
            address = ctypes.cast(function, ctypes.c_void_p).value or 0
            if (address - symbol.address) % 4096 == 0:  # not another library's function of that name
                return address - symbol.address
        raise MachineError(f"{self.firmware.elf} exports no function: declare one without static")

    def _check(self, address: int, n: int) -> None:
        if not (self._base <= address and address + n <= self._base + self._end and n >= 0):
            raise MachineError(f"no memory of {n} bytes at {address:#x} in {self.firmware.elf}: check the address")
