"""The DSP kernels against their scalar twins on emulated parts; every buffer ends where the memory ends."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from math import frexp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyscene.firmware_bench.families import LIBRARY, Constants, Packed, family
from tinyscene.firmware_bench.targets.build import BuildError, Firmware, build
from tinyscene.firmware_bench.targets.machine import open_machine
from tinyscene.firmware_bench.targets.target import TARGETS
from tinyscene.firmware_bench.targets.toolchains import available_toolchains, choose_toolchain
from tinyscene.runtime.errors import UnavailableError

DSP, SCALAR = family("dsp"), family("scalar")
KERNELS = ("pointwise", "depthwise3", "conv_row", "add")
SYMBOLS = tuple(f"ts_{kernel}_{key}" for kernel in KERNELS for key in ("scalar", "dsp"))
PACK = {"pointwise": "pack_pointwise", "depthwise3": "pack_depthwise3", "conv_row": "pack_conv"}
FULL = (-128, 127)
AREA_BYTES, GUARD = 0x40000, b"\x5a" * 16


def firmware_files() -> dict[str, str]:
    names = (*DSP.sources, *SCALAR.sources, "ts_kernels.h", "ts_kernels_dsp.h", "ts_requantize.h")
    return {name: (LIBRARY / name).read_text() for name in names}


def built(key: str, compiler: str, out: Path) -> Firmware:
    """Both families for that part; skips the test where the compiler is missing."""
    pytest.importorskip("unicorn", reason="unicorn runs the kernels: pip install 'tinyscene[emulate]'")
    try:
        toolchain = choose_toolchain(TARGETS[key], compiler)
    except UnavailableError as error:
        pytest.skip(str(error))
    return build(TARGETS[key], firmware_files(), out / f"{key}.elf", toolchain=toolchain, keep=SYMBOLS)


class Part:
    """An emulated part whose buffers lie in areas of their own, nothing behind them."""

    def __init__(self, firmware: Firmware) -> None:
        self.machine: Any = open_machine(firmware, "unicorn")
        self.areas = [0x9000_0000 + index * 0x10_0000 for index in range(9)]
        for area in self.areas:
            self.machine._uc.mem_map(area, AREA_BYTES)
        self.instructions = self.stack_bytes = 0

    def put(self, area: int, data: bytes, align: int = 1, *, front: bool = False) -> int:
        """`data` at the end of its area, or at its beginning, where nothing lies before it."""
        address = self.areas[area] + (0 if front else AREA_BYTES - len(data))
        address -= address % align
        self.machine.write(address, data)
        return address

    def call(self, name: str, *arguments: int) -> None:
        result = self.machine.call(name, *arguments)
        self.instructions, self.stack_bytes = result.instructions, result.stack_bytes

    def result(self, address: int, n: int) -> NDArray[np.int8]:
        """The `n` bytes from `address`, the guard before them still whole."""
        assert self.machine.read(address - len(GUARD), len(GUARD)) == GUARD, "wrote before its output"
        return np.frombuffer(self.machine.read(address, n), np.int8)

    def convolve(
        self, key: str, kernel: str, packed: Packed, rows: Sequence[NDArray[np.int8]], inputs: int, outputs: int,
        clamp: tuple[int, int, int], width: int, stride: int, window: int, *, front: bool = False,
    ) -> NDArray[np.int8]:  # fmt: skip
        weights, requant = self.put(0, packed.weights.tobytes(), 4), self.put(1, packed.requant.tobytes(), 4)
        conv = self.put(2, struct.pack("<IIiiiii", weights, requant, inputs, outputs, *clamp), 4)
        out = self.put(3, GUARD + bytes(width * outputs)) + len(GUARD)
        places = [self.put(5 + index, row.tobytes(), front=front) for index, row in enumerate(rows)]
        table = self.put(4, struct.pack(f"<{len(places)}I", *places), 4)
        arguments = {
            "pointwise": (places[0], out, width, conv),
            "depthwise3": (table, out, width, stride, conv),
            "conv_row": (table, len(rows), window, out, width, stride, conv, 0),
        }
        self.call(f"ts_{kernel}_{key}", *arguments[kernel])
        return self.result(out, width * outputs)


class Draw:
    """Random layers. Styles: "trained" has results spread over int8, "pruned" channels with tiny scales, "right" any
    right shift with biases up to 2^28, "any" whatever int32 holds."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def bytes(self, *shape: int) -> NDArray[np.int8]:
        if self.rng.random() < 0.2:
            return self.rng.choice(np.array([-128, 127], np.int8), shape)
        return self.rng.integers(-128, 128, shape).astype(np.int8)

    def constants(self, weight: NDArray[np.int8], outputs: int, style: str) -> Constants:
        multiplier = self.rng.integers(1 << 30, 1 << 31, outputs)
        multiplier[self.rng.random(outputs) < 0.1] = 1 << 30
        if style == "trained":
            taps = weight.size // outputs
            shift = -int(np.log2(np.sqrt(taps) * 100)) + self.rng.integers(-1, 2, outputs)
            bias = self.rng.integers(-3000, 3000, outputs)
        elif style == "pruned":
            shift, bias = -self.rng.integers(1, 32, outputs), self.rng.integers(-100, 100, outputs)
            zero = self.rng.random(outputs) < 0.2
            multiplier[zero] = shift[zero] = 0
        elif style == "right":
            shift = -self.rng.integers(1, 23, outputs)
            bias = self.rng.integers(-(1 << 28), 1 << 28, outputs) >> (shift + 22)
        else:
            shift = self.rng.integers(-31, 31, outputs)
            bias = self.rng.integers(-(1 << 31), 1 << 31, outputs)
        return Constants(weight, bias.astype(np.int32), multiplier.astype(np.int32), shift.astype(np.int32))

    def clamp(self) -> tuple[int, int, int]:
        """Zero point, low, high."""
        zero = -128 if self.rng.random() < 0.5 else int(self.rng.integers(-128, 128))
        low, high = FULL if self.rng.random() < 0.8 else sorted(map(int, self.rng.integers(-128, 128, 2)))
        return zero, low, high

    def compare(
        self, part: Part, kernel: str, inputs: int, outputs: int, style: str, *,
        width: int, stride: int = 1, height: int = 1, window: int = 1,
    ) -> tuple[bool, int]:  # fmt: skip
        """Run both families on one layer; tells whether it went the short way and how many bytes are distinct."""
        shape: tuple[int, ...] = (outputs, inputs)
        if kernel == "depthwise3":
            inputs, height, window, shape = outputs, 3, 3, (3, 3, outputs)
        elif kernel == "conv_row":
            shape = (outputs, height, window, inputs)
        constants = self.constants(self.bytes(*shape), outputs, style)
        rows = [self.bytes(((width - 1) * stride + window) * inputs) for _ in range(height)]
        clamp = self.clamp()
        fast, plain = (getattr(each, PACK[kernel])(constants) for each in (DSP, SCALAR))
        expected = part.convolve("scalar", kernel, plain, rows, inputs, outputs, clamp, width, stride, window)
        told = f"{kernel} {inputs}->{outputs} {style} width {width} stride {stride} {height}x{window} clamp {clamp}"
        for front in (False, True):
            found = part.convolve("dsp", kernel, fast, rows, inputs, outputs, clamp, width, stride, window, front=front)
            assert np.array_equal(expected, found), f"{told}: {np.count_nonzero(expected != found)} bytes differ"
        return bool(fast.requant[0]), len(np.unique(expected))


