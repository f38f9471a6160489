"""The word kernels against their scalar twins: on this machine in both forms, on an emulated Cortex-M0+ and an RV32."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import host_c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyscene.firmware_bench.arithmetic import ADD_LEFT_SHIFT, quantize_multiplier
from tinyscene.firmware_bench.families import LIBRARY, Constants, Family, family
from tinyscene.firmware_bench.targets import TARGETS, build, choose_toolchain, open_machine
from tinyscene.runtime.errors import UnavailableError

WORD, SCALAR = family("word"), family("scalar")
KERNELS = ("pointwise", "depthwise3", "conv_row", "add")
#: What lies around a result.
GUARD = np.full(16, 0x5A, np.int8)
CAPACITY = {"weights": 1 << 16, "requant": 1 << 15, "input": 1 << 16, "output": 1 << 15, "conv": 64, "rows": 64}
BUFFERS = "#include <stdint.h>\n" + "".join(f"uint32_t {name}[{size // 4}];\n" for name, size in CAPACITY.items())


@dataclass(frozen=True)
class Case:
    """One call of a convolution: its numbers, its rows (columns, inputs) and how it walks them."""

    kernel: str
    constants: Constants
    rows: tuple[NDArray[np.int8], ...]
    inputs: int
    width: int
    stride: int
    window: int
    clamp: tuple[int, int, int]  # zero point, low, high

    @property
    def outputs(self) -> int:
        return len(self.constants.bias)

    def packed(self, family: Family) -> Any:
        pack = {"pointwise": "pack_pointwise", "depthwise3": "pack_depthwise3", "conv_row": "pack_conv"}
        return getattr(family, pack[self.kernel])(self.constants)


class Runner(Protocol):
    def convolve(self, key: str, case: Case) -> NDArray[np.int8]: ...

    def add(self, key: str, a: NDArray[np.int8], b: NDArray[np.int8], numbers: list[int]) -> NDArray[np.int8]: ...


class Host:
    """The library compiled for this machine, called directly."""

    def __init__(self, folder: Path, *defines: str) -> None:
        self.library = host_c.build((*WORD.sources, *SCALAR.sources), folder, defines)

    def convolve(self, key: str, case: Case) -> NDArray[np.int8]:
        packed = case.packed(family(key))
        arrays = (packed.weights.ctypes.data, packed.requant.ctypes.data)
        conv = ctypes.byref(host_c.Conv(*arrays, case.inputs, case.outputs, *case.clamp))
        whole = np.concatenate([GUARD, np.zeros(case.width * case.outputs, np.int8), GUARD])
        out = ctypes.c_void_p(whole.ctypes.data + GUARD.size)
        call = getattr(self.library, f"ts_{case.kernel}_{key}")
        rows = host_c.pointers(list(case.rows))
        if case.kernel == "pointwise":
            call(host_c.pointer(case.rows[0]), out, case.width, conv)
        elif case.kernel == "depthwise3":
            call(rows, out, case.width, case.stride, conv)
        else:
            call(rows, len(case.rows), case.window, out, case.width, case.stride, conv, None)
        return unguarded(whole)

    def add(self, key: str, a: NDArray[np.int8], b: NDArray[np.int8], numbers: list[int]) -> NDArray[np.int8]:
        whole = np.concatenate([GUARD, np.zeros(a.size, np.int8), GUARD])
        out = ctypes.c_void_p(whole.ctypes.data + GUARD.size)
        parameters = (ctypes.c_int32 * len(numbers))(*numbers)
        getattr(self.library, f"ts_add_{key}")(host_c.pointer(a), host_c.pointer(b), out, a.size, parameters)
        return unguarded(whole)


class Part:
    """An emulated part. Rows and results begin at odd addresses, which an M0+ cannot read words from."""

    def __init__(self, key: str, folder: Path) -> None:
        pytest.importorskip("unicorn", reason="unicorn runs the kernels: pip install 'tinyscene[emulate]'")
        try:
            toolchain = choose_toolchain(TARGETS[key])
        except UnavailableError as error:
            pytest.skip(str(error))
        names = {*WORD.sources, *SCALAR.sources, *(path.name for path in LIBRARY.glob("ts_kernels*.h"))}
        files = {name: (LIBRARY / name).read_text() for name in sorted({*names, "ts_requantize.h"})}
        files["buffers.c"] = BUFFERS
        keep = (*(f"ts_{kernel}_{name}" for kernel in KERNELS for name in ("word", "scalar")), *CAPACITY)
        firmware = build(TARGETS[key], files, folder / "word.elf", toolchain=toolchain, keep=keep)
        self.machine = open_machine(firmware, "unicorn")
        self.at = {name: self.machine.symbol(name) for name in CAPACITY}

    def put(self, name: str, data: bytes, offset: int = 0) -> int:
        assert offset + len(data) <= CAPACITY[name]
        self.machine.write(self.at[name] + offset, data)
        return self.at[name] + offset

    def convolve(self, key: str, case: Case) -> NDArray[np.int8]:
        packed = case.packed(family(key))
        weights = self.put("weights", packed.weights.tobytes())
        requant = self.put("requant", packed.requant.tobytes())
        conv = self.put("conv", struct.pack("<2I5i", weights, requant, case.inputs, case.outputs, *case.clamp))
        places, offset = [], 1
        for row in case.rows:
            places.append(self.put("input", row.tobytes(), offset))
            offset += row.size
        rows = self.put("rows", struct.pack(f"<{len(places)}I", *places))
        out, size = self._room(case.width * case.outputs)
        name = f"ts_{case.kernel}_{key}"
        if case.kernel == "pointwise":
            self.machine.call(name, places[0], out, case.width, conv)
        elif case.kernel == "depthwise3":
            self.machine.call(name, rows, out, case.width, case.stride, conv)
        else:
            self.machine.call(name, rows, len(places), case.window, out, case.width, case.stride, conv, 0)
        return self._result(out, size)

    def add(self, key: str, a: NDArray[np.int8], b: NDArray[np.int8], numbers: list[int]) -> NDArray[np.int8]:
        first, second = self.put("input", a.tobytes(), 1), self.put("input", b.tobytes(), 1 + a.size)
        parameters = self.put("conv", struct.pack("<12i", *numbers))
        out, size = self._room(a.size)
        self.machine.call(f"ts_add_{key}", first, second, out, a.size, parameters)
        return self._result(out, size)

    def _room(self, size: int) -> tuple[int, int]:
        self.put("output", np.concatenate([GUARD, np.zeros(size, np.int8), GUARD]).tobytes(), 1)
        return self.at["output"] + 1 + GUARD.size, size

    def _result(self, out: int, size: int) -> NDArray[np.int8]:
        return unguarded(np.frombuffer(self.machine.read(out - GUARD.size, size + 2 * GUARD.size), np.int8))


def unguarded(whole: NDArray[np.int8]) -> NDArray[np.int8]:
    for side in (whole[: GUARD.size], whole[-GUARD.size :]):
        np.testing.assert_array_equal(side, GUARD, "wrote outside its output")
    return whole[GUARD.size : -GUARD.size]


@pytest.fixture(scope="module", params=["host", "host in halves"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Host:
    defines = () if request.param == "host" else ("-DTS_WORD_HALVES=1",)
    return Host(tmp_path_factory.mktemp("word"), *defines)


@pytest.fixture(scope="module", params=["rv32", "cortex-m0plus"])
def part(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    found = Part(request.param, tmp_path_factory.mktemp("part"))
    yield found
    found.machine.close()


def compare(runner: Runner, case: Case) -> NDArray[np.int8]:
    expected, found = runner.convolve("scalar", case), runner.convolve("word", case)
    np.testing.assert_array_equal(found, expected)
    return found


def spread(rng: np.random.Generator, shape: tuple[int, ...], low: int = -128) -> NDArray[np.int8]:
    """Int8 of every kind: uniform, near zero, at the ends, or one value throughout."""
    kind = rng.integers(4)
    if kind == 0:
        return rng.choice([low, 127], shape).astype(np.int8)
    if kind == 1:
        return np.full(shape, rng.choice([low, -1, 0, 1, 127]), np.int8)
    width = 127 if kind == 2 else 12
    return np.clip(rng.normal(0, width, shape), low, 127).astype(np.int8)


def numbers_for(rng: np.random.Generator, weight: NDArray[np.int8], outputs: int, axis: int, usual: bool) -> Constants:
    """Multipliers as a network has them, for sums that spread over int8 and a little beyond, or any at all."""
    reach = 128 * np.abs(np.moveaxis(weight, axis, 0).reshape(outputs, -1).astype(np.int64)).sum(axis=1)
    room = 2**31 - 1 - reach
    if usual:
        bias = rng.integers(-4000, 4001, outputs)
        pairs = [quantize_multiplier(2.0 ** rng.uniform(6, 10) / r) for r in reach / 8 + 300]
        multiplier, shift = (np.array(values, np.int32) for values in zip(*pairs, strict=True))
    else:
        bias = np.where(rng.random(outputs) < 0.2, rng.choice([-1, 1], outputs) * room, rng.integers(-room, room + 1))
        multiplier = rng.integers(2**30, 2**31, outputs).astype(np.int32)
        multiplier[rng.random(outputs) < 0.1] = 0
        multiplier[rng.random(outputs) < 0.1] = 2**31 - 1
        shift = rng.integers(-31, 31, outputs).astype(np.int32)
    return Constants(weight, bias.astype(np.int32), multiplier, shift)


def a_clamp(rng: np.random.Generator) -> tuple[int, int, int]:
    zero_point = int(rng.choice([-128, -3, 0, 127]))
    low, high = sorted(int(v) for v in rng.integers(-128, 128, 2))
    return (zero_point, -128, 127) if rng.random() < 0.6 else (zero_point, low, high)


def a_case(kernel: str, rng: np.random.Generator, inputs: int, outputs: int, width: int) -> Case:
    usual, clamp = bool(rng.random() < 0.6), a_clamp(rng)
    stride = int(rng.integers(1, 4))
    if kernel == "pointwise":
        weight = spread(rng, (outputs, inputs), -127)
        rows = (spread(rng, (width, inputs)),)
        return Case(kernel, numbers_for(rng, weight, outputs, 0, usual), rows, inputs, width, 1, 1, clamp)
    if kernel == "depthwise3":
        weight = spread(rng, (3, 3, outputs), -127)
        rows = tuple(spread(rng, ((width - 1) * stride + 3, outputs)) for _ in range(3))
        return Case(kernel, numbers_for(rng, weight, outputs, 2, usual), rows, outputs, width, stride, 3, clamp)
    height, window = (int(n) for n in rng.integers(1, 5, 2))
    weight = spread(rng, (outputs, height, window, inputs), -127)
    rows = tuple(spread(rng, ((width - 1) * stride + window, inputs)) for _ in range(height))
    return Case(kernel, numbers_for(rng, weight, outputs, 0, usual), rows, inputs, width, stride, window, clamp)


seeds, channels = st.integers(0, 2**32 - 1), st.integers(1, 40)


@pytest.mark.parametrize("kernel", ["pointwise", "depthwise3", "conv_row"])
@settings(max_examples=150, deadline=None)
@given(seed=seeds, inputs=channels, outputs=channels, width=st.integers(1, 19))
def test_convolutions_here(host: Host, kernel: str, seed: int, inputs: int, outputs: int, width: int) -> None:
    compare(host, a_case(kernel, np.random.default_rng(seed), inputs, outputs, width))


@pytest.mark.parametrize("kernel", ["pointwise", "depthwise3", "conv_row"])
@settings(max_examples=30, deadline=None)
@given(seed=seeds, inputs=channels, outputs=channels, width=st.integers(1, 9))
def test_convolutions_on_parts(part: Part, kernel: str, seed: int, inputs: int, outputs: int, width: int) -> None:
    compare(part, a_case(kernel, np.random.default_rng(seed), inputs, outputs, width))


@pytest.mark.parametrize("kernel", ["pointwise", "depthwise3", "conv_row"])
def test_every_channel_count(host: Host, kernel: str) -> None:
    rng = np.random.default_rng(40)
    values = set()
    for count in range(1, 41):
        values |= set(compare(host, a_case(kernel, rng, count, 41 - count, count % 6 + 1)).tolist())
    assert len(values) > 120, "the networks gave few different values: a test of little"


@pytest.mark.parametrize("inputs", [252, 255, 256, 257, 700])
def test_inputs_about_the_end_of_a_tile(host: Host, inputs: int) -> None:
    """Every activation at the end where a tile's 16-bit sums are largest, and random ones."""
    rng = np.random.default_rng(inputs)
    for values in (np.full((5, inputs), 127, np.int8), spread(rng, (5, inputs))):
        weight = rng.integers(-127, 128, (6, inputs)).astype(np.int8)
        numbers = numbers_for(rng, weight, 6, 0, usual=True)
        compare(host, Case("pointwise", numbers, (values,), inputs, 5, 1, 1, (0, -128, 127)))
        dense = numbers_for(rng, weight[:, None, None], 6, 0, usual=True)
        compare(host, Case("conv_row", dense, (values,), inputs, 5, 1, 1, (0, -128, 127)))


