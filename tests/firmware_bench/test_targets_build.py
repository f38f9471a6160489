"""Compilers and the build: what is found, what is said when it is not, sizes, errors, repeatability."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from target_programs import BARE, FUNCTIONS, PROGRAM, made, opened

from tinyscene.firmware_bench.targets import (
    TARGETS,
    TOOLCHAINS,
    BuildError,
    Toolchain,
    available_toolchains,
    build,
    choose_toolchain,
    target,
)
from tinyscene.firmware_bench.targets.build import linker_script
from tinyscene.runtime.errors import InputError, UnavailableError

PAIRS = [(key, compiler) for key in TARGETS for compiler in TOOLCHAINS]
#: What every part shall be compiled for; a compiler's name for a processor easily leaves out half of it.
FEATURES = """
#if defined(__arm__)
#if TS_DSP != defined(__ARM_FEATURE_DSP) || TS_MVE != defined(__ARM_FEATURE_MVE) || TS_FPU != defined(__ARM_FP)
#error "wrong features"
#endif
#if TS_FPU != defined(__ARM_PCS_VFP)
#error "wrong ABI"
#endif
#elif defined(__riscv)
#if __riscv_xlen != 32 || !defined(__riscv_mul) || !defined(__riscv_compressed) || defined(__riscv_flen)
#error "wrong features"
#endif
#elif !defined(__aarch64__) && !TS_HOST
#error "wrong processor"
#endif
int f(void);
int f(void) { return 5; }
"""
SIZED = """
#include <stdint.h>
extern const uint8_t weights[1000];
const uint8_t weights[1000] = {1, 2, 3};
uint8_t values[200] = {9};
uint8_t zeros[3000];
extern const uint8_t unused[50000];
const uint8_t unused[50000] = {1};
int32_t f(int32_t i);
int32_t f(int32_t i) { return weights[i] + values[i] + zeros[i]; }
"""


def toolchain(key: str, compiler: str) -> Toolchain:
    try:
        return choose_toolchain(TARGETS[key], compiler)
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("key", "compiler"), PAIRS)
def test_every_compiler_knows_the_processor(key: str, compiler: str, tmp_path: Path) -> None:
    part = TARGETS[key]
    dsp, mve = part.family in ("dsp", "mve"), part.family == "mve"
    defines = [f"TS_DSP={dsp:d}", f"TS_MVE={mve:d}", f"TS_FPU={part.has_fpu:d}", f"TS_HOST={key == 'host':d}"]
    firmware = build(
        part, {"f.c": FEATURES}, tmp_path / "f.elf", toolchain=toolchain(key, compiler), defines=defines, keep=("f",)
    )
    with opened(firmware, part.emulators[0]) as machine:
        assert machine.call("f").value == 5
    assert firmware.toolchain[-1].isdigit()  # a version


@pytest.mark.parametrize("key", BARE)
def test_sizes_by_kind(key: str, tmp_path: Path) -> None:
    firmware = made(TARGETS[key], {"sized.c": SIZED}, tmp_path, ("f",))
    sizes = firmware.sizes
    assert 1000 <= sizes.constants < 1600  # and the little that the compiler's own library has
    assert 200 <= sizes.data < 216
    assert 3000 <= sizes.bss < 3016
    assert 60 < sizes.code < 2000
    assert sizes.flash == sizes.code + sizes.constants + sizes.data
    assert sizes.ram == sizes.data + sizes.bss
    assert firmware.symbol("weights").kind == "constants"
    assert (firmware.symbol("zeros").kind, firmware.symbol("zeros").size) == ("bss", 3000)
    assert firmware.bytes_of("weights", kind="constants") == 1000
    assert "unused" not in firmware.symbols


@pytest.mark.parametrize("key", list(TARGETS))
def test_the_same_files_give_the_same_bytes(key: str, tmp_path: Path) -> None:
    first = made(TARGETS[key], {"program.c": PROGRAM}, tmp_path, FUNCTIONS).elf.read_bytes()
    assert made(TARGETS[key], {"program.c": PROGRAM}, tmp_path, FUNCTIONS).elf.read_bytes() == first


@pytest.mark.parametrize("compiler", TOOLCHAINS)
def test_startup_and_library_are_free_of_warnings(compiler: str, tmp_path: Path) -> None:
    """strict is the default: the startup is compiled with -Wall -Wextra -Wconversion -Werror too."""
    for key in ("cortex-m0plus", "cortex-m55", "rv32", "aarch64"):
        if any(found.key == compiler for found in available_toolchains(TARGETS[key])):
            files = {"f.c": "int f(void); int f(void) { return 1; }"}
            build(
                TARGETS[key], files, tmp_path / "f.elf", toolchain=toolchain(key, compiler), keep=("f", *_memory(key))
            )


def _memory(key: str) -> tuple[str, ...]:
    return ("memcpy", "memmove", "memset", "memcmp") if TARGETS[key].is_bare else ()


def test_memory_functions(tmp_path: Path) -> None:
    """Every small size and alignment, against Python's own bytes."""
    keep = ("memcpy", "memmove", "memset", "memcmp", "room")
    with opened(made(TARGETS["cortex-m4"], {"room.c": "char room[256];"}, tmp_path, keep), "unicorn") as machine:
        room = machine.symbol("room")
        start = bytes(range(1, 101))
        for n in (0, 1, 3, 4, 15, 16, 21, 36):
            for source, sink in ((0, 48), (0, 49), (3, 48), (2, 50), (5, 55)):
                machine.write(room, start)
                machine.call("memcpy", room + sink, room + source, n)
                expected = start[:sink] + start[source : source + n] + start[sink + n :]
                assert machine.read(room, 100) == expected
                assert machine.call("memcmp", room + sink, room + source, n).value == 0
                machine.call("memset", room + sink, 0x1AB, n)
                assert machine.read(room, 100) == start[:sink] + b"\xab" * n + start[sink + n :]
            for source, sink in ((0, 5), (5, 0), (4, 4), (0, 60)):
                machine.write(room, start)
                machine.call("memmove", room + sink, room + source, n)
                assert machine.read(room, 100) == start[:sink] + start[source : source + n] + start[sink + n :]
        machine.write(room, b"\x01\xff\x01\x02")
        assert machine.call("memcmp", room, room + 2, 2).value > 0


