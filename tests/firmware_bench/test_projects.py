"""Exported projects: each builds where it is meant to, and the self-test finds a wrong byte."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from generated import compiler
from stub_board import connect, running

from tinyscene.export.formats.metadata import Metadata
from tinyscene.export.formats.model_file import ModelFile
from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph
from tinyscene.firmware_bench.firmware import Program, assemble
from tinyscene.firmware_bench.generator.project import MARKER, export_project
from tinyscene.firmware_bench.generator.vectors import record
from tinyscene.firmware_bench.targets.build import build
from tinyscene.firmware_bench.targets.target import target
from tinyscene.runtime.engines.litert import LiteRTEngine
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend import StreamingLogMel
from tinyscene.runtime.frontend_spec import STUDENT

LABELS = ("airport", "bus", "park", "tram")
SPEC = replace(STUDENT, n_mels=64, clip_samples=STUDENT.clip_samples // 2)

#: What a sketch of Arduino's finds, as a program of this machine.
ARDUINO_H = """\
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#define OUTPUT 1
#define HIGH 1
#define LOW 0
struct Stream {
  void begin(unsigned long) {}
  int available() { return 1; }
  int read() { unsigned char byte; if (::read(0, &byte, 1) != 1) exit(0); return byte; }
  size_t write(uint8_t byte) { return (size_t)::write(1, &byte, 1); }
  void println(const char *text) { puts(text); exit(0); }
};
static Stream Serial;
static inline unsigned long micros() { static unsigned long now; return now += 7; }
static inline void delay(unsigned long) {}
static inline void pinMode(int, int) {}
static inline void digitalWrite(int, int) {}
"""

#: What the sample for Zephyr finds.
ZEPHYR_H = """\
#pragma once
#include <stdbool.h>
#include <stdint.h>
struct device { int nothing; };
static const struct device the_console;
#define DT_CHOSEN(name) the_console
#define DEVICE_DT_GET(node) (&(node))
int uart_poll_in(const struct device *device, unsigned char *byte);
void uart_poll_out(const struct device *device, unsigned char byte);
bool device_is_ready(const struct device *device);
int64_t k_uptime_ticks(void);
uint64_t k_ticks_to_us_floor64(uint64_t ticks);
uint64_t k_cycle_get_64(void);
uint64_t k_cyc_to_us_floor64(uint64_t cycles);
"""


@pytest.fixture(scope="module")
def model(frozen_graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """A small network that knows what it hears."""
    metadata = Metadata(LABELS, SPEC)
    data = write_tflite(frozen_graph, metadata)
    path = tmp_path_factory.mktemp("model") / "model.tflite"
    path.write_bytes(data)
    return ModelFile(path, data, frozen_graph, None, data, metadata)


@pytest.fixture(scope="module")
def program(model: ModelFile) -> Program:
    return assemble(model, target("host"))


@pytest.fixture(scope="module")
def vectors(model: ModelFile, program: Program) -> bytes:
    return record(model, program.model.tensors)


@pytest.fixture(scope="module")
def plain(program: Program, vectors: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain project, built with the very lines of its README."""
    out = tmp_path_factory.mktemp("projects") / "plain"
    export_project(program.files, out, "plain", vectors=vectors)
    compiler("cc")
    block = re.search(r"```\n(cc .*?)```", (out / "README.md").read_text(), re.DOTALL)
    assert block is not None
    for line in block[1].strip().splitlines():
        command = line.split(" && ")[0]
        done = subprocess.run(command, shell=True, cwd=out, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
    return out


def _selftest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / "selftest", *arguments], cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )


