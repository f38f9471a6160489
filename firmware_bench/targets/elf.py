"""What is in an ELF file: its symbols, its sections, its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runtime.errors import require

_ALLOCATED, _EXECUTABLE, _WRITABLE = 2, 4, 1  # sh_flags: SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE


@dataclass(frozen=True)
class Symbol:
    """A function or an object; `address` without the bit that marks Thumb. `kind` is that of its section: "code",
    "constants", "data" (RAM, with a copy in flash), "bss" (RAM that starts as zeros) or "other"."""

    name: str
    address: int
    size: int
    kind: str
    is_function: bool


@dataclass(frozen=True)
class Sizes:
    """Bytes of each kind, padding included; the stack and what only emulation needs are left out."""

    code: int
    constants: int
    data: int
    bss: int

    @property
    def flash(self) -> int:
        """What lies in flash: code, constants and the first values of the data."""
        return self.code + self.constants + self.data

    @property
    def ram(self) -> int:
        """Static RAM without the stack."""
        return self.data + self.bss


@dataclass(frozen=True)
class Elf:
    """An ELF file as read: `functions` are sorted by address; of two symbols of one name `symbols` has the global
    one. `segments` are (load address, bytes) and `code` is the (first, past the last) address of instructions."""

    symbols: Mapping[str, Symbol]
    functions: tuple[Symbol, ...]
    sizes: Sizes
    segments: tuple[tuple[int, bytes], ...]
    code: tuple[int, int]


def read_elf(path: Path) -> Elf:
    """Read the ELF file `path`; raises `UnavailableError` without pyelftools."""
    require("elftools", "firmware")
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as handle:
        elf = ELFFile(handle)
        sections = list(elf.iter_sections())
        kinds = [_kind(section) for section in sections]
        thumb = elf["e_machine"] == "EM_ARM"
        totals = dict.fromkeys(("code", "constants", "data", "bss", "other"), 0)
        for section, kind in zip(sections, kinds, strict=True):
            totals[kind] += section["sh_size"]
        executable = [section for section, kind in zip(sections, kinds, strict=True) if kind == "code"]
        code = (
            min((section["sh_addr"] for section in executable), default=0),
            max((section["sh_addr"] + section["sh_size"] for section in executable), default=0),
        )
        segments = tuple(
            (segment["p_paddr"], segment.data())
            for segment in elf.iter_segments()
            if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]
        )
        local, shared = _symbols(elf, kinds, thumb)
    functions = {symbol.address: symbol for symbol in (*local, *shared) if symbol.is_function}
    return Elf(
        symbols={symbol.name: symbol for symbol in (*local, *shared)},
        functions=tuple(functions[address] for address in sorted(functions)),
        sizes=Sizes(totals["code"], totals["constants"], totals["data"], totals["bss"]),
        segments=segments,
        code=code,
    )


def _kind(section: Any) -> str:
    flags = section["sh_flags"]
    if not flags & _ALLOCATED or section.name in (".stack", ".idle"):
        return "other"
    if section.name == ".vectors" or flags & _EXECUTABLE:
        return "code"
    if section["sh_type"] == "SHT_NOBITS":
        return "bss"
    return "data" if flags & _WRITABLE else "constants"


def _symbols(elf: Any, kinds: list[str], thumb: bool) -> tuple[list[Symbol], list[Symbol]]:
    """The named symbols that have a place, local ones and the others."""
    local: list[Symbol] = []
    shared: list[Symbol] = []
    table = elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")
    for entry in table.iter_symbols() if table is not None else ():
        kind, index = entry["st_info"]["type"], entry["st_shndx"]
        if not entry.name or entry.name.startswith("$") or kind in ("STT_FILE", "STT_SECTION") or index == "SHN_UNDEF":
            continue
        is_function = kind in ("STT_FUNC", "STT_LOOS")
        address = entry["st_value"] & ~1 if thumb and is_function else entry["st_value"]
        place = kinds[index] if isinstance(index, int) else "other"
        symbol = Symbol(entry.name, address, entry["st_size"], place, is_function)
        (local if entry["st_info"]["bind"] == "STB_LOCAL" else shared).append(symbol)
    return local, shared
