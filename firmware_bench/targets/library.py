"""Small C libraries for this machine, compiled when first needed: the counters inside the emulators."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .build import STARTUP
from .toolchains import zig_command

_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
_SECONDS = 120


@functools.cache
def compiled_library(name: str, *defines: str) -> Path | None:
    """`c/startup/NAME.c` as a shared library that lives as long as this process; None without a compiler."""
    path = _folder() / f"{'-'.join((name, *defines)).replace('=', '-')}{_SUFFIX}"
    for command in _commands():
        options = ["-std=gnu99", "-O2", "-shared", "-fPIC", "-pthread", *(f"-D{define}" for define in defines)]
        files = ["-o", str(path), str(STARTUP / f"{name}.c")]
        done = subprocess.run([*command, *options, *files], capture_output=True, check=False, timeout=_SECONDS)
        if done.returncode == 0:
            return path
    return None


def _commands() -> list[list[str]]:
    """The compilers for this machine: the system's answer within a tenth of a second, zig within a few."""
    commands = [[path] for name in ("gcc", "cc", "clang") if (path := shutil.which(name))]
    zig = zig_command()
    # What QEMU's plugins call is in QEMU, which is not there to be linked with.
    return commands if zig is None else [*commands, [*zig, "cc", "-Wl,-z,undefs"]]


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tinyscene-library-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
