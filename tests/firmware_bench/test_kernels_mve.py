"""The Helium kernels against their scalar twins in QEMU's Cortex-M55, every buffer at the very end of a memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyscene.firmware_bench.families import LIBRARY, Constants, family
from tinyscene.firmware_bench.targets import TARGETS, Firmware, build, choose_toolchain, open_machine
from tinyscene.runtime.errors import UnavailableError

MVE, SCALAR = family("mve"), family("scalar")
POINTWISE, DEPTHWISE3, CONV_ROW, ADD = range(4)
LINEAR, RELU, CEILING, HIGH_RELU = (7, -128, 127), (-128, -128, 127), (-128, -128, 90), (-20, -20, 127)
CLAMPS = (LINEAR, RELU, CEILING, HIGH_RELU, (127, -100, 100), (-128, -128, 127))


@dataclass(frozen=True, eq=False)
class Case:
    """One call of one kernel; `text` says which when it differs."""

    text: str
    head: tuple[int, ...]  # as in mve_cases.c
    arrays: tuple[NDArray[np.generic], ...]

    def blob(self) -> bytes:
        parts = [np.array(self.head, np.int32).tobytes(), *(array.tobytes() for array in self.arrays)]
        whole = b"".join(part + bytes(-len(part) % 4) for part in parts)
        return np.int32(len(whole)).tobytes() + whole


def convolution(
    kind: int,
    constants: Constants,
    rows: NDArray[np.int8],
    clamp: tuple[int, int, int],
    *,
    inputs: int,
    width: int,
    stride: int = 1,
    kernel: int = 1,
) -> Case:
    """A case whose `rows` are (height, bytes)."""
    packs = {POINTWISE: "pack_pointwise", DEPTHWISE3: "pack_depthwise3", CONV_ROW: "pack_conv"}
    fast, plain = (getattr(each, packs[kind])(constants) for each in (MVE, SCALAR))
    outputs, height = len(constants.bias), len(rows)
    scratch = MVE.conv_scratch_bytes(height, kernel, inputs) if kind == CONV_ROW else 0
    sizes = (fast.weights.size, fast.requant.size, plain.weights.size, plain.requant.size, rows.shape[1])
    head = (kind, inputs, outputs, *clamp, width, stride, height, kernel, scratch, outputs * width, *sizes)
    shifts = f"{constants.shift.min()}..{constants.shift.max()}"
    text = f"kind {kind} {inputs}->{outputs} width {width} stride {stride} height {height} clamp {clamp} shift {shifts}"
    return Case(text, head, (fast.weights, fast.requant, plain.weights, plain.requant, *rows))


class Draw:
    """Random constants and activations; `style` says how far from a trained network's they are."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def activations(self, *shape: int) -> NDArray[np.int8]:
        """Mostly anything, sometimes all at one end, as sums are largest then."""
        if self.rng.random() < 0.2:
            return np.full(shape, self.rng.choice([-128, 127]), np.int8)
        return self.rng.integers(-128, 128, shape).astype(np.int8)

    def constants(self, shape: tuple[int, ...], outputs: int, taps: int, style: str) -> Constants:
        """Constants with weights of that shape, `taps` products in a sum."""
        weight = self.rng.integers(-127, 128, shape).astype(np.int8)
        bias = self.rng.integers(-(1 << 15), 1 << 15, outputs)
        multiplier = self.rng.integers(1 << 30, 1 << 31, outputs)
        if style == "trained":  # results spread over what int8 holds
            shift = np.full(outputs, -int(np.log2(np.sqrt(taps) * 5000 / 50)))
            shift += self.rng.integers(-1, 2, outputs)
        elif style == "right":
            shift = -self.rng.integers(1, 32, outputs)
            bias = self.rng.integers(-(1 << 31) + (1 << 24), (1 << 31) - (1 << 24), outputs) >> (12 + shift).clip(0, 31)
        else:
            shift = self.rng.integers(-31, 31, outputs)
            weight = np.where(self.rng.random(shape) < 0.3, -128, weight).astype(np.int8)
            multiplier[self.rng.random(outputs) < 0.2] = 1 << 30
        dead = self.rng.random(outputs) < 0.1
        multiplier, shift = np.where(dead, 0, multiplier), np.where(dead, 0, shift)
        return Constants(weight, bias.astype(np.int32), multiplier.astype(np.int32), shift.astype(np.int32))

    def clamp(self) -> tuple[int, int, int]:
        """Zero point, low, high of an output."""
        return CLAMPS[self.rng.integers(len(CLAMPS))]


STYLES = ("trained", "right", "any")
NETWORK = (
    (32, 96, 16),
    (96, 32, 16),
    (96, 72, 8),
    (72, 216, 8),
    (216, 72, 8),
    (216, 168, 8),
    (168, 10, 8),
    (48, 16, 7),
)


