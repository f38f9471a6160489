"""Each form of the host kernels, byte for byte against the scalar twin: random and trained-like numbers."""

from __future__ import annotations

import itertools
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyscene.firmware_bench.families import LIBRARY, Constants, Packed, family

SOURCES = ("ts_kernels_scalar.c", *(name for name in family("host").sources if name.endswith(".c")))
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror")
POINTWISE, DEPTHWISE, CONV, ADD = range(4)

#: (inputs, outputs) of the networks of base 32, 16 and 8.
POINTWISE_SHAPES = (
    *((32, 96), (96, 32), (96, 72), (72, 216), (216, 72), (216, 168), (168, 10)),
    *((16, 48), (48, 16), (48, 40), (40, 120), (120, 40), (120, 88), (8, 24), (24, 8)),
)


@dataclass(frozen=True)
class Case:
    """One call of one kernel, as `host_cases.c` reads it."""

    name: str
    head: tuple[int, ...]
    parts: tuple[bytes, ...]

    def data(self) -> bytes:
        return np.array([*self.head, *map(len, self.parts)], np.int32).tobytes() + b"".join(self.parts)


def draw(generator: np.random.Generator, style: str, weight: NDArray[np.int8], outputs: int) -> Constants:
    """Constants in a style: `trained` scales to the output's range, the others are for the corners."""
    taps = weight.size // outputs
    reach = 128 * 128 * taps
    multiplier = generator.integers(1 << 30, 1 << 31, outputs)
    bias = generator.integers(-2000, 2000, outputs)
    shift = -generator.integers(7, 11, outputs) - int(np.log2(taps) / 2)
    if style == "ties":  # half the results lie between two integers
        multiplier = np.full(outputs, 1 << 30)
        shift = -generator.integers(1, 9, outputs)
    elif style == "shifts":  # all there are, to the left as well
        shift = generator.integers(-31, 31, outputs)
        multiplier[generator.random(outputs) < 0.1] = 0
    elif style == "extreme":  # sums up to the ends of int32
        bias = generator.choice([-1, 1], outputs) * (2**31 - 1 - reach - generator.integers(0, 1000, outputs))
        shift = -generator.integers(0, 32, outputs)
    elif style == "large":  # sums just below where the fast form ends
        bias = generator.choice([-1, 1], outputs) * (2**30 - 1 - reach - generator.integers(0, 1000, outputs))
        shift = -generator.integers(20, 32, outputs)
    return Constants(weight, bias.astype(np.int32), multiplier.astype(np.int32), shift.astype(np.int32))


def conv_case(
    generator: np.random.Generator,
    kind: int,
    inputs: int,
    outputs: int,
    pixels: int,
    *,
    stride: int = 1,
    window: tuple[int, int] = (1, 1),
    style: str = "trained",
    clamp: str = "relu",
) -> Case:
    """`clamp`: `relu` at the zero point, `six` above and below, `none`."""
    host, scalar = family("host"), family("scalar")
    height, kernel = window
    columns = (pixels - 1) * stride + kernel
    shape = {POINTWISE: (outputs, inputs), DEPTHWISE: (3, 3, outputs), CONV: (outputs, height, kernel, inputs)}[kind]
    weight = np.clip(np.rint(generator.normal(0, 40, shape)), -128, 127).astype(np.int8)
    rows = generator.integers(-128, 128, (height, columns, inputs)).astype(np.int8)
    if style == "extreme":
        weight, rows = (generator.choice(np.array([-128, 127], np.int8), x.shape) for x in (weight, rows))
    constants = draw(generator, style, weight, outputs)
    packed: list[Packed] = []
    for chosen in (scalar, host):
        pack = (chosen.pack_pointwise, chosen.pack_depthwise3, chosen.pack_conv)[kind]
        packed.append(pack(constants))
    zero_point = int(generator.integers(-128, 128))
    low, high = {"relu": (zero_point, 127), "six": (zero_point + 3, zero_point + 90), "none": (-128, 127)}[clamp]
    limits = (min(low, 127), min(high, 127))
    scratch = host.conv_scratch_bytes(height, kernel, inputs) if kind == CONV else 0
    row = columns * inputs
    head = (kind, pixels, stride, height, kernel, inputs, outputs, zero_point, *limits, scratch, row)
    parts = [rows.tobytes(), packed[0].weights.tobytes(), packed[1].weights.tobytes()]
    parts += [packed[0].requant.tobytes(), packed[1].requant.tobytes(), b""]
    return Case(f"{head} {style} {clamp}", head, tuple(parts))