STYLES = ("trained", "pruned", "right", "any")
NETWORK = ((32, 96, 16), (96, 32, 16), (96, 72, 8), (72, 216, 8), (216, 168, 8), (168, 10, 8), (48, 40, 7))


def check_all(part: Part, draw: Draw, rounds: int) -> None:
    """Each channel count from 1 to 40 `rounds` times in each kernel."""
    seen: dict[str, list[tuple[bool, int]]] = {style: [] for style in STYLES}
    for number in range(40 * rounds):
        style, channels, other = STYLES[number % 4], number % 40 + 1, int(draw.rng.integers(1, 41))
        width, stride = int(draw.rng.integers(1, 19)), int(draw.rng.integers(1, 4))
        inputs, outputs = (channels, other) if number % 2 else (other, channels)
        seen[style] += [
            draw.compare(part, "pointwise", inputs, outputs, style, width=width),
            draw.compare(part, "depthwise3", channels, channels, style, width=2 * width, stride=stride),
            draw.compare(
                part, "conv_row", other % 9 + 1, channels, style,
                width=width, stride=stride, height=number % 4 + 1, window=number % 5 + 1,
            ),
        ]  # fmt: skip
    for style, least in (("trained", 1.0), ("pruned", 1.0), ("right", 0.9)):
        assert np.mean([short for short, _ in seen[style]]) >= least, style
    assert np.mean([short for short, _ in seen["any"]]) < 0.2
    assert np.mean([distinct for _, distinct in seen["trained"]]) > 40, "weak cases: few distinct results"


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    made = Part(built("cortex-m4", "zig", tmp_path_factory.mktemp("dsp")))
    yield made
    made.machine.close()


