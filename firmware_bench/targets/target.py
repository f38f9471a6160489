"""The processors that firmware is built for, and where an emulator has their memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ...runtime.errors import InputError


@dataclass(frozen=True)
class Memory:
    """Where code and data lie in the emulated machine, bytes. RAM begins with the stack, so that one that grows too
    far leaves RAM and faults instead of overwriting data."""

    code: int
    code_bytes: int
    ram: int
    ram_bytes: int
    stack_bytes: int = 32 * 1024


@dataclass(frozen=True)
class Target:
    """A processor. `clock_mhz` is that of `example`, for milliseconds that are modelled, never measured.

    `family` names the kernels (see `families`), `frontend` which of the C front ends, "float" or "fixed", suits it.
    `emulators` are the ways to run it, the default first. `cycle_model` names the table in `cycles` that its
    instructions are timed by; None where the manufacturer publishes none that could be applied.
    """

    key: str
    title: str
    family: str
    frontend: str
    architecture: str  # "arm", "riscv", "aarch64" or "host"
    example: str
    clock_mhz: float | None
    has_fpu: bool
    emulators: tuple[str, ...]
    memory: Memory | None = None
    unicorn_cpu: str | None = None  # suffix of the constant UC_CPU_*
    qemu_machine: str | None = None
    cycle_model: str | None = None

    @property
    def is_bare(self) -> bool:
        """Whether it runs without an operating system: a microcontroller."""
        return self.memory is not None

    def milliseconds(self, cycles: float) -> float | None:
        """How long `cycles` take at the example's clock; None for a target without one."""
        return None if self.clock_mhz is None else cycles / (self.clock_mhz * 1e3)


_MIB = 1024 * 1024
_MPS2 = Memory(0x0000_0000, 4 * _MIB, 0x2000_0000, 4 * _MIB)  # an386, an500
_AN505 = Memory(0x1000_0000, 4 * _MIB, 0x3800_0000, 2 * _MIB)
_AN547 = Memory(0x1000_0000, _MIB // 2, 0x3100_0000, 2 * _MIB)  # code in the tightly coupled memory
_VIRT = Memory(0x8000_0000, 4 * _MIB, 0x8100_0000, 4 * _MIB)

_ALL = (
    Target("host", "this machine", "host", "float", "host", "this machine", None, True, ("host",)),
    Target(
        "aarch64",
        "64-bit Arm, Linux",
        "host",
        "float",
        "aarch64",
        "Raspberry Pi 4 (Cortex-A72)",
        None,
        True,
        ("aarch64", "unicorn"),
        unicorn_cpu="ARM64_MAX",
    ),
    Target(
        "cortex-m0plus",
        "Arm Cortex-M0+",
        "word",
        "fixed",
        "arm",
        "RP2040 at 133 MHz",
        133.0,
        False,
        ("unicorn", "qemu"),
        _MPS2,
        "ARM_CORTEX_M0",
        "mps2-an386",  # no M0 with enough memory: an M4 runs every v6-M instruction
        "cortex-m0plus",
    ),
    Target(
        "cortex-m4",
        "Arm Cortex-M4F",
        "dsp",
        "float",
        "arm",
        "STM32L4R5 at 120 MHz",
        120.0,
        True,
        ("unicorn", "qemu"),
        _MPS2,
        "ARM_CORTEX_M4",
        "mps2-an386",
        "cortex-m4",
    ),
    Target(
        "cortex-m7",
        "Arm Cortex-M7",
        "dsp",
        "float",
        "arm",
        "STM32H743 at 480 MHz",
        480.0,
        True,
        ("unicorn", "qemu"),
        _MPS2,
        "ARM_CORTEX_M7",
        "mps2-an500",
    ),
    Target(
        "cortex-m33",
        "Arm Cortex-M33",
        "dsp",
        "float",
        "arm",
        "STM32U585 at 160 MHz",
        160.0,
        True,
        ("unicorn", "qemu"),
        _AN505,
        "ARM_CORTEX_M33",
        "mps2-an505",
    ),
    Target(
        "cortex-m55",
        "Arm Cortex-M55 with MVE",
        "mve",
        "float",
        "arm",
        "Alif Ensemble E3 at 160 MHz",
        160.0,
        True,
        ("qemu",),
        _AN547,
        None,
        "mps3-an547",
    ),
    Target(
        "rv32",
        "RISC-V RV32IMC",
        "word",
        "fixed",
        "riscv",
        "ESP32-C3 at 160 MHz",
        160.0,
        False,
        ("unicorn", "qemu"),
        _VIRT,
        "RISCV32_ANY",
        "virt",
    ),
)

#: Every target by its key.
TARGETS: Mapping[str, Target] = MappingProxyType({target.key: target for target in _ALL})


def target(key: str) -> Target:
    """The target of that key; raises `InputError` for another."""
    if key not in TARGETS:
        raise InputError(f"unknown target {key!r}, expected one of {', '.join(TARGETS)}")
    return TARGETS[key]