def add_case(generator: np.random.Generator, n: int, plain: bool = True) -> Case:
    rows = generator.integers(-128, 128, (2, n)).astype(np.int8)
    zeros = generator.integers(-128, 128, 3)
    multipliers = generator.integers(1 << 30, 1 << 31, 3)
    if generator.random() < 0.3:
        multipliers[:] = 1 << 30  # ties
    shifts = -generator.integers(0, 4, 3) - [0, 0, 17] if plain else np.array([1, 0, -19])
    pairs = np.stack([multipliers, shifts], axis=1).reshape(-1)
    values = np.array([*zeros, *pairs, 20, max(-128, int(zeros[2])), 127], np.int32)
    head = (ADD, 1, 1, 2, 1, n, n, 0, 0, 0, 0, n)
    return Case(f"add of {n}: {values.tolist()}", head, (rows.tobytes(), b"", b"", b"", b"", values.tobytes()))


def all_cases() -> list[Case]:
    generator = np.random.default_rng(7)
    cases = []
    clamps = itertools.cycle(("relu", "none", "six"))
    for inputs, outputs in POINTWISE_SHAPES:
        for pixels in (16, 8, 7, 1):
            cases.append(conv_case(generator, POINTWISE, inputs, outputs, pixels, clamp=next(clamps)))
    for channels in range(1, 41):
        for style in ("trained", "ties"):
            inputs = int(generator.integers(1, 41))
            pixels = int(generator.integers(1, 20))
            cases.append(conv_case(generator, POINTWISE, inputs, channels, pixels, style=style, clamp=next(clamps)))
            cases.append(conv_case(generator, POINTWISE, channels, inputs, pixels, style=style, clamp=next(clamps)))
            for stride in (1, 2, 3):
                cases.append(
                    conv_case(
                        generator,
                        DEPTHWISE,
                        channels,
                        channels,
                        int(generator.integers(1, 11)),
                        stride=stride,
                        window=(3, 3),
                        style=style,
                        clamp=next(clamps),
                    )
                )
    for channels in (48, 72, 96, 120, 216):
        for stride in (1, 2):
            cases.append(
                conv_case(generator, DEPTHWISE, channels, channels, 8, stride=stride, window=(3, 3), clamp=next(clamps))
            )
    for inputs, outputs, pixels, stride, window in (
        (1, 8, 32, 2, (3, 3)),
        (8, 32, 16, 2, (3, 3)),
        (1, 4, 33, 2, (3, 3)),
        (4, 16, 17, 2, (3, 3)),
        (2, 3, 5, 1, (5, 5)),
        (3, 20, 4, 3, (1, 7)),
        (11, 5, 1, 1, (2, 1)),
        (5, 97, 18, 1, (3, 3)),
    ):
        for style in ("trained", "shifts"):
            cases.append(
                conv_case(
                    generator,
                    CONV,
                    inputs,
                    outputs,
                    pixels,
                    stride=stride,
                    window=window,
                    style=style,
                    clamp=next(clamps),
                )
            )
    for style in ("shifts", "extreme", "large"):
        for inputs, outputs in ((32, 96), (5, 7), (17, 33), (1, 1)):
            cases.append(conv_case(generator, POINTWISE, inputs, outputs, 9, style=style, clamp=next(clamps)))
            cases.append(
                conv_case(generator, DEPTHWISE, outputs, outputs, 5, window=(3, 3), style=style, clamp=next(clamps))
            )
    cases += [add_case(generator, n) for n in (*range(1, 41), 256, 512, 576)]
    cases += [add_case(generator, n, plain=False) for n in (1, 16, 50)]
    return cases


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return all_cases()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cases: list[Case]) -> Path:
    folder = tmp_path_factory.mktemp("host")
    (folder / "cases.bin").write_bytes(b"".join(case.data() for case in cases))
    return folder


def compile_cases(command: list[str], folder: Path, name: str) -> Path:
    files = [Path(__file__).parent / "host_cases.c", *(LIBRARY / source for source in SOURCES)]
    program = folder / name
    subprocess.run([*command, *STRICT, f"-I{LIBRARY}", *map(str, files), "-o", str(program)], check=True, timeout=200)
    return program


def check(command: list[str], file: Path, form: str, cases: list[Case]) -> list[tuple[int, int]]:
    """Differing bytes and distinct values of every case; skips where the processor lacks the form."""
    done = subprocess.run([*command, str(file), form], capture_output=True, text=True, timeout=200)
    if done.returncode == 3:
        pytest.skip(f"this processor has no {form}")
    assert done.returncode == 0, done.stderr[-3000:]
    found = [(int(line.split()[0]), int(line.split()[1])) for line in done.stdout.splitlines()]
    assert len(found) == len(cases)
    return found