def test_the_selftest_holds_every_tensor_against_the_reference(plain: Path, program: Program, model: ModelFile) -> None:
    done = _selftest(plain)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[-1] == "OK: every byte is the reference's"
    named = {line.split()[1] for line in lines if "rows of" in line}
    assert {op.output for op in model.graph.ops if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD")} <= named
    assert sum("logits of input" in line for line in lines) == 4


def test_the_selftest_finds_one_wrong_byte_and_names_the_tensor(plain: Path, vectors: bytes, tmp_path: Path) -> None:
    name = b"blocks.1.expand"
    at = vectors.index(name.ljust(48, b"\0")) + 48 + 5
    damaged = bytearray(vectors)
    damaged[at] ^= 1
    (tmp_path / "golden.bin").write_bytes(damaged)
    done = _selftest(plain, str(tmp_path / "golden.bin"))
    assert done.returncode == 1
    wrong = [line for line in done.stdout.splitlines() if line.startswith("NOT OK")]
    assert len(wrong) == 2  # it, and the sum of all
    assert "blocks.1.expand" in wrong[0]
    assert "1 bytes differ, by up to 1, first in row 0" in wrong[0]


def test_the_selftest_finds_wrong_logits(plain: Path, vectors: bytes, tmp_path: Path) -> None:
    size = struct.unpack_from("<5I", vectors, 4)[2]
    damaged = bytearray(vectors)
    damaged[24 + size] ^= 0x40
    (tmp_path / "golden.bin").write_bytes(damaged)
    done = _selftest(plain, str(tmp_path / "golden.bin"))
    assert done.returncode == 1
    assert "NOT OK  logits of input 0" in done.stdout


@pytest.mark.parametrize("cut", [0, 3, 10, 30, 5000, -1])
def test_the_selftest_refuses_what_is_not_its_file(plain: Path, vectors: bytes, tmp_path: Path, cut: int) -> None:
    (tmp_path / "golden.bin").write_bytes(vectors[:cut])
    done = _selftest(plain, str(tmp_path / "golden.bin"))
    assert (done.returncode, done.stdout) == (2, "")
    assert _selftest(plain, "nowhere.bin").returncode == 2


def test_the_demo_hears_what_the_runtime_hears(plain: Path, model: ModelFile) -> None:
    rng = np.random.default_rng(7)
    wave = np.cumsum(rng.integers(-300, 300, 3 * SPEC.sample_rate_hz)).clip(-30000, 30000).astype("<i2")
    done = subprocess.run([plain / "demo"], input=wave.tobytes(), capture_output=True, timeout=100, check=True)
    engine = LiteRTEngine(model.path, "reference")
    stream = StreamingLogMel(SPEC)
    frames = np.zeros((SPEC.n_mels, 0), np.float32)
    expected, heard = [], 0
    for start in range(0, len(wave), SPEC.hop_length):
        piece = wave[start : start + SPEC.hop_length].astype(np.float32) / np.float32(32768)
        frames = np.concatenate([frames, stream.push(piece)], axis=1)
        heard += len(piece)
        if heard >= (len(expected) + 1) * SPEC.sample_rate_hz and frames.shape[1] >= SPEC.n_frames():
            expected.append(LABELS[int(engine.logits(frames[:, -SPEC.n_frames() :]).argmax())])
    found = [line.split()[-1] for line in done.stdout.decode().splitlines()]
    assert len(found) == 3
    assert found == expected


def test_the_firmware_of_a_plain_project_answers(plain: Path, tmp_path: Path) -> None:
    with running(plain / "firmware-host", tmp_path) as terminal, connect(terminal) as link:
        assert link.command("labels").lines == (f"m-labels-[{','.join(LABELS)}]",)
        assert link.command("contract").lines == (f"m-contract-[{SPEC.hash()}]",)


def test_a_cmake_project_builds_and_proves_itself(program: Program, vectors: bytes, tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake: run `apt-get install cmake` or `pip install cmake`")
    compiler("cc")
    export_project(program.files, tmp_path / "project", "cmake", vectors=vectors)
    for command in (
        "cmake -B build -DCMAKE_C_FLAGS='-Wall -Wextra -Wconversion -Werror'",
        "cmake --build build -j 2",
        "ctest --test-dir build --output-on-failure",
    ):
        done = subprocess.run(
            command, shell=True, cwd=tmp_path / "project", capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "100% tests passed" in done.stdout
    assert {"selftest", "demo", "firmware"} <= {path.name for path in (tmp_path / "project" / "build").iterdir()}


def test_a_cmake_project_for_a_part_leaves_the_programs_out(model: ModelFile, tmp_path: Path) -> None:
    export_project(assemble(model, target("cortex-m4")).files, tmp_path / "p", "cmake")
    text = (tmp_path / "p" / "CMakeLists.txt").read_text()
    assert re.search(r"option\(TINYSCENE_PROGRAMS .* OFF\)", text)
    assert "selftest" not in text.split("add_executable", 1)[-1].split("\n")[0]


def test_an_arduino_library_keeps_to_the_rules(program: Program, tmp_path: Path) -> None:
    """Arduino's library specification, format 1.5, revision 2.2."""
    out = tmp_path / "TinysceneClassifier"
    export_project(program.files, out, "arduino")
    lines = (out / "library.properties").read_text().splitlines()
    fields = dict(line.split("=", 1) for line in lines)
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
    assert required <= {key for key, value in fields.items() if value}
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", fields["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", fields["version"])
    assert fields["category"] in {
        "Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing", "Data Storage",
        "Data Processing", "Other",
    }  # fmt: skip
    assert fields["includes"] == "TinysceneClassifier.h"
    assert [path.name for path in (out / "src").glob("*.h")] == ["TinysceneClassifier.h"]
    for sketch in (out / "examples").iterdir():
        assert (sketch / f"{sketch.name}.ino").is_file()
    assert all(re.fullmatch(r"\w+\tKEYWORD[12]", line) for line in (out / "keywords.txt").read_text().splitlines())
    assert not list(out.rglob("main.c"))  # a sketch has its own


@pytest.mark.parametrize("listens", [True, False])
def test_sketches_compile_as_cpp_and_run(model: ModelFile, program: Program, tmp_path: Path, listens: bool) -> None:
    if not listens:
        program = assemble(replace(model, metadata=None), target("host"))
    out = tmp_path / "library"
    export_project(program.files, out, "arduino")
    (tmp_path / "Arduino.h").write_text(ARDUINO_H)
    objects = tmp_path / "objects"
    objects.mkdir()
    sources = sorted(str(path) for path in (out / "src").rglob("*.c"))
    subprocess.run([compiler(), "-O1", "-c", f"-I{out / 'src'}", *sources], cwd=objects, check=True, timeout=100)
    archive = tmp_path / "library.a"  # dot_a_linkage: of the library's objects only those that a sketch needs
    subprocess.run(["ar", "rcs", archive, *sorted(objects.iterdir())], check=True, timeout=60)
    for sketch in sorted((out / "examples").iterdir()):
        text = (sketch / f"{sketch.name}.ino").read_text()
        (tmp_path / "sketch.cpp").write_text(
            f"#include <Arduino.h>\n{text}\nint main() {{ setup(); for (;;) loop(); }}\n"
        )
        program_path = tmp_path / sketch.name
        command = [compiler("g++"), "-std=gnu++11", "-Wall", "-Wextra", "-Werror", f"-I{tmp_path}", f"-I{out / 'src'}"]
        linked = [*command, "sketch.cpp", str(archive), "-lm", "-o", str(program_path)]
        done = subprocess.run(linked, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        said = subprocess.run(
            [program_path], input="profile%infer 1 0%", capture_output=True, text=True, timeout=20, check=True
        ).stdout
        if sketch.name == "SerialProtocol":
            assert f"m-model-[{model.graph.name}]" in said
            assert "m-infer-done" in said
        else:
            assert said.strip() in (LABELS if listens else [f"class {i}" for i in range(4)])


def test_a_zephyr_module_names_files_that_are_there(program: Program, tmp_path: Path) -> None:
    """Zephyr's documentation, Modules: zephyr/module.yml with the folder of CMakeLists.txt and the Kconfig file."""
    export_project(program.files, tmp_path / "m", "zephyr")
    module = yaml.safe_load((tmp_path / "m" / "zephyr" / "module.yml").read_text())
    cmake = tmp_path / "m" / module["build"]["cmake"] / "CMakeLists.txt"
    assert (tmp_path / "m" / module["build"]["kconfig"]).read_text().startswith("config TINYSCENE_MODEL\n\tbool ")
    text = cmake.read_text()
    listed = set(re.findall(r"\.\./src/(\w+\.c)", text))
    assert listed == {path.name for path in (tmp_path / "m" / "src").glob("*.c")}
    assert "if(CONFIG_TINYSCENE_MODEL)" in text
    (sample,) = (tmp_path / "m" / module["samples"][0]).iterdir()
    assert {path.name for path in sample.iterdir()} == {"CMakeLists.txt", "prj.conf", "sample.yaml", "src"}
    assert yaml.safe_load((sample / "sample.yaml").read_text())["tests"]
    assert all(re.fullmatch(r"CONFIG_\w+=[yn]", line) for line in (sample / "prj.conf").read_text().splitlines())
    for name in re.findall(r"src/(\w+\.c)", (sample / "CMakeLists.txt").read_text()):
        assert (sample / "src" / name).is_file()


@pytest.mark.parametrize("define", [[], ["-DCONFIG_TIMER_HAS_64BIT_CYCLE_COUNTER"]])
def test_the_zephyr_sample_compiles(program: Program, tmp_path: Path, define: list[str]) -> None:
    export_project(program.files, tmp_path / "m", "zephyr")
    for header in ("device.h", "drivers/uart.h", "kernel.h"):
        path = tmp_path / "stub" / "zephyr" / header
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ZEPHYR_H)
    source = tmp_path / "m" / "samples" / "serial_protocol" / "src" / "main.c"
    command = [compiler(), "-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsyntax-only", *define]
    done = subprocess.run(
        [*command, f"-I{tmp_path / 'stub'}", str(source)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("key", ["cortex-m4", "rv32"])
def test_the_exported_c_is_what_a_part_runs(model: ModelFile, tmp_path: Path, key: str) -> None:
    """The plain folder's `src`, compiled strictly for the part."""
    try:
        program = assemble(model, target(key))
    except ModuleNotFoundError as error:
        pytest.skip(f"no kernels for {key} yet ({error.name})")
    export_project(program.files, tmp_path / "p", "plain")
    files = {path.name: path.read_bytes() for path in (tmp_path / "p" / "src").iterdir()}
    firmware = build(target(key), files, tmp_path / "x.elf", keep=("ts_model_run", "ts_scene_infer"))
    assert firmware.sizes.constants > 1000


def test_the_same_model_gives_the_same_project(program: Program, vectors: bytes, tmp_path: Path) -> None:
    for form in ("plain", "cmake", "arduino", "zephyr"):
        names = export_project(program.files, tmp_path / "a", form, vectors=vectors)
        assert export_project(program.files, tmp_path / "b", form, vectors=vectors) == names
        for name in names:
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        found = {path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()}
        assert found == set(names)  # the older project of another form is gone
        assert not re.search("@[A-Z]+@", "".join((tmp_path / "a" / n).read_text(errors="replace") for n in names))


def test_only_a_project_is_replaced(program: Program, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="choose another folder"):
        export_project(program.files, tmp_path / "mine")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another folder"):
        export_project(program.files, tmp_path / "file")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    export_project(program.files, tmp_path / "empty")
    assert (tmp_path / "empty" / MARKER).is_file()


def test_what_is_no_project_is_refused(program: Program, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one of plain, cmake, arduino, zephyr"):
        export_project(program.files, tmp_path / "x", "bazel")
    with pytest.raises(InputError, match="no model among"):
        export_project({"readme.txt": ""}, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_vectors_of_another_shape_are_refused(model: ModelFile, program: Program) -> None:
    with pytest.raises(InputError, match="expected int8"):
        record(model, program.model.tensors, np.zeros((2, 8, 8), np.int8))
    with pytest.raises(InputError, match="expected int8"):
        record(model, program.model.tensors, np.zeros((1, 64, 32), np.int16))
