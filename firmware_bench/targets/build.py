"""From C files to a program for a target."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runtime.atomic import write_file
from ...runtime.errors import InputError, TinysceneError
from ..families import LIBRARY
from .elf import Elf, Sizes, Symbol, read_elf
from .target import Target
from .toolchains import Toolchain, choose_toolchain

STARTUP = LIBRARY / "startup"

#: No fused multiply-add unless the code asks for it: the same floats on every target.
_COMPILE = (
    "-std=c99",
    "-O2",
    "-ffp-contract=off",
    "-fomit-frame-pointer",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-ffunction-sections",
    "-fdata-sections",
)
_STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
_SOURCES = {
    "arm": ("ts_startup_arm.c", "ts_memory.c"),
    "riscv": ("ts_startup_riscv.c", "ts_memory.c"),
    "aarch64": ("ts_harness.c",),
    "host": (),
}
_IDLE_BYTES = 0x1000  # at the end of the code: breakpoints slow down the page they are in
_SECONDS = 300  # a compiler that takes longer hangs


class BuildError(InputError):
    """The compiler or the linker refused the files (exit code 2)."""


@dataclass(frozen=True)
class Firmware:
    """A program for `target`: an ELF file, for the host a shared library."""

    elf: Path
    target: Target
    toolchain: str
    contents: Elf

    @property
    def symbols(self) -> Mapping[str, Symbol]:
        """Every function and object by name."""
        return self.contents.symbols

    @property
    def sizes(self) -> Sizes:
        """Bytes of code, constants, data and zeros."""
        return self.contents.sizes

    def symbol(self, name: str) -> Symbol:
        """The symbol of that name; raises `InputError` when the firmware has none."""
        if name not in self.symbols:
            raise InputError(f"the firmware {self.elf} has no symbol {name!r}: name it in keep=, or check its spelling")
        return self.symbols[name]

    def bytes_of(self, *prefixes: str, kind: str) -> int:
        """Sizes of the symbols of one kind whose name begins with one of `prefixes`, added up."""
        found = {s.address: s.size for s in self.symbols.values() if s.kind == kind and s.name.startswith(prefixes)}
        return sum(found.values())


def build(
    target: Target,
    files: Mapping[str, str | bytes],
    out: Path,
    *,
    toolchain: Toolchain | None = None,
    defines: Sequence[str] = (),
    keep: Sequence[str] = (),
    debug: bool = False,
    strict: bool = True,
    flags: Sequence[str] = (),
) -> Firmware:
    """Compile and link `files` (name, with folders if need be, -> content) with the target's startup to the file `out`.

    `out` may be an existing folder: then it is `firmware.elf` in it. `keep` names functions and buffers that nothing
    in the files reaches; everything else unreached is dropped. `defines` are `NAME` or `NAME=VALUE`, `debug` adds
    debugging symbols, `strict` makes every warning an error, `flags` follow all others. The file is replaced only by
    a whole one. Raises `BuildError` with what the compiler said first, `UnavailableError` without a compiler.
    """
    chosen = toolchain or choose_toolchain(target)
    path = out / "firmware.elf" if out.is_dir() else out
    options = [
        *_COMPILE,
        *(_STRICT if strict else ["-w"]),
        "-g" if debug else "-g0",
        *(["-fPIC"] if target.architecture == "host" else []),
        *(f"-D{define}" for define in defines),
    ]
    with tempfile.TemporaryDirectory(prefix="tinyscene-build-") as name:
        folder = Path(name)
        for file, content in files.items():
            place = folder / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        for source in _SOURCES[target.architecture]:
            (folder / f"startup_{source}").write_bytes((STARTUP / source).read_bytes())
        folders = sorted({Path(file).parent.as_posix() for file in files} | {"."})
        options += [f"-I{each}" for each in folders]
        if target.is_bare:
            options += ["-idirafter", str(STARTUP / "include")]
        sources = sorted(file for file in files if Path(file).suffix == ".c")
        if not sources:
            raise InputError(f"nothing to build: none of {', '.join(files) or 'no files'} ends in .c")
        sources += [f"startup_{source}" for source in _SOURCES[target.architecture]]
        link = _link(target, folder, keep)
        if chosen.compiler == chosen.linker:
            _run(chosen, [*chosen.compiler, *options, *flags, *sources, *link, *chosen.libraries], folder)
        else:
            objects = folder / "objects"
            objects.mkdir()
            command = [*chosen.compiler, *options, "-I..", *(f"-I../{each}" for each in folders), *flags, "-c"]
            _run(chosen, [*command, *(f"../{source}" for source in sources)], objects)
            made = sorted(f"objects/{file.name}" for file in objects.iterdir())
            _run(chosen, [*chosen.linker, *made, *link, *chosen.libraries], folder)
        write_file(path, (folder / "out.elf").read_bytes())
    if not target.is_bare:
        path.chmod(0o755)
    firmware = Firmware(path, target, chosen.version, read_elf(path))
    for wanted in keep:
        firmware.symbol(wanted)
    return firmware


def _link(target: Target, folder: Path, keep: Sequence[str]) -> list[str]:
    """What the linker is told, the linker script written to `folder` first."""
    if target.architecture == "host":
        return ["-shared", "-o", "out.elf", *(["-lm"] if os.name == "posix" else [])]
    wanted = [f"-Wl,-u,{symbol}" for symbol in keep]
    if target.architecture == "aarch64":
        return ["-static", "-Wl,--gc-sections", *wanted, "-o", "out.elf", "-lm"]
    (folder / "memory.ld").write_text(linker_script(target))
    return ["-Wl,--gc-sections", "-Wl,-e,Reset", *wanted, "-T", "memory.ld", "-o", "out.elf"]


def linker_script(target: Target) -> str:
    """The linker script of a bare target's memory. The stack is the lowest part of RAM: it grows out of it, not into
    data. Raises `InputError` for a target with an operating system."""
    memory = target.memory
    if memory is None:
        raise InputError(f"{target.key} has no memory map: it runs under an operating system")
    code_bytes = memory.code_bytes - _IDLE_BYTES
    return f"""ENTRY(Reset)