def test_what_the_compiler_says_first_is_told(tmp_path: Path) -> None:
    part, out = TARGETS["cortex-m4"], tmp_path / "out.elf"
    out.write_bytes(b"before")
    with pytest.raises(BuildError, match=r"(?s)refused the files.*wrong\.c:2.*error"):
        build(part, {"wrong.c": "int x;\nint f(void) { return y; }"}, out)
    with pytest.raises(BuildError, match="conver"):
        build(part, {"narrow.c": "signed char f(int x); signed char f(int x) { return x; }"}, out)
    with pytest.raises(BuildError, match="nowhere"):
        build(part, {"a.c": "void nowhere(void); void f(void); void f(void) { nowhere(); }"}, out, keep=("f",))
    with pytest.raises(InputError, match=r"ends in \.c"):
        build(part, {"a.h": ""}, out)
    assert out.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["out.elf"]


def test_what_is_kept_must_exist(tmp_path: Path) -> None:
    with pytest.raises((InputError, BuildError), match="absent"):
        made(TARGETS["cortex-m4"], {"a.c": "int f(void); int f(void) { return 1; }"}, tmp_path, ("f", "absent"))


def test_files_in_folders_defines_and_an_existing_folder(tmp_path: Path) -> None:
    files = {
        "lib/value.h": "int value(void);\n",
        "lib/value.c": '#include "value.h"\nint value(void) { return VALUE; }\n',
        "f.c": '#include "value.h"\nint f(void);\nint f(void) { return value() + 1; }\n',
    }
    for compiler in available_toolchains(TARGETS["cortex-m4"]):
        firmware = build(
            TARGETS["cortex-m4"], files, tmp_path, toolchain=compiler, defines=["VALUE=41"], keep=("f",), debug=True
        )
        assert firmware.elf == tmp_path / "firmware.elf"
        with opened(firmware, "unicorn") as machine:
            assert machine.call("f").value == 42


def test_too_much_for_the_memory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError):
        made(TARGETS["cortex-m55"], {"a.c": "char big[8000000];"}, tmp_path, ("big",))


def test_missing_compilers_are_told_with_the_line_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UnavailableError, match="gcc-arm-none-eabi libnewlib-arm-none-eabi") as caught:
        choose_toolchain(TARGETS["cortex-m4"], "gcc")
    assert caught.value.exit_code == 3
    with pytest.raises(UnavailableError, match="picolibc-riscv64-unknown-elf"):
        choose_toolchain(TARGETS["rv32"], "gcc")
    with pytest.raises(UnavailableError, match="apt-get install --no-install-recommends clang "):
        choose_toolchain(TARGETS["cortex-m4"], "clang")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ziglang" else find(name))
    for key in TARGETS:
        assert available_toolchains(TARGETS[key]) == ()
        with pytest.raises(UnavailableError, match=r"pip install 'tinyscene\[firmware\]'"):
            choose_toolchain(TARGETS[key])


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="unknown target 'cortex-m3', expected one of host, aarch64"):
        target("cortex-m3")
    with pytest.raises(InputError, match="unknown toolchain 'iar', expected one of zig, gcc, clang"):
        choose_toolchain(TARGETS["cortex-m4"], "iar")
    with pytest.raises(InputError, match="no memory map"):
        linker_script(TARGETS["host"])


def test_targets_are_described_consistently() -> None:
    for key, part in TARGETS.items():
        assert part.key == key == target(key).key
        assert part.frontend == ("float" if part.has_fpu else "fixed")
        assert part.is_bare == (part.architecture in ("arm", "riscv"))
        if part.is_bare:
            assert f"{part.clock_mhz:g} MHz" in part.example
            assert part.milliseconds(1e6) == pytest.approx(1e3 / part.clock_mhz)
        else:
            assert part.milliseconds(1e6) is None
