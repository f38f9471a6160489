"""What every way of running firmware has in common: memory, calls, and what a call took."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

from ...runtime.errors import InputError, TinysceneError
from .build import Firmware

#: Where a call is given up: more than a hundred inferences of the largest network, unrolled by nobody.
INSTRUCTION_LIMIT = 20_000_000_000

#: By emulator: the module and the class. Modules load when used, because each needs something else installed.
_MACHINES = {
    "unicorn": ("unicorn_machine", "UnicornMachine"),
    "qemu": ("qemu_machine", "QemuMachine"),
    "host": ("host_machine", "HostMachine"),
    "aarch64": ("aarch64_machine", "Aarch64Machine"),
}


class MachineError(TinysceneError):
    """The firmware faulted, ran away or its emulator died (exit code 1)."""

    exit_code = 1


@dataclass(frozen=True)
class CallResult:
    """What one call gave and took.

    `value` is what the function returned, 32 bits, signed. `instructions` is exact and the same every time,
    `by_function` its split by the function that they lie in; `cycles` is modelled from the instructions (see
    `cycles`), not measured; `stack_bytes` is how far the stack grew below where it stood. None where the machine
    cannot know.
    """

    value: int
    instructions: int | None = None
    by_function: Mapping[str, int] = field(default_factory=dict)
    cycles: int | None = None
    stack_bytes: int | None = None


class Machine(ABC):
    """A processor with the firmware in its memory; a context manager. Addresses are the firmware's own."""

    def __init__(self, firmware: Firmware) -> None:
        self.firmware = firmware

    def symbol(self, name: str) -> int:
        """The address of a function or buffer; raises `InputError` when the firmware has none of that name."""
        return self.firmware.symbol(name).address

    @abstractmethod
    def write(self, address: int, data: bytes) -> None:
        """Put `data` to `address`; raises `MachineError` where there is no memory."""

    @abstractmethod
    def read(self, address: int, n: int) -> bytes:
        """The `n` bytes from `address`; raises `MachineError` where there is no memory."""

    @abstractmethod
    def call(self, name: str, *arguments: int, limit: int = INSTRUCTION_LIMIT) -> CallResult:
        """Call a function with up to eight integers or addresses and wait for its return.

        Raises `InputError` for an unknown function and `MachineError`, with the address and the function it was in,
        for a fault or after about `limit` instructions. After a fault the machine is of no more use.
        """

    def close(self) -> None:
        """Give back what the machine holds; a second call does nothing."""
        return None

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def place(self, address: int) -> str:
        """Where in the code an address is, for messages: "0x1234 in ts_model_run"."""
        inside = ""
        for function in self.firmware.contents.functions:
            if function.address <= address < max(function.address + function.size, function.address + 2):
                inside = f" in {function.name}"
        return f"{address:#x}{inside}"


def open_machine(firmware: Firmware, emulator: str | None = None) -> Machine:
    """A machine that runs `firmware`: by `emulator`, or the first that its target has.

    Raises `InputError` for an emulator that does not have the target, `UnavailableError` for one that is not
    installed.
    """
    target = firmware.target
    key = emulator or target.emulators[0]
    if key not in target.emulators:
        raise InputError(f"{target.key} cannot run in {key!r}, expected one of {', '.join(target.emulators)}")
    module, name = _MACHINES[key]
    found = getattr(importlib.import_module(f".{module}", __package__), name)(firmware)
    assert isinstance(found, Machine)
    return found