def test_every_channel_count_equals_the_scalar_twin(part: Part) -> None:
    check_all(part, Draw(1), 8)


@pytest.mark.parametrize(
    ("key", "compiler"),
    [("cortex-m7", "zig"), ("cortex-m33", "zig"), ("cortex-m4", "gcc"), ("cortex-m4", "clang")],
)
def test_other_parts_and_compilers_give_the_same(key: str, compiler: str, tmp_path: Path) -> None:
    check_all(Part(built(key, compiler, tmp_path)), Draw(2), 2)


@pytest.mark.parametrize("style", STYLES)
def test_the_networks_layers(part: Part, style: str) -> None:
    draw = Draw(3)
    for inputs, outputs, width in NETWORK:
        draw.compare(part, "pointwise", inputs, outputs, style, width=width)
    for channels, stride, width in ((96, 1, 16), (96, 2, 8), (216, 1, 8), (96, 2, 40), (40, 1, 63)):
        draw.compare(part, "depthwise3", channels, channels, style, width=width, stride=stride)
    for inputs, outputs in ((1, 8), (8, 32), (1, 4), (4, 16)):
        draw.compare(part, "conv_row", inputs, outputs, style, width=16, stride=2, height=3, window=3)


def test_more_inputs_than_the_stack_holds(part: Part) -> None:
    draw = Draw(4)
    for inputs in (252, 255, 256, 257, 260, 324, 700):
        short, _ = draw.compare(part, "pointwise", inputs, 7, "trained", width=5)
        assert short
        assert part.stack_bytes < 2500


def test_the_largest_sums(part: Part) -> None:
    """Two products of -128 * -128 in one multiplication, and sums that saturate on either side."""
    ones = np.ones(10, np.int32)
    for weight in (127, -128):
        for value in (127, -128):
            for shift in (-22, -8, -1, 0, 3, 30):
                weights, rows = np.full((3, 3, 10), weight, np.int8), [np.full(18 * 10, value, np.int8)] * 3
                constants = Constants(weights, ones, ones * ((1 << 31) - 1), ones * shift)
                clamp = (-7, *FULL)
                found = [
                    part.convolve(
                        each.key, "depthwise3", each.pack_depthwise3(constants), rows, 10, 10, clamp, 16, 1, 3
                    )
                    for each in (SCALAR, DSP)
                ]
                assert np.array_equal(*found), (weight, value, shift)