MEMORY {{
  CODE (rx) : ORIGIN = {memory.code:#x}, LENGTH = {code_bytes:#x}
  IDLE (rx) : ORIGIN = {memory.code + code_bytes:#x}, LENGTH = {_IDLE_BYTES:#x}
  RAM (rw) : ORIGIN = {memory.ram:#x}, LENGTH = {memory.ram_bytes:#x}
}}
SECTIONS {{
  .vectors : {{ KEEP(*(.vectors)) }} > CODE
  .text : {{ *(.text .text.*) }} > CODE
  .rodata : {{ *(.rodata .rodata.* .srodata .srodata.*) . = ALIGN(4); }} > CODE
  .idle : {{ KEEP(*(.idle)) }} > IDLE
  .stack (NOLOAD) : {{
    ts_stack_low = .;
    . += {memory.stack_bytes:#x};
    ts_stack_top = .;
  }} > RAM
  .data : {{
    . = ALIGN(4);
    ts_data_start = .;
    *(.data .data.* .sdata .sdata.*)
    . = ALIGN(4);
    ts_data_end = .;
  }} > RAM AT> CODE
  ts_data_load = LOADADDR(.data);
  .bss (NOLOAD) : {{
    . = ALIGN(4);
    ts_bss_start = .;
    *(.bss .bss.* .sbss .sbss.* COMMON)
    . = ALIGN(4);
    ts_bss_end = .;
  }} > RAM
  /DISCARD/ : {{ *(.ARM.exidx* .ARM.extab* .eh_frame* .comment .note.*) }}
}}
"""


def _run(toolchain: Toolchain, command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_SECONDS,
            env=toolchain.environment(), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise TinysceneError(f"{toolchain.version} did not end within {_SECONDS} s: build fewer files") from error
    if done.returncode != 0:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in said if "error" in line.lower() or "undefined" in line] or said
        first = "\n  ".join(errors[:6]) or f"exit code {done.returncode}"
        raise BuildError(f"{toolchain.version} refused the files (correct them and build again):\n  {first}")