def sums_beside_ties(rng: np.random.Generator, outputs: int) -> Case:
    """One input of weight 1: each output's bias puts its eight sums around a tie of two int8."""
    shift = -rng.integers(1, 23, outputs)
    multiplier = rng.integers(2**30, 2**31, outputs)
    multiplier[rng.random(outputs) < 0.2] = 2**30  # halves exactly
    ties = rng.integers(-128, 128, outputs) + 0.5
    bias = np.rint(ties * 2.0 ** (31 - shift) / multiplier).astype(np.int64)
    numbers = Constants(
        np.ones((outputs, 1), np.int8), bias.astype(np.int32), multiplier.astype(np.int32), shift.astype(np.int32)
    )
    x = np.array([-128, -9, -2, -1, 0, 1, 2, 100], np.int8).reshape(8, 1)
    return Case("pointwise", numbers, (x,), 1, 8, 1, 1, (int(rng.integers(-20, 20)), -128, 127))


@pytest.mark.parametrize("seed", range(10))
def test_sums_beside_ties_here(host: Host, seed: int) -> None:
    case = sums_beside_ties(np.random.default_rng(seed), 2000)
    assert case.packed(WORD).requant[0] == 1, "these go the short way"
    compare(host, case)


def test_sums_beside_ties_on_parts(part: Part) -> None:
    compare(part, sums_beside_ties(np.random.default_rng(3), 1500))


