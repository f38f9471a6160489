"""Rows of the C ops against LiteRT's reference kernels, op by op over random shapes and scales."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from host_c import Conv, Operand, build, fields, pointer, pointers
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from one_layer import one_layer, quants, reference

from tinyscene.export.graph import Graph, Quant
from tinyscene.firmware_bench import arithmetic, tables
from tinyscene.firmware_bench.families import plain_requant

CLAMPS: tuple[dict[str, Any], ...] = ({}, {"relu": True}, {"relu": True, "ceiling": 6.0})
#: What the bytes behind a result hold before and after.
GUARD = 77

seeds = st.integers(0, 2**32 - 1)
clamps = st.sampled_from(CLAMPS)
some = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    sources = ("ts_ops.c", "ts_ops_elementwise.c", "ts_kernels_scalar.c")
    return build(sources, tmp_path_factory.mktemp("ops"))


def bytes_of(rng: np.random.Generator, *shape: int) -> NDArray[np.int8]:
    """Uniform int8, with as many at the ends as within."""
    values = rng.integers(-128, 128, shape)
    return np.where(rng.random(shape) < 0.3, rng.choice([-128, 127], shape), values).astype(np.int8)


def guarded(size: int) -> NDArray[np.int8]:
    return np.full(size + 8, GUARD, np.int8)


def unguarded(out: NDArray[np.int8]) -> NDArray[np.int8]:
    assert (out[-8:] == GUARD).all(), "an op wrote behind its result"
    return out[:-8]


def rounded(scale: float) -> float:
    return float(np.float32(scale))


@some
@given(seeds, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), quants(), clamps)
def test_depthwise_row(
    library: ctypes.CDLL,
    seed: int,
    height: int,
    kernel: int,
    stride: int,
    multiplier: int,
    source: Quant,
    clamp: dict[str, Any],
) -> None:
    rng = np.random.default_rng(seed)
    inputs, width = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    outputs, columns = inputs * multiplier, (width - 1) * stride + kernel
    x = bytes_of(rng, 1, height, columns, inputs)
    scales = rng.uniform(0.001, 0.1, outputs).astype(np.float32)
    # Large biases beside fine ratios make sums near ties.
    coarse = rounded(source.scale * 0.05 * 2.0 ** rng.uniform(2, 20))
    graph = one_layer(
        "DEPTHWISE_CONV_2D",
        [x.shape],
        [source],
        Quant(coarse, int(rng.integers(-128, 128))),
        weight=rng.integers(-127, 128, (1, height, kernel, outputs)).astype(np.int8),
        bias=rng.integers(-(2**22), 2**22, outputs).astype(np.int32),
        weight_scales=scales,
        stride=(stride, stride),
        **clamp,
    )
    numbers, limits = arithmetic.constants(graph, graph.ops[0]), arithmetic.clamp(graph, graph.ops[0])
    requant = plain_requant(numbers)
    conv = Conv(
        numbers.weight.ctypes.data, requant.ctypes.data, inputs, outputs, limits.zero_point, limits.low, limits.high
    )
    out = guarded(width * outputs)
    library.ts_depthwise_row(pointers(list(x[0])), height, kernel, pointer(out), width, stride, ctypes.byref(conv))
    np.testing.assert_array_equal(unguarded(out), reference(graph, x).ravel())


class Dense(ctypes.Structure):
    """`ts_dense`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "bias", "scales")),
        *((name, ctypes.c_int32) for name in ("inputs", "outputs", "zero_point", "low", "high")),
    )


@some
@given(seeds, quants(), quants(), st.booleans(), clamps)
def test_dense_row_at_the_ties(
    library: ctypes.CDLL, seed: int, source: Quant, other: Quant, powers: bool, clamp: dict[str, Any]
) -> None:
    """Every sum lies beside a tie of two results, or on it where all scales are powers of two."""
    rng = np.random.default_rng(seed)
    ties = np.arange(-130, 130) + 0.5
    inputs, outputs = int(rng.integers(1, 200)), ties.size
    target = Quant(rounded(source.scale * other.scale * 2.0 ** rng.uniform(2, 22)), other.zero_point)
    scales = np.full(outputs, other.scale, np.float32) * rng.uniform(0.5, 1, outputs).astype(np.float32)
    if powers:
        source, target = Quant(0.5, source.zero_point), Quant(float(2 ** rng.integers(1, 9)), other.zero_point)
        scales[:] = 0.25
    x, weight = bytes_of(rng, 1, inputs), rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    wanted = np.rint(ties / (source.scale * scales.astype(np.float64) / target.scale) + rng.integers(-1, 2, outputs))
    bias = (wanted - weight.astype(np.int64) @ (x[0].astype(np.int64) - source.zero_point)).astype(np.int32)
    values = {"weight": weight, "bias": bias, "weight_scales": scales}
    graph = one_layer("FULLY_CONNECTED", [x.shape], [source], target, **values, **clamp)
    numbers, limits = arithmetic.dense(graph, graph.ops[0]), arithmetic.clamp(graph, graph.ops[0])
    arrays = (numbers.weight.ctypes.data, numbers.bias.ctypes.data, numbers.scales.ctypes.data)
    dense = Dense(*arrays, inputs, outputs, limits.zero_point, limits.low, limits.high)
    out = guarded(outputs)
    library.ts_dense_row(pointer(x), pointer(out), ctypes.byref(dense))
    np.testing.assert_array_equal(unguarded(out), reference(graph, x).ravel())