def pointwise_cases() -> Iterator[Case]:
    draw = Draw(1)
    small = [(n, int(draw.rng.integers(1, 41)), n % 6 + 1) for n in range(1, 41)]
    small += [(int(draw.rng.integers(1, 41)), n, n % 5 + 1) for n in range(1, 41)]
    for inputs, outputs, pixels in (*small, *NETWORK, (300, 3, 2), (3, 300, 3)):
        for style in STYLES:
            constants = draw.constants((outputs, inputs), outputs, inputs, style)
            rows = draw.activations(1, pixels * inputs)
            yield convolution(POINTWISE, constants, rows, draw.clamp(), inputs=inputs, width=pixels)


def depthwise_cases() -> Iterator[Case]:
    draw = Draw(2)
    for channels in (*range(1, 41), 72, 96, 216):
        for style in STYLES:
            stride, width = int(draw.rng.integers(1, 4)), int(draw.rng.integers(1, 6))
            constants = draw.constants((3, 3, channels), channels, 9, style)
            rows = draw.activations(3, ((width - 1) * stride + 3) * channels)
            yield convolution(DEPTHWISE3, constants, rows, draw.clamp(), inputs=1, width=width, stride=stride)


def extreme_depthwise_cases() -> Iterator[Case]:
    """The largest products that there are, in each pair of taps; two of -128 * -128 do not fit 16 bits."""
    ones = np.ones(17, np.int32)
    for weight in (127, -127, -128):
        for value in (127, -128):
            weights, rows = np.full((3, 3, 17), weight, np.int8), np.full((3, 5 * 17), value, np.int8)
            constants = Constants(weights, 0 * ones, ones * (1 << 30), ones * -10)
            yield convolution(DEPTHWISE3, constants, rows, LINEAR, inputs=1, width=3)


def row_cases() -> Iterator[Case]:
    draw = Draw(3)
    shapes = [(1, 8, 3, 3, 2, 9), (1, 4, 3, 3, 2, 8), (8, 32, 3, 3, 2, 16), (4, 16, 3, 3, 2, 5), (8, 32, 3, 3, 1, 4)]
    shapes += [(n % 7 + 1, n, n % 5 + 1, n % 4 + 1, n % 3 + 1, n % 6 + 1) for n in range(1, 41)]
    shapes += [(40, 3, 1, 1, 3, 5), (1, 5, 2, 20, 1, 4)]
    # few taps: all lanes of a vector, several segments, one pixel to a segment
    shapes += [(16, 4, 1, 1, 1, 33), (1, 8, 8, 2, 1, 61), (1, 12, 3, 3, 2, 100), (1, 16, 1, 16, 3, 90)]
    shapes += [(5, 4, 3, 1, 9, 7), (2, 20, 2, 4, 2, 64), (1, 4, 3, 5, 40, 6), (1, 8, 3, 3, 1, 1)]
    for inputs, outputs, height, kernel, stride, width in shapes:
        for style in STYLES:
            taps = height * kernel * inputs
            constants = draw.constants((outputs, height, kernel, inputs), outputs, taps, style)
            rows = draw.activations(height, ((width - 1) * stride + kernel) * inputs)
            yield convolution(
                CONV_ROW, constants, rows, draw.clamp(), inputs=inputs, width=width, stride=stride, kernel=kernel
            )


def requantisation_cases() -> Iterator[Case]:
    """Sums beside and at the halves between int8 values for shifts of every size, by biases and weights of zero; then
    sums of any size, the ends of int32 among them."""
    rng = np.random.default_rng(4)
    for clamp in (LINEAR, RELU):
        for style in ("halves", "any", "left"):
            outputs = 3000 if style == "halves" else 1000
            right = rng.integers(1, 32, outputs)
            multiplier = np.where(rng.random(outputs) < 0.5, 1 << 30, rng.integers(1 << 30, 1 << 31, outputs))
            multiplier[rng.random(outputs) < 0.1] = (1 << 31) - 1
            if style == "halves":
                wanted = (rng.integers(-300, 301, outputs) * 0.5) * 2.0**right * (2.0**31 / multiplier)
                bias = np.rint(wanted) + rng.integers(-3, 4, outputs)
            else:
                bias = rng.integers(-(1 << 31), 1 << 31, outputs).astype(float)
                bias[:8] = [-(1 << 31), (1 << 31) - 1, -(1 << 31) + 1, -(1 << 30), 1 << 30, 0, -1, 1]
                right[:8] = 31
            if style == "left":
                right = -rng.integers(0, 31, outputs)
                small = np.rint(rng.integers(-300, 301, outputs) * 2.0**right)  # within int8, not all clamped
                bias = np.where(rng.random(outputs) < 0.5, bias, small)
            bias = np.clip(bias, -(1 << 31), (1 << 31) - 1)
            numbers = (bias.astype(np.int32), multiplier.astype(np.int32), -right.astype(np.int32))
            constants = Constants(np.zeros((outputs, 1), np.int8), *numbers)
            yield convolution(POINTWISE, constants, np.zeros((1, 2), np.int8), clamp, inputs=1, width=2)
            dense = Constants(np.zeros((outputs, 1, 1, 1), np.int8), *numbers)
            yield convolution(CONV_ROW, dense, np.zeros((1, 2), np.int8), clamp, inputs=1, width=2)
            blocks = Constants(np.zeros((3, 3, outputs), np.int8), *numbers)
            yield convolution(DEPTHWISE3, blocks, np.zeros((3, 3 * outputs), np.int8), clamp, inputs=1, width=1)