@pytest.mark.parametrize("shift", range(-31, 31))
@pytest.mark.parametrize("multiplier", [0, 2**30, 2**31 - 1])
def test_every_shift(host: Host, shift: int, multiplier: int) -> None:
    """Sums about zero and at the ends of int32, alone: one odd shift sends the whole convolution the long way."""
    biases = [-(2**31) + 128, -(2**30) - 1, -(2**30), -300, -1, 0, 1, 2, 300, 2**30 - 1, 2**30, 2**31 - 128]
    x = np.array([-128, -1, 0, 1, 127], np.int8).reshape(5, 1)
    for bias in biases:
        numbers = Constants(np.ones((1, 1), np.int8), *(np.array([v], np.int32) for v in (bias, multiplier, shift)))
        compare(host, Case("pointwise", numbers, (x,), 1, 5, 1, 1, (-7, -128, 127)))


def an_addition(rng: np.random.Generator) -> list[int]:
    """The numbers of `ts_add`: as TFLite derives them from scales, equal ones included, or any that it could hold."""
    zero_points = [int(v) for v in rng.choice([-128, -5, 0, 31, 127], 3)]
    if rng.random() < 0.8:
        scales = [2.0 ** rng.uniform(-6, 0), 2.0 ** rng.uniform(-6, 0)]
        if rng.random() < 0.3:
            scales[1] = scales[0]
        twice = 2 * max(scales)
        ratios = (scales[0] / twice, scales[1] / twice, twice / 2**ADD_LEFT_SHIFT / 2.0 ** rng.uniform(-8, 0))
        pairs = [value for ratio in ratios for value in quantize_multiplier(ratio)]
        left = ADD_LEFT_SHIFT
    else:
        pairs = [int(v) for _ in range(3) for v in (rng.integers(2**30, 2**31), rng.integers(-31, 1))]
        left = int(rng.integers(0, 21))
    return [*zero_points, *pairs, left, *a_clamp(rng)[1:]]


@settings(max_examples=300, deadline=None)
@given(seed=seeds, n=st.integers(0, 300))
def test_add_here(host: Host, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, numbers = spread(rng, (n,)), spread(rng, (n,)), an_addition(rng)
    np.testing.assert_array_equal(host.add("word", a, b, numbers), host.add("scalar", a, b, numbers))


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_add_on_parts(part: Part, seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = an_addition(rng)
    a = rng.integers(-128, 128, 500).astype(np.int8)
    b = rng.integers(-128, 128, 500).astype(np.int8)
    np.testing.assert_array_equal(part.add("word", a, b, numbers), part.add("scalar", a, b, numbers))


def test_every_pair_of_operands(host: Host) -> None:
    rng = np.random.default_rng(9)
    a, b = (np.ascontiguousarray(v.ravel(), np.int8) for v in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    for _ in range(20):
        numbers = an_addition(rng)
        np.testing.assert_array_equal(host.add("word", a, b, numbers), host.add("scalar", a, b, numbers))