@some
@given(seeds, st.sampled_from(["SAME", "VALID"]), st.sampled_from(["AVERAGE", "MAX"]), quants(), clamps)
def test_pools(library: ctypes.CDLL, seed: int, padding: str, kind: str, quant: Quant, clamp: dict[str, Any]) -> None:
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in rng.integers(1, 8, 3))
    window = (int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1)))
    stride = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    x = bytes_of(rng, 1, height, width, channels)
    options = {"window": window, "stride": stride, "padding": padding, **clamp}
    graph = one_layer(f"{kind}_POOL_2D", [x.shape], [quant], quant, **options)
    pool = arithmetic.pool(graph, graph.ops[0])
    struct = fields(pool, "high")
    expected = reference(graph, x)[0]
    for y, row in enumerate(expected):
        first = y * pool.row_stride - pool.rows_before
        rows = list(x[0, max(first, 0) : min(first + pool.rows, height)])
        out = guarded(row.size)
        call = library.ts_average_pool_row if kind == "AVERAGE" else library.ts_max_pool_row
        call(pointers(rows), len(rows), pointer(out), row.shape[0], struct)
        np.testing.assert_array_equal(unguarded(out), row.ravel())
        if kind == "AVERAGE":
            out, sums = guarded(row.size), np.zeros(row.size, np.int32)
            for given_row in rows:
                library.ts_average_pool_add(pointer(given_row), pointer(sums), row.shape[0], struct)
            library.ts_average_pool_finish(pointer(sums), len(rows), pointer(out), row.shape[0], struct)
            np.testing.assert_array_equal(unguarded(out), row.ravel())


def operand(values: NDArray[np.int8]) -> Operand:
    """A row (width, channels) of which either may be one."""
    width, channels = values.shape
    return Operand(values.ctypes.data, channels if width > 1 else 0, int(channels > 1))


def elementwise(
    library: ctypes.CDLL, kind: str, rng: np.random.Generator, sources: tuple[Quant, Quant], target: Quant, **clamp: Any
) -> None:
    """One row of an op of two operands, either of which is broadcast, into new memory and over a whole operand."""
    width, channels = (int(n) for n in rng.integers(1, 40, 2))
    shapes = [(width, channels), (1, channels), (width, 1), (1, 1)]
    first, second = shapes[int(rng.integers(4))], shapes[0]
    if rng.random() < 0.5:
        first, second = second, first
    a, b = bytes_of(rng, *first), bytes_of(rng, *second)
    graph = one_layer(kind, [(1, 1, *first), (1, 1, *second)], list(sources), target, {1: b[None, None]}, **clamp)
    expected = reference(graph, a[None, None])[0, 0]
    if kind == "ADD":
        struct, call = fields(arithmetic.addition(graph, graph.ops[0]), "high"), library.ts_add_row
    else:
        struct, call = fields(arithmetic.product(graph, graph.ops[0]), "high"), library.ts_mul_row
    out, operands = guarded(expected.size), (operand(a), operand(b))
    call(ctypes.byref(operands[0]), ctypes.byref(operands[1]), pointer(out), *expected.shape, struct)
    np.testing.assert_array_equal(unguarded(out), expected.ravel())
    whole = a if first == expected.shape else b
    call(ctypes.byref(operands[0]), ctypes.byref(operands[1]), pointer(whole), *expected.shape, struct)
    np.testing.assert_array_equal(whole, expected)


@some
@given(seeds, quants(0.01), quants(0.01), st.integers(-128, 127), clamps)
def test_add_row(library: ctypes.CDLL, seed: int, a: Quant, b: Quant, zero_point: int, clamp: dict[str, Any]) -> None:
    rng = np.random.default_rng(seed)
    target = Quant(rounded(max(a.scale, b.scale) * 2.0 ** rng.uniform(-4, 2)), zero_point)
    elementwise(library, "ADD", rng, (a, b), target, **clamp)


@some
@given(seeds, quants(), quants(), st.integers(-128, 127), clamps)
def test_mul_row(library: ctypes.CDLL, seed: int, a: Quant, b: Quant, zero_point: int, clamp: dict[str, Any]) -> None:
    rng = np.random.default_rng(seed)
    target = Quant(rounded(a.scale * b.scale * 2.0 ** rng.uniform(-3, 9)), zero_point)
    elementwise(library, "MUL", rng, (a, b), target, **clamp)