def add_cases() -> Iterator[Case]:
    """All values of one operand with 32 of the other; then every length, in place and not."""
    rng = np.random.default_rng(5)
    every = np.arange(-128, 128, dtype=np.int8)
    for number in range(60):
        if number < 12:
            a, b = np.repeat(every, 32), np.tile(rng.choice(every, 32, replace=False), 256)
        else:
            a, b = (rng.integers(-128, 128, number - 11).astype(np.int8) for _ in range(2))
        zeros = rng.integers(-128, 128, 3)
        multipliers, shifts = (
            rng.integers(1 << 30, 1 << 31, 3),
            [0, -int(rng.integers(0, 8)), -int(rng.integers(15, 21))],
        )
        multipliers[0] = 1 << 30
        if number % 3 == 1:
            shifts[:2] = shifts[1::-1]
        if number % 4 == 3:  # sums of small operands that grow again
            shifts = [-16, -15, int(rng.integers(0, 3))]
        if number % 4 == 2:  # means: every other sum is a half, which the last multiplier does not round away
            multipliers[:], shifts = (1 << 30, 1 << 30, (1 << 31) - 1), [0, number % 8 // 4 - 1, -20]
        low, high = ((-128, 127), (int(zeros[2]), 127), (-50, 60))[number % 3]
        place = number % 3 - 1  # of the result: in neither, a, b
        struct = (
            *zeros,
            multipliers[0],
            shifts[0],
            multipliers[1],
            shifts[1],
            multipliers[2],
            shifts[2],
            20,
            low,
            high,
        )
        words = np.array(struct, np.int32)
        head = (ADD, place, 0, 0, 0, 0, len(a), 1, 2, 1, 0, len(a), 0, len(words), 0, 0, len(a))
        yield Case(f"add of {len(a)}, shifts {shifts}, in place {place}", head, (words, a, b))


CASES = {
    "pointwise": pointwise_cases,
    "depthwise": depthwise_cases,
    "extreme depthwise": extreme_depthwise_cases,
    "row": row_cases,
    "requantisation": requantisation_cases,
    "add": add_cases,
}
M55 = TARGETS["cortex-m55"]
DDR = 0x7000_0000  # the board's large memory


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Firmware]:
    """The comparing program by compiler."""
    made: dict[str, Firmware] = {}
    names = {"ts_kernels.h", "ts_requantize.h", *MVE.sources, *SCALAR.sources}
    files: dict[str, str | bytes] = {name: (LIBRARY / name).read_text() for name in sorted(names)}
    files["mve_cases.c"] = (Path(__file__).parent / "mve_cases.c").read_text()

    def program(compiler: str) -> Firmware:
        if compiler not in made:
            try:
                toolchain = choose_toolchain(M55, compiler)
            except UnavailableError as error:
                pytest.skip(str(error))
            out = tmp_path_factory.mktemp("mve") / f"{compiler}.elf"
            made[compiler] = build(M55, files, out, toolchain=toolchain, keep=("ts_compare_cases", "ts_found"))
        return made[compiler]

    return program


@pytest.mark.parametrize(
    ("shape", "right", "segment"),
    [
        ((8, 3, 3, 1), True, 80),
        ((4, 4, 4, 1), True, 60),
        ((4, 17, 1, 1), True, 0),
        ((6, 3, 3, 1), True, 0),
        ((8, 3, 3, 1), False, 0),
    ],
)
def test_few_taps_are_packed_for_gathering(shape: tuple[int, ...], right: bool, segment: int) -> None:
    numbers = (np.zeros(shape[0], np.int32), np.full(shape[0], 1 << 30, np.int32), np.full(shape[0], -5, np.int32))
    numbers[2][-1] = -1 if right else 0
    packed = MVE.pack_conv(Constants(np.ones(shape, np.int8), *numbers))
    assert packed.requant[1] == segment
    assert MVE.conv_scratch_bytes(*shape[1:]) >= segment * shape[1]


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize("compiler", ["zig", "gcc", "clang"])
def test_equals_the_scalar_twin_within_its_buffers(
    programs: Callable[[str], Firmware], compiler: str, cases: str
) -> None:
    firmware = programs(compiler)
    drawn = list(CASES[cases]())
    try:
        machine = open_machine(firmware)
    except UnavailableError as error:
        pytest.skip(str(error))
    with machine:
        machine.write(DDR, np.int32(len(drawn)).tobytes() + b"".join(case.blob() for case in drawn))
        differs = machine.call("ts_compare_cases", DDR).value
        found = np.frombuffer(machine.read(machine.symbol("ts_found"), 16), np.int32)
    said = f"{drawn[found[0]].text}: byte {found[1]} is {found[3]}, expected {found[2]}"
    assert differs == 0, said
    assert found[0] == len(drawn) - 1, "not all cases were run"
