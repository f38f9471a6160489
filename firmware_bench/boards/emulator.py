"""A board in QEMU, its serial port a pseudo-terminal: the whole way of a real board, without one."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...runtime.errors import InputError, UnavailableError
from ..targets.build import Firmware
from .catalogue import BoardPort

_PROGRAMS = {"arm": ("qemu-system-arm", "qemu-system-arm"), "riscv": ("qemu-system-riscv32", "qemu-system-misc")}
_TERMINAL = re.compile(rb"char device redirected to (\S+)")
_START_S = 30.0


@contextmanager
def emulated(port: BoardPort, firmware: Firmware) -> Iterator[str]:
    """Run `firmware`, built for the emulated board `port`; yields the serial port that it answers on.

    The emulator runs as fast as it can: its timestamps say nothing about a real part. Raises `InputError` for a board
    that QEMU does not have, `UnavailableError` with the install line when there is no QEMU or it does not start.
    """
    machine = firmware.target.qemu_machine
    if not port.is_emulated or machine is None:
        raise InputError(f"{port.key} has no emulator: connect the board and name its --port")
    name, package = _PROGRAMS[firmware.target.architecture]
    program = shutil.which(name)
    if program is None:
        raise UnavailableError(
            f"{port.key} needs {name}, which is not installed: run `apt-get install --no-install-recommends {package}`"
        )
    command = [program, "-M", machine, "-kernel", str(firmware.elf), "-display", "none", "-monitor", "none"]
    command += ["-serial", "pty", *(["-bios", "none"] if firmware.target.architecture == "riscv" else [])]
    with tempfile.TemporaryDirectory(prefix="tinyscene-qemu-") as folder:
        said = Path(folder) / "said"
        with said.open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield _terminal(process, said, name)
        finally:
            process.kill()
            process.wait()


def _terminal(process: subprocess.Popen[bytes], said: Path, name: str) -> str:
    """The pseudo-terminal's path, once QEMU has said it."""
    deadline = time.monotonic() + _START_S
    while True:
        text = said.read_bytes()
        match = _TERMINAL.search(text)
        if match is not None:
            return match[1].decode()
        if process.poll() is not None or time.monotonic() > deadline:
            raise UnavailableError(f"{name} did not open a serial port: {text.decode(errors='replace').strip()[:200]}")
        time.sleep(0.01)
