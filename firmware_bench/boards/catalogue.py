"""The boards that have a port in `../c/ports`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ...runtime.errors import InputError
from ..targets.target import Memory


@dataclass(frozen=True)
class BoardPort:
    """One board: `target` is its processor's key in `targets`, `folder` its port, `memory` where a linker puts things.

    Without `memory` it is the emulated machine that the target describes. `run_on` says what the port has been run on,
    "nothing" for a template that was only compiled. `serial` tells a person where to plug in.
    """

    key: str
    title: str
    target: str
    folder: str
    run_on: str
    serial: str
    defines: tuple[str, ...] = ()
    memory: Memory | None = None

    @property
    def is_emulated(self) -> bool:
        """Whether QEMU has this board."""
        return self.memory is None


def _mps(uart: int, fpga_io: int, clock_hz: int) -> tuple[str, ...]:
    return (f"TS_UART={uart:#x}u", f"TS_FPGA_IO={fpga_io:#x}u", f"TS_CLOCK_HZ={clock_hz}u")


_QEMU = "opened by tinyscene"
_ST_LINK = "the USB connector of the ST-LINK"
_KIB = 1024
_STACK = 4 * _KIB

_ALL = (
    BoardPort(
        "mps2-an386", "Arm MPS2, Cortex-M4", "cortex-m4", "mps2", "QEMU", _QEMU,
        _mps(0x4000_4000, 0x4002_8000, 25_000_000),
    ),
    BoardPort(
        "mps2-an500", "Arm MPS2, Cortex-M7", "cortex-m7", "mps2", "QEMU", _QEMU,
        _mps(0x4000_4000, 0x4002_8000, 25_000_000),
    ),
    BoardPort(
        "mps2-an505", "Arm MPS2, Cortex-M33", "cortex-m33", "mps2", "QEMU", _QEMU,
        _mps(0x5020_0000, 0x5030_2000, 20_000_000),
    ),
    BoardPort(
        "mps3-an547", "Arm MPS3, Cortex-M55", "cortex-m55", "mps2", "QEMU", _QEMU,
        (*_mps(0x5930_3000, 0x5930_2000, 32_000_000), "TS_COUNTER_HZ=20000000u"),
    ),
    BoardPort("virt-rv32", "QEMU virt, RV32", "rv32", "virt_rv32", "QEMU", _QEMU),
    BoardPort(
        "nucleo-l4r5zi", "ST Nucleo-L4R5ZI", "cortex-m4", "nucleo_l4r5", "nothing", _ST_LINK,
        memory=Memory(0x0800_0000, 2048 * _KIB, 0x2000_0000, 640 * _KIB, _STACK),
    ),
    BoardPort(
        "nucleo-h743zi2", "ST Nucleo-H743ZI2", "cortex-m7", "nucleo_h743", "nothing", _ST_LINK,
        memory=Memory(0x0800_0000, 2048 * _KIB, 0x2400_0000, 512 * _KIB, _STACK),
    ),
    BoardPort(
        "nrf52840-dk", "Nordic nRF52840 DK", "cortex-m4", "nrf52840", "nothing", "the USB connector of the J-Link",
        memory=Memory(0, 1024 * _KIB, 0x2000_0000, 256 * _KIB, _STACK),
    ),
    BoardPort(
        "rp2040-pico", "Raspberry Pi Pico", "cortex-m0plus", "rp2040", "nothing", "a serial adapter on GP0 and GP1",
        memory=Memory(0x1000_0100, 2048 * _KIB - 256, 0x2000_0000, 256 * _KIB, _STACK),
    ),
)  # fmt: skip

#: Every board by its key.
BOARDS: Mapping[str, BoardPort] = MappingProxyType({board.key: board for board in _ALL})


def board_port(key: str) -> BoardPort:
    """The board of that key; raises `InputError` for another."""
    if key not in BOARDS:
        raise InputError(f"unknown board {key!r}, expected one of {', '.join(BOARDS)}")
    return BOARDS[key]
