"""The compilers that can build for a target: zig by pip alone, GCC and clang where the system has them."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import InputError, UnavailableError
from .target import Target

#: In the order in which they are chosen: the one that pip installs comes first.
TOOLCHAINS = ("zig", "gcc", "clang")

#: As zig names the processors. Its names leave features out: without `+dsp` an M33 has no SMLAD, without `+mve` an M55
#: no vectors, and no part its FPU.
_ZIG = {
    "aarch64": ("-target", "aarch64-linux-musl"),
    "cortex-m0plus": ("-target", "thumb-freestanding-eabi", "-mcpu=cortex_m0plus"),
    "cortex-m4": ("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m4+vfp4d16sp"),
    "cortex-m7": ("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m7+fp_armv8d16sp"),
    "cortex-m33": ("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m33+dsp+fp_armv8d16sp"),
    "cortex-m55": ("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m55+mve_fp"),
    "rv32": ("-target", "riscv32-freestanding", "-mcpu=generic_rv32+m+c"),
}
_GNU = {
    "cortex-m0plus": ("-mcpu=cortex-m0plus", "-mthumb", "-mfloat-abi=soft"),
    "cortex-m4": ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
    "cortex-m7": ("-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
    "cortex-m33": ("-mcpu=cortex-m33", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
    "cortex-m55": ("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"),
    "rv32": ("-march=rv32imc", "-mabi=ilp32", "-ffreestanding"),  # its <stdint.h> wants a C library otherwise
}
#: By architecture: the command, and the Debian packages that have it.
_GCC = {
    "arm": ("arm-none-eabi-gcc", "gcc-arm-none-eabi libnewlib-arm-none-eabi"),
    "riscv": ("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf"),
    "aarch64": ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
    "host": ("gcc", "gcc libc6-dev"),
}
_TRIPLES = {"arm": "arm-none-eabi", "riscv": "riscv32-unknown-elf"}
_CLANGS = ("clang-19", "clang", "clang-18", "clang-17", "clang-16")


@dataclass(frozen=True)
class Toolchain:
    """A compiler for one target: `compiler` and `linker` are commands with the flags that the target needs.

    Where both are the same command, one call compiles and links. `version` is the compiler's name and number.
    """

    key: str
    version: str
    compiler: tuple[str, ...]
    linker: tuple[str, ...]
    libraries: tuple[str, ...]  # after the objects

    def environment(self) -> Mapping[str, str]:
        """What its processes run with: zig keeps the libraries that it builds in tinyscene's cache."""
        if self.key != "zig":
            return dict(os.environ)
        base = Path(os.environ.get("TINYSCENE_CACHE") or Path.home() / ".cache" / "tinyscene")
        return {"ZIG_GLOBAL_CACHE_DIR": str(base / "zig"), **os.environ}


def choose_toolchain(target: Target, key: str | None = None) -> Toolchain:
    """The compiler of that key for `target`, or the first of `TOOLCHAINS` that is installed.

    Raises `InputError` for an unknown key and `UnavailableError` with the line that installs it.
    """
    if key is not None and key not in TOOLCHAINS:
        raise InputError(f"unknown toolchain {key!r}, expected one of {', '.join(TOOLCHAINS)}")
    for candidate in TOOLCHAINS if key is None else (key,):
        found = _FIND[candidate](target)
        if found is not None:
            return found
    raise UnavailableError(f"no {key or 'compiler'} for {target.key} was found: run `{_install(target, key or 'zig')}`")


def available_toolchains(target: Target) -> tuple[Toolchain, ...]:
    """Every compiler at hand for `target`."""
    found = (_FIND[key](target) for key in TOOLCHAINS)
    return tuple(toolchain for toolchain in found if toolchain is not None)


def zig_command() -> tuple[str, ...] | None:
    """How to call zig: the Python package's, else one on the PATH; None without either."""
    if importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang")
    path = shutil.which("zig")
    return None if path is None else (path,)


def _zig(target: Target) -> Toolchain | None:
    zig = zig_command()
    if zig is None:
        return None
    command = (*zig, "cc", *(_ZIG[target.key] if target.key in _ZIG else _host_processor()))
    return Toolchain("zig", f"zig {_first_line((*zig, 'version'))}", command, command, ())


def _gcc(target: Target) -> Toolchain | None:
    path = shutil.which(_GCC[target.architecture][0])
    if path is None:
        return None
    command = (path, *_GNU.get(target.key, ()))
    version = f"{Path(path).name} {_first_line((path, '-dumpfullversion'))}"
    return Toolchain("gcc", version, command, command, ("-nostdlib", "-lgcc") if target.is_bare else ())


def _clang(target: Target) -> Toolchain | None:
    """clang compiles; for a bare part GCC's driver links, because it knows where its support library lies."""
    path = next((found for name in _CLANGS if (found := shutil.which(name))), None)
    if path is None or target.architecture == "aarch64":
        return None
    version = _first_line((path, "--version")).split(" (")[0]
    if not target.is_bare:
        return Toolchain("clang", version, (path,), (path,), ())
    gcc = _gcc(target)
    if gcc is None:
        return None
    command = (path, f"--target={_TRIPLES[target.architecture]}", *_GNU[target.key])
    return Toolchain("clang", version, command, gcc.linker, gcc.libraries)


_FIND = {"zig": _zig, "gcc": _gcc, "clang": _clang}


def _install(target: Target, key: str) -> str:
    gcc = _GCC[target.architecture][1]
    if key == "zig":
        return "pip install 'tinyscene[firmware]'"
    if key == "gcc" or target.architecture == "aarch64":
        return f"apt-get install --no-install-recommends {gcc}"
    return f"apt-get install --no-install-recommends clang {gcc}"


def _host_processor() -> tuple[str, ...]:
    """zig builds for the very processor it runs on unless told otherwise; the result shall run on its siblings."""
    return ("-mcpu=x86_64_v2",) if platform.machine().lower() in ("x86_64", "amd64") else ("-mcpu=baseline",)


@functools.cache
def _first_line(command: tuple[str, ...]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.splitlines()[0].strip() if done.stdout else "of unknown version"