def scale_parts(scale: float) -> tuple[int, int]:
    """The multiplier and shift of a scale, as TFLite's."""
    fraction, shift = frexp(scale)
    multiplier = round(fraction * (1 << 31))
    return (multiplier // 2, shift + 1) if multiplier == 1 << 31 else (multiplier, shift)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_add_equals_the_scalar_twin(part: Part, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    a_scale, b_scale, out_scale = np.exp(rng.normal(-3, 1, 3))
    b_scale = a_scale if rng.random() < 0.1 else b_scale
    common = 2 * max(a_scale, b_scale)
    ways = [scale_parts(a_scale / common), scale_parts(b_scale / common), scale_parts(common / out_scale / (1 << 20))]
    if rng.random() < 0.2:  # what no converter gives
        ways[rng.integers(3)] = (int(rng.integers(1 << 30, 1 << 31)), int(rng.integers(-31, 4)))
    clamp = FULL if rng.random() < 0.7 else sorted(map(int, rng.integers(-128, 128, 2)))
    zeros = map(int, rng.integers(-128, 128, 3))
    add = part.put(2, struct.pack("<12i", *zeros, *ways[0], *ways[1], *ways[2], 20, *clamp), 4)
    n, in_place = int(rng.integers(0, 60)), data.draw(st.sampled_from(["none", "a", "b"]))
    a, b = (rng.integers(-128, 128, n).astype(np.int8).tobytes() for _ in range(2))
    results = []
    for key in ("scalar", "dsp"):
        places = {"a": part.put(5, GUARD + a) + 16, "b": part.put(6, GUARD + b) + 16}
        out = places.get(in_place) or part.put(3, GUARD + bytes(n)) + 16
        part.call(f"ts_add_{key}", places["a"], places["b"], out, n, add)
        results.append(part.result(out, n))
    assert np.array_equal(*results)


@pytest.mark.parametrize("scales", [(1.0, 1.0, 2.0), (1.0, 0.5, 1.0), (0.5, 1.0, 2.0), (0.25, 1.0, 1.0)])
def test_add_of_every_pair_of_bytes(part: Part, scales: tuple[float, float, float]) -> None:
    """Scales of which half the sums, or more, are ties."""
    bytes_ = np.arange(-128, 128).astype(np.int8)
    a, b = part.put(5, np.repeat(bytes_, 256).tobytes()), part.put(6, np.tile(bytes_, 256).tobytes())
    common = 2 * max(scales[:2])
    ways = [scale_parts(x) for x in (scales[0] / common, scales[1] / common, common / scales[2] / (1 << 20))]
    add = part.put(2, struct.pack("<12i", 3, -5, 1, *ways[0], *ways[1], *ways[2], 20, *FULL), 4)
    results = []
    for key in ("scalar", "dsp"):
        out = part.put(3, GUARD + bytes(1 << 16)) + 16
        part.call(f"ts_add_{key}", a, b, out, 1 << 16, add)
        results.append(part.result(out, 1 << 16))
    assert np.array_equal(*results)


def test_instructions_per_multiplication(part: Part) -> None:
    """What the README's totals rest on; a little above what zig 0.17.1 gives."""
    draw, clamp = Draw(5), (-128, *FULL)
    limits = {(32, 96): 1.16, (96, 32): 1.01, (72, 216): 0.99, (216, 168): 0.90}
    for (inputs, outputs), limit in limits.items():
        packed = DSP.pack_pointwise(draw.constants(draw.bytes(outputs, inputs), outputs, "trained"))
        part.convolve("dsp", "pointwise", packed, [draw.bytes(16, inputs)], inputs, outputs, clamp, 16, 1, 1)
        assert part.instructions <= limit * 16 * inputs * outputs
    packed = DSP.pack_depthwise3(draw.constants(draw.bytes(3, 3, 96), 96, "trained"))
    for stride, limit in ((1, 2.6), (2, 3.7)):
        rows = [draw.bytes((7 * stride + 11 * stride + 3) * 96) for _ in range(3)]
        part.convolve("dsp", "depthwise3", packed, rows, 96, 96, clamp, 16, stride, 3)
        assert part.instructions <= limit * 16 * 96 * 9


def test_a_part_without_the_extension_is_refused(tmp_path: Path) -> None:
    target = TARGETS["cortex-m0plus"]
    found = available_toolchains(target)
    if not found:
        pytest.skip("no compiler for Arm: pip install 'tinyscene[firmware]'")
    with pytest.raises(BuildError, match="DSP extension"):
        build(target, firmware_files(), tmp_path / "m0.elf", toolchain=found[-1], keep=SYMBOLS)
