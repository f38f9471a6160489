"""The firmware on this machine: a process behind a pseudo-terminal, or inside this one with a line that can fail."""

from __future__ import annotations

import ctypes
import os
import pty
import shutil
import subprocess
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import stub_model

from tinyscene.firmware_bench.boards.link import Link, open_link
from tinyscene.firmware_bench.families import LIBRARY

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror")
PROTOCOL = ("ts_protocol.c", "ts_reply.c")


def compiler() -> str:
    """A C compiler of this machine with sanitizers; skips the test without one."""
    for name in ("gcc", "clang-19", "clang"):
        if (path := shutil.which(name)) is not None:
            return path
    pytest.skip("no C compiler: run `apt-get install gcc libc6-dev`")


def compile_host(folder: Path, files: Mapping[str, str], sources: Sequence[str], out: str, *flags: str) -> Path:
    """Compile `sources`, each one of `files` or of the library, into `folder` / `out`."""
    for name, content in files.items():
        (folder / name).write_text(content)
    paths = [str(folder / name if name in files else LIBRARY / name) for name in sources]
    command = [compiler(), *WARNINGS, *flags, f"-I{folder}", f"-I{LIBRARY}", *paths, "-o", str(folder / out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder / out


def stub_files() -> dict[str, str]:
    """The stub model's files, with `ts_input.h` where the library has none."""
    files = {"model.h": stub_model.HEADER, "model.c": stub_model.SOURCE}
    return files if (LIBRARY / "ts_input.h").is_file() else {**files, "ts_input.h": stub_model.INPUT_HEADER}


def build_firmware(folder: Path, *flags: str) -> Path:
    """The stub model's firmware for this machine, with sanitizers that end it at the first fault."""
    sanitize = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    sources = ("main.c", "ts_firmware.c", "model.c", *PROTOCOL, "ports/host/board.c")
    return compile_host(folder, stub_files(), sources, "firmware", *sanitize, *flags)


class Terminal:
    """A running firmware behind a pseudo-terminal; `path` is what pyserial opens."""

    def __init__(self, program: Path, errors: Path) -> None:
        self.program = program
        self.errors = errors
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.path = os.ttyname(self.slave)
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.errors.open("ab") as errors:
            return subprocess.Popen([self.program], stdin=self.master, stdout=self.master, stderr=errors)

    def reset(self) -> None:
        """Start the firmware again, as the board's button would."""
        self.process.kill()
        self.process.wait(10)
        self.process = self._start()

    def close(self) -> None:
        """End it; fails when a sanitizer had something to say."""
        assert self.process.poll() is None, self.errors.read_text()
        self.process.kill()
        self.process.wait(10)
        os.close(self.master)
        os.close(self.slave)
        assert self.errors.read_text() == ""


@contextmanager
def running(program: Path, folder: Path) -> Iterator[Terminal]:
    """The firmware `program` behind a pseudo-terminal."""
    terminal = Terminal(program, folder / "errors.txt")
    try:
        yield terminal
    finally:
        terminal.close()


def connect(terminal: Terminal) -> Link:
    """A synchronised link."""
    link = open_link(terminal.path)
    link.synchronize()
    return link


_ENTRY = """#include "model.h"
#include "ts_protocol.h"
typedef void (*sink)(uint8_t byte);
void board_start(sink write);
void board_feed(const uint8_t *bytes, uint32_t count);
static int8_t arena[TS_MODEL_ARENA_BYTES], logits[TS_MODEL_CLASSES];
static uint8_t plane[16384];
static uint32_t ticks;
static ts_protocol protocol;
static ts_dut dut;
static void infer(void) {
    const ts_input input = {(const int8_t *)plane, 64, 1, 0, 64};
    ts_model_run(arena, &input, logits);
    ticks += 1500u;
}
static uint32_t now(void) { return ticks; }
void board_start(sink write) {
    const ts_dut fresh = {"tinyscene", TS_MODEL_NAME, TS_MODEL_CONTRACT_HASH, ts_model_labels, plane, sizeof plane,
                          logits, TS_MODEL_CLASSES, TS_MODEL_OUTPUT_SCALE, TS_MODEL_ARENA_BYTES, infer, write, now, 0};
    dut = fresh;
    for (uint32_t i = 0; i < sizeof plane; ++i) {
        plane[i] = 0;
    }
    ticks = 0xfffff000u; /* the clock wraps in the first inferences */
    ts_protocol_start(&protocol, &dut);
}
void board_feed(const uint8_t *bytes, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
        ts_protocol_feed(&protocol, bytes[i]);
    }
}
"""

#: Changes the n-th byte that goes to the board ("out") or comes from it ("in"): what arrives in its place.
Damage = Callable[[str, int, int], bytes]


class InProcessBoard:
    """Stands in for a pyserial port: the firmware's parser in this process, at the end of a line that can do damage."""

    def __init__(self, library: Path) -> None:
        self._c = ctypes.CDLL(str(library))
        self._sink = ctypes.CFUNCTYPE(None, ctypes.c_uint8)(self._take)
        self.damage: Damage | None = None
        self.sent = self.received = 0
        self._inbox = bytearray()
        self.timeout = self.write_timeout = 0.0
        self.reset()

    def reset(self) -> None:
        """Start the firmware again; its banner arrives."""
        self._c.board_start(self._sink)

    def _take(self, byte: int) -> None:
        self._inbox += self._damaged("in", self.received, byte)
        self.received += 1

    def _damaged(self, way: str, position: int, byte: int) -> bytes:
        return bytes([byte]) if self.damage is None else self.damage(way, position, byte)

    @property
    def in_waiting(self) -> int:
        return len(self._inbox)

    def write(self, data: bytes) -> int:
        arriving = b"".join(self._damaged("out", self.sent + i, byte) for i, byte in enumerate(data))
        self.sent += len(data)
        self._c.board_feed(arriving, len(arriving))
        return len(data)

    def read(self, size: int) -> bytes:
        data = bytes(self._inbox[:size])
        del self._inbox[:size]
        return data

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def build_in_process(folder: Path) -> Path:
    """The library that `InProcessBoard` loads."""
    files = {**stub_files(), "entry.c": _ENTRY}
    return compile_host(folder, files, ("entry.c", "model.c", *PROTOCOL), "board.so", "-O2", "-shared", "-fPIC")
