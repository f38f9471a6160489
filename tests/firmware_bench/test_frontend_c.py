"""The C front end against numpy's: the same frames at the same samples, whatever the arithmetic and the chunks."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyscene.firmware_bench.frontend.error import ARITHMETICS, recordings
from tinyscene.firmware_bench.frontend.host import GLUE, HostFrontend, compile_c, host_compiler, write_sources
from tinyscene.firmware_bench.frontend.signals import SIGNALS
from tinyscene.runtime.errors import InputError, UnavailableError
from tinyscene.runtime.frontend import StreamingLogMel
from tinyscene.runtime.frontend_spec import PASST, STUDENT, FrontendSpec
from tinyscene.runtime.int8 import quantize

SCALE, ZERO_POINT = 0.009975225664675236, 13
TINY = FrontendSpec(
    sample_rate_hz=8000, clip_samples=400, n_fft=64, win_length=48, hop_length=20, n_mels=8, fmax_hz=4e3
)

#: Largest error in int8 steps, and largest share of int8 values that differ. Float: the rounding of one float32
#: transform against another's, 1e-7 of the largest bin, shows where a full-scale tone leaves the others at the level of
#: log_offset; elsewhere it is 300 times less. Whole numbers: the window's and the turns' products are cut at 2^-30 of
#: the frame's largest sample, which is 2^-10 of log_offset's amplitude beside a full-scale tone, and beside nothing
#: else; narrow products are cut at three times that.
LIMITS = {"float": (0.12, 4e-3), "fixed": (0.4, 0.015), "fixed, narrow": (0.5, 0.025)}
LIMITS_OF_NOISE = {"float": (0.02, 4e-4), "fixed": (0.05, 1.5e-3), "fixed, narrow": (0.05, 1.5e-3)}
TONES = {"sine at full scale", "alternating at full scale", "clipped square", "impulse"}

Make = Callable[[FrontendSpec, str], HostFrontend]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    try:
        host_compiler()
    except UnavailableError as error:
        pytest.skip(str(error))

    @cache
    def build(spec: FrontendSpec, arithmetic: str) -> HostFrontend:
        folder = tmp_path_factory.mktemp("frontend")
        return HostFrontend(folder, spec, SCALE, ZERO_POINT, ARITHMETICS[arithmetic])

    return build


def expected(pcm: NDArray[np.int16], spec: FrontendSpec) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    log_mel = StreamingLogMel(spec).push(pcm.astype(np.float32) / np.float32(32768))
    return quantize(log_mel, SCALE, ZERO_POINT), log_mel.astype(np.float64) / np.float32(SCALE) + ZERO_POINT


def noise(n: int, seed: int = 0) -> NDArray[np.int16]:
    return np.random.default_rng(seed).normal(0.0, 3000.0, n).astype(np.int16)


@pytest.mark.parametrize("spec", [STUDENT, PASST], ids=["student", "passt"])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_is_numpy_s(make: Make, spec: FrontendSpec, arithmetic: str, signal: str) -> None:
    frontend = make(spec, arithmetic)
    frontend.reset()
    pcm = SIGNALS[signal](48_000, spec.sample_rate_hz)
    frames, steps = frontend.push(pcm)
    cells, exact = expected(pcm, spec)
    largest, share = (LIMITS if signal in TONES else LIMITS_OF_NOISE)[arithmetic]
    assert frames.shape == cells.shape
    np.testing.assert_allclose(steps, exact, rtol=0, atol=largest)
    assert np.mean(frames != cells) <= share
    assert np.abs(frames.astype(int) - cells).max() <= 1
    if signal == "silence":
        np.testing.assert_array_equal(frames, cells)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_is_numpy_s_on_recordings(make: Make, shared: Path, arithmetic: str) -> None:
    frontend = make(STUDENT, arithmetic)
    differing = total = 0
    for pcm in recordings(shared / "data/tut2017", STUDENT.sample_rate_hz, 6):
        frontend.reset()
        frames, steps = frontend.push(pcm)
        cells, exact = expected(pcm, STUDENT)
        np.testing.assert_allclose(steps, exact, rtol=0, atol=0.001 if arithmetic == "float" else 0.04)
        differing += np.count_nonzero(frames != cells)
        total += cells.size
    assert differing / total <= (1e-4 if arithmetic == "float" else 1.5e-3)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("exponent", [3, 4, 5, 8, 11, 13])
def test_any_power_of_two_is_a_transform(make: Make, arithmetic: str, exponent: int) -> None:
    """Both first passes, an odd half of a window, and a window that fills the transform or nearly nothing of it."""
    n = 2**exponent
    for length in {n, n - 2, max(2, n // 2 - 2)}:
        spec = FrontendSpec(n_fft=n, win_length=length, hop_length=max(1, n // 3), n_mels=max(1, n // 8))
        pcm = noise(2 * n + 50)
        frontend = make(spec, arithmetic)
        frontend.reset()
        frames, steps = frontend.push(pcm)
        cells, exact = expected(pcm, spec)
        assert frames.shape == cells.shape
        # The largest are bins that are nearly nothing beside the others, and further passes cut more of them.
        np.testing.assert_allclose(steps, exact, rtol=0, atol=0.01 if arithmetic == "float" else 0.7)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("hop", [1, 7, 20, 24, 48, 49, 61, 200])
def test_any_chunks_give_the_same_frames_at_the_same_samples(make: Make, arithmetic: str, hop: int) -> None:
    spec = replace(TINY, hop_length=hop)
    frontend = make(spec, arithmetic)

    @settings(max_examples=40, deadline=None)
    @given(lengths=st.lists(st.one_of(st.sampled_from([0, 1, 2]), st.integers(0, 300)), min_size=1, max_size=12))
    def check(lengths: list[int]) -> None:
        pcm = noise(sum(lengths))
        frontend.reset()
        whole, _ = frontend.push(pcm)
        frontend.reset()
        reference = StreamingLogMel(spec)
        parts = []
        for chunk in np.split(pcm, np.cumsum(lengths)[:-1]):
            parts.append(frontend.push(chunk)[0])
            assert parts[-1].shape[1] == reference.push(chunk.astype(np.float32)).shape[1]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)

    check()
    frontend.reset()
    np.testing.assert_allclose(frontend.push(noise(3000))[1], expected(noise(3000), spec)[1], rtol=0, atol=0.05)


def test_a_stream_outlives_its_counters(make: Make) -> None:
    """More frames than 16 bits count: the last are those of numpy."""
    spec = replace(TINY, n_fft=8, win_length=8, hop_length=4, n_mels=2)
    frontend = make(spec, "fixed")
    frontend.reset()
    pcm = noise(4 * 70_000)
    frames, steps = frontend.push(pcm)
    assert frames.shape[1] > 2**16
    np.testing.assert_allclose(steps[:, -100:], expected(pcm[-400 - 40 :], spec)[1][:, -100:], rtol=0, atol=0.2)


def test_reset_forgets(make: Make) -> None:
    frontend = make(TINY, "float")
    frontend.reset()
    first, _ = frontend.push(noise(500, 1))
    frontend.push(noise(77, 2))
    frontend.reset()
    np.testing.assert_array_equal(frontend.push(noise(500, 1))[0], first)


def test_the_state_is_one_window(make: Make) -> None:
    assert make(STUDENT, "fixed").state_bytes <= 2 * (STUDENT.win_length + 1) + 24


def library_of(folder: Path, code: str, fixed: bool) -> ctypes.CDLL:
    sources = write_sources(folder, STUDENT, SCALE, ZERO_POINT, fixed)
    tables = [path for path in sources if path.name == "frontend_tables.c"]
    (folder / "check.c").write_text(code)
    command = [*host_compiler(), "-std=c99", "-O2", "-shared", "-fPIC", f"-I{folder}"]
    return ctypes.CDLL(str(compile_c(command, [*tables, folder / "check.c"], folder / "check.so")))


def address(array: NDArray[np.generic]) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def test_logarithm_and_rounding_in_single_precision(make: Make, tmp_path: Path) -> None:
    code = """
    #include "ts_frontend_float.h"
    void logs(const float *x, int n, float *out) { for (int i = 0; i < n; ++i) out[i] = ts_log(x[i]); }
    void rounds(const float *x, int n, int32_t *out) { for (int i = 0; i < n; ++i) out[i] = ts_round(x[i]); }
    """
    library = library_of(tmp_path, code, fixed=False)
    rng = np.random.default_rng(0)
    exponents = np.exp2(rng.uniform(-126, 127.9, 200_000))
    near_one = 1.0 + np.concatenate([rng.uniform(-1e-3, 1e-3, 20_000), [2.0**-23, -(2.0**-24), 0.0]])
    x = np.concatenate([exponents, near_one, [2.0**0.5, 0.5**0.5, 1e-5]]).astype(np.float32)
    found = np.empty_like(x)
    library.logs(address(x), len(x), address(found))
    np.testing.assert_allclose(found, np.log(x.astype(np.float64)), rtol=3e-7, atol=0)

    halves = np.arange(-4001, 4001, dtype=np.float32) / 2
    y = np.concatenate([halves, np.nextafter(halves, np.float32(1e9)), np.nextafter(halves, np.float32(-1e9))])
    whole = np.empty(len(y), np.int32)
    library.rounds(address(y), len(y), address(whole))
    np.testing.assert_array_equal(whole, np.rint(y))


def test_logarithm_and_shifts_in_whole_numbers(make: Make, tmp_path: Path) -> None:
    code = """
    #include "ts_frontend_fixed.h"
    void logs(const uint64_t *x, int n, int32_t *out) { for (int i = 0; i < n; ++i) out[i] = ts_log2(x[i]); }
    int32_t zeros(uint32_t x) { return ts_leading_zeros(x); }
    uint64_t shifted(uint32_t x, int32_t shift) { return ts_shifted(x, shift); }
    """
    library = library_of(tmp_path, code, fixed=True)
    rng = np.random.default_rng(0)
    x = np.concatenate([np.exp2(rng.uniform(0, 63.99, 200_000)), np.exp2(np.arange(64)), [3, 2**64 - 2**12]])
    whole = x.astype(np.uint64)
    found = np.empty(len(x), np.int32)
    library.logs(address(whole), len(x), address(found))
    np.testing.assert_allclose(found / 2.0**24, np.log2(whole.astype(np.float64)), rtol=0, atol=1.25e-5)

    library.shifted.restype = ctypes.c_uint64
    for bits in range(33):
        value = (1 << bits) - 1
        assert library.zeros(ctypes.c_uint32(value)) == 32 - bits
        for shift in range(-31, 65 - bits if bits else 64):
            assert library.shifted(ctypes.c_uint32(value), shift) == (value << shift if shift > 0 else value >> -shift)


VARIANTS: Mapping[str, tuple[bool, tuple[str, ...]]] = {
    "float": (False, ()),
    "fixed": (True, ()),
    "narrow": (True, ("-DTS_FRONTEND_NARROW=1",)),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("compiler", ["gcc", "clang-19"])
def test_compiles_without_a_warning_and_needs_memcpy_alone(tmp_path: Path, compiler: str, variant: str) -> None:
    if not shutil.which(compiler) or not shutil.which("nm"):
        pytest.skip(f"no {compiler} or nm here: run `apt-get install {compiler} binutils`")
    fixed, defines = VARIANTS[variant]
    sources = write_sources(tmp_path, STUDENT, SCALE, ZERO_POINT, fixed)
    warnings = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wdouble-promotion", "-Wstrict-prototypes", "-Werror"]
    needed: set[str] = set()
    for source in sources:
        out = tmp_path / f"{source.stem}.o"
        compile_c([compiler, "-std=c99", "-pedantic", "-O2", *warnings, *defines, f"-I{tmp_path}", "-c"], [source], out)
        names = subprocess.run(["nm", "-u", out], capture_output=True, text=True, check=True).stdout.split()
        needed |= {name for name in names if len(name) > 1 and not name.startswith(("ts_", "_GLOBAL_"))}
    assert needed <= {"memcpy"}


@pytest.mark.parametrize(
    ("compiler", "flags", "fixed"),
    [
        ("arm-none-eabi-gcc", ("-mcpu=cortex-m0plus", "-mthumb"), True),
        ("arm-none-eabi-gcc", ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"), False),
        ("riscv64-unknown-elf-gcc", ("-march=rv32imac", "-mabi=ilp32"), True),
    ],
    ids=["cortex-m0plus", "cortex-m4", "rv32"],
)
def test_on_a_part_no_division_product_or_float_is_a_library_s(
    tmp_path: Path, compiler: str, flags: tuple[str, ...], fixed: bool
) -> None:
    if not shutil.which(compiler) or not shutil.which("nm"):
        package = "gcc-arm-none-eabi" if compiler.startswith("arm") else "gcc-riscv64-unknown-elf"
        pytest.skip(f"no {compiler} or nm here: run `apt-get install {package} binutils`")
    for source in write_sources(tmp_path, STUDENT, SCALE, ZERO_POINT, fixed):
        out = tmp_path / f"{source.stem}.o"
        options = ["-std=c99", "-O2", "-ffreestanding", "-Wall", "-Wextra", "-Wconversion", "-Werror", *flags]
        compile_c([compiler, *options, f"-I{tmp_path}", "-c"], [source], out)
        names = subprocess.run(["nm", "-u", out], capture_output=True, text=True, check=True).stdout.split()
        assert {name for name in names if len(name) > 1 and not name.startswith("ts_")} <= {"memcpy"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_edge_signals_in_odd_chunks_under_sanitizers(make: Make, tmp_path: Path, variant: str) -> None:
    """Every buffer is its exact size, on the heap, where the sanitizer sees a step outside it."""
    fixed, defines = VARIANTS[variant]
    specs = [STUDENT, replace(TINY, win_length=50, n_fft=128, hop_length=61)]
    code = """
    #include <stdio.h>
    #include <stdlib.h>
    int main(void) {
        ts_frontend *frontend = malloc(sizeof *frontend);
        void *scratch = malloc(TS_FRONTEND_SCRATCH_BYTES);
        ts_number *steps = malloc(2 * TS_FRONTEND_MELS * sizeof *steps);
        int32_t piece = 1, frames = 0;
        ts_frontend_init(frontend);
        for (;;) {
            piece = piece * 7 % 89 + 1 < TS_FRONTEND_HOP ? piece * 7 % 89 + 1 : 1;
            int16_t *pcm = malloc(2 * (size_t)piece);
            int8_t *out = malloc(2 * TS_FRONTEND_MELS);
            const int32_t n = (int32_t)fread(pcm, 2, (size_t)piece, stdin);
            const int32_t made = glue_feed(frontend, scratch, pcm, n, out, steps);
            fwrite(out, TS_FRONTEND_MELS, (size_t)made, stdout);
            frames += made;
            free(pcm);
            free(out);
            if (n < piece) break;
        }
        free(frontend), free(scratch), free(steps);
        return frames == 0;
    }
    """
    for index, spec in enumerate(specs):
        folder = tmp_path / str(index)
        sources = write_sources(folder, spec, SCALE, ZERO_POINT, fixed)
        (folder / "main.c").write_text(GLUE + code)
        command = [*host_compiler(), "-std=c99", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
        command += ["-DTS_FRONTEND_TAP", *defines, f"-I{folder}"]
        try:
            program = compile_c(command, [*sources, folder / "main.c"], folder / "main")
        except InputError as error:
            pytest.skip(f"no sanitizers here: run `apt-get install gcc` ({error})")
        frontend = make(spec, {"float": "float", "fixed": "fixed", "narrow": "fixed, narrow"}[variant])
        pcm = np.concatenate([signal(2100, spec.sample_rate_hz) for signal in SIGNALS.values()])
        done = subprocess.run([program], input=pcm.tobytes(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        frontend.reset()
        found = np.frombuffer(done.stdout, np.int8).reshape(-1, spec.n_mels).T
        same = frontend.push(pcm)[0]
        assert found.shape == same.shape
        # Another optimisation may join a product and a sum of floats in one rounding.
        assert np.mean(found != same) <= (1e-3 if variant == "float" else 0.0)