@pytest.mark.parametrize(
    ("scales", "values", "expected"),
    [
        ((0.17819657921791077, 0.022638823837041855, 0.6754456758499146), (206, 102), 126),
        ((0.41550129652023315, 0.03256494179368019, 1.0785126686096191), (238, 36), 108),
        ((0.03712843358516693, 0.06803272664546967, 0.5345229506492615), (167, 102), 81),
    ],
)
def test_mul_joins_its_scales_in_float32(
    library: ctypes.CDLL, scales: tuple[float, float, float], values: tuple[int, int], expected: int
) -> None:
    """float64 gives one less in each of these."""
    a, b = np.full((1, 1), values[0] - 128, np.int8), np.full((1, 1), values[1], np.int8)
    quant = [Quant(scales[0], -128), Quant(scales[1], 0)]
    graph = one_layer("MUL", [(1, 1, 1, 1)] * 2, quant, Quant(scales[2], 0), {1: b[None, None]})
    assert reference(graph, a[None, None]) == expected
    out, struct = guarded(1), fields(arithmetic.product(graph, graph.ops[0]), "high")
    library.ts_mul_row(ctypes.byref(operand(a)), ctypes.byref(operand(b)), pointer(out), 1, 1, struct)
    assert unguarded(out) == expected


@pytest.mark.parametrize("axes", [(1,), (2,), (3,), (1, 2), (2, 3), (1, 3), (1, 2, 3)])
@settings(max_examples=25, deadline=None)
@given(seed=seeds, source=quants(), zero_point=st.integers(-128, 127))
def test_mean(library: ctypes.CDLL, axes: tuple[int, ...], seed: int, source: Quant, zero_point: int) -> None:
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in rng.integers(1, 30, 3))
    target = Quant(rounded(source.scale * 2.0 ** rng.uniform(-6, 3)), zero_point)
    x = bytes_of(rng, 1, height, width, channels)
    graph = one_layer("MEAN", [x.shape], [source], target, axes=axes)
    kept_width, kept_channels = (1 if 2 in axes else width), (1 if 3 in axes else channels)
    channel_step = int(3 not in axes)
    column_step = 0 if 2 in axes else kept_channels
    groups = [list(x[0])] if 1 in axes else [[row] for row in x[0]]
    found = []
    for rows in groups:
        sums, out = np.zeros(kept_width * kept_channels, np.int32), guarded(kept_width * kept_channels)
        for row in rows:
            library.ts_mean_add(pointer(row), pointer(sums), width, channels, column_step, channel_step)
        library.ts_mean_finish(
            pointer(sums), pointer(out), sums.size, fields(arithmetic.mean(graph, graph.ops[0]), "shift")
        )
        found.append(unguarded(out))
    np.testing.assert_array_equal(np.concatenate(found), reference(graph, x).ravel())


def softmax(library: ctypes.CDLL, graph: Graph, x: NDArray[np.int8]) -> NDArray[np.int8]:
    exps, out = tables.exponentials(graph, graph.ops[0]), guarded(x.size)
    library.ts_softmax(pointer(x), pointer(out), x.size, pointer(exps))
    return unguarded(out)


@settings(max_examples=150, deadline=None)
@given(seeds, quants(1e-4, 8.0), st.one_of(st.integers(1, 12), st.integers(1, 511)))
def test_softmax(library: ctypes.CDLL, seed: int, source: Quant, n: int) -> None:
    rng = np.random.default_rng(seed)
    spread = int(rng.integers(1, 256))
    x = (rng.integers(0, spread, (1, n)) - 128 + rng.integers(0, 257 - spread)).astype(np.int8)
    graph = one_layer("SOFTMAX", [x.shape], [source], Quant(1 / 256, -128))
    np.testing.assert_array_equal(softmax(library, graph, x), reference(graph, x).ravel())


@given(seeds, st.integers(0, 3), st.integers(1, 9), st.integers(0, 3), st.integers(1, 9), st.integers(-128, 127))
def test_pad_and_table_rows(
    library: ctypes.CDLL, seed: int, before: int, columns: int, after: int, channels: int, zero_point: int
) -> None:
    rng = np.random.default_rng(seed)
    x, table = bytes_of(rng, columns, channels), bytes_of(rng, 256)
    out = guarded((before + columns + after) * channels)
    library.ts_pad_row(pointer(x), pointer(out), columns, channels, before, after, zero_point)
    expected = np.pad(x, ((before, after), (0, 0)), constant_values=zero_point)
    np.testing.assert_array_equal(unguarded(out), expected.ravel())
    expected = table[x.astype(np.int64) + 128]
    library.ts_lut_row(pointer(x), pointer(x), x.size, pointer(table))
    np.testing.assert_array_equal(x, expected)
