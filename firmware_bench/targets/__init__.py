"""Compilers and emulators: from C files to a program on a processor, and what a call of it takes.

`target` lists the processors, `toolchains` finds compilers, `build` makes an ELF file and `elf` reads it. `machine` is
what every way of running it has in common; `unicorn_machine`, `qemu_machine`, `host_machine` and `aarch64_machine` are
the ways. `counts` turns counted blocks into instructions and functions, `cycles` into modelled cycles.
"""

from .build import BuildError, Firmware, build
from .machine import CallResult, Machine, MachineError, open_machine
from .target import TARGETS, Memory, Target, target
from .toolchains import TOOLCHAINS, Toolchain, available_toolchains, choose_toolchain

__all__ = [
    "TARGETS",
    "TOOLCHAINS",
    "BuildError",
    "CallResult",
    "Firmware",
    "Machine",
    "MachineError",
    "Memory",
    "Target",
    "Toolchain",
    "available_toolchains",
    "build",
    "choose_toolchain",
    "open_machine",
    "target",
]