def equal(found: list[tuple[int, int]], cases: list[Case]) -> None:
    bad = [f"{case.name}: {differing} bytes" for case, (differing, _) in zip(cases, found, strict=True) if differing]
    assert not bad, bad[:10]


def compiler(*names: str) -> str:
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no {names[0]}: run `apt-get install {names[0]}`")
    return path


@pytest.fixture(scope="module")
def fast(folder: Path) -> Path:
    """Built as the native engine is."""
    return compile_cases([compiler("gcc", "cc"), "-O3"], folder, "fast")


@pytest.fixture(scope="module")
def checked(folder: Path) -> Path:
    """Built by clang with both sanitizers."""
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    return compile_cases([compiler("clang-19", "clang"), *flags], folder, "checked")


@pytest.mark.parametrize("form", ["avx512", "avx2", "plain"])
def test_forms_equal_the_scalar_twin(fast: Path, folder: Path, cases: list[Case], form: str) -> None:
    if platform.machine() != "x86_64" and form != "plain":
        pytest.skip("this machine is no x86-64")
    found = check([str(fast)], folder / "cases.bin", form, cases)
    equal(found, cases)
    # The cases say something: the trained-like ones give many values.
    lively = [
        values
        for case, (_, values) in zip(cases, found, strict=True)
        if "trained none" in case.name and case.head[1] * case.head[6] > 500
    ]
    assert np.median(lively) > 60


@pytest.mark.parametrize("form", ["avx512", "avx2", "plain"])
def test_forms_stay_inside_their_buffers(checked: Path, folder: Path, cases: list[Case], form: str) -> None:
    equal(check([str(checked)], folder / "cases.bin", form, cases), cases)


@pytest.mark.parametrize(("processor", "form"), [("cortex-a72", "neon"), ("max", "neon-dot"), ("max", "neon")])
def test_forms_of_aarch64(folder: Path, cases: list[Case], processor: str, form: str) -> None:
    """A Raspberry Pi 4's processor has no dot products, a Pi 5's has; both in emulation."""
    pytest.importorskip("ziglang", reason="no compiler for aarch64: run `pip install ziglang`")
    emulator = compiler("qemu-aarch64-static", "qemu-aarch64")
    program = folder / "aarch64"
    if not program.exists():
        zig = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static", "-O3"]
        compile_cases(zig, folder, "aarch64")
    equal(check([emulator, "-cpu", processor, str(program)], folder / "cases.bin", form, cases), cases)


def test_a_processor_without_the_form_refuses_it(folder: Path, cases: list[Case]) -> None:
    emulator = compiler("qemu-aarch64-static", "qemu-aarch64")
    program = folder / "aarch64"
    if not program.exists():
        pytest.skip("no program for aarch64: run `pip install ziglang`")
    done = subprocess.run([emulator, "-cpu", "cortex-a72", str(program), str(folder / "cases.bin"), "neon-dot"])
    assert done.returncode == 3


def test_the_comparison_sees_one_wrong_weight(fast: Path, tmp_path: Path, cases: list[Case]) -> None:
    case = next(case for case in cases if "trained none" in case.name)
    weights = bytearray(case.parts[2])
    weights[0] ^= 0x40
    wrong = replace(case, parts=(*case.parts[:2], bytes(weights), *case.parts[3:]))
    (tmp_path / "cases.bin").write_bytes(case.data() + wrong.data())
    (right, _), (differing, _) = check([str(fast)], tmp_path / "cases.bin", "plain", [case, wrong])
    assert right == 0
    assert differing > 0


def test_the_fast_form_is_promised_where_it_holds() -> None:
    pack = family("host").pack_pointwise
    weight = np.full((2, 4), 127, np.int8)
    reach = 128 * 127 * 4

    def fast(bias: int, shift: int) -> bool:
        constants = Constants(
            weight, np.array([bias, 0], np.int32), np.full(2, 1 << 30, np.int32), np.array([shift, -1], np.int32)
        )
        return bool(pack(constants).requant[0])

    assert fast(0, -1)
    assert fast(0, -31)
    assert not fast(0, 0)
    assert fast((1 << 30) - 1 - reach, -5)
    assert not fast((1 << 30) - reach + 4 * 127, -5)
    assert not fast(-(1 << 30) + reach, -5)
