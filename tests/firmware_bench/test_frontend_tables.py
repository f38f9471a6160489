"""The C front end's tables: what they hold, how large they are, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tinyscene.firmware_bench.families import LIBRARY
from tinyscene.firmware_bench.frontend import files, library
from tinyscene.firmware_bench.frontend.tables import first_pass, make_tables, mel_segments, passes
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend_spec import CP_RESNET, PASST, STUDENT, FrontendSpec

SCALE, ZERO_POINT = 0.009975225664675236, 13


@settings(max_examples=100, deadline=None)
@given(
    n_fft=st.sampled_from([64, 256, 1024, 4096]),
    n_mels=st.integers(1, 300),
    fmin_hz=st.floats(0.0, 4000.0),
    width_hz=st.floats(100.0, 16_000.0),
)
def test_one_weight_a_bin_is_the_whole_mel_bank(n_fft: int, n_mels: int, fmin_hz: float, width_hz: float) -> None:
    assume(fmin_hz + width_hz <= 16_000.0)
    spec = FrontendSpec(n_fft=n_fft, win_length=n_fft, n_mels=n_mels, fmin_hz=fmin_hz, fmax_hz=fmin_hz + width_hz)
    mel = mel_segments(spec)
    bank = np.zeros((n_mels, n_fft // 2 + 1))
    for segment in range(n_mels + 1):
        for i in range(mel.segments[segment], mel.segments[segment + 1]):
            if segment < n_mels:
                bank[segment, mel.first_bin + i] = mel.weights[i]
            if segment > 0:
                bank[segment - 1, mel.first_bin + i] = 1.0 - mel.weights[i]
    # Both are exact but for the last bits of the float64 in which the triangles are laid out, and mel_matrix's float32.
    np.testing.assert_allclose(bank, spec.mel_matrix(), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("fixed", "limit"), [(False, 24 * 1024), (True, 16 * 1024)], ids=["float", "fixed"])
def test_the_student_s_tables_fit_their_flash(fixed: bool, limit: int) -> None:
    tables = make_tables(STUDENT, fixed)
    assert tables.flash_bytes <= limit
    assert (
        f"TS_FRONTEND_TABLE_BYTES {tables.flash_bytes} "
        in files(STUDENT, SCALE, ZERO_POINT, fixed)["frontend_tables.h"]
    )


@pytest.mark.parametrize("exponent", range(3, 16))
def test_passes_make_the_whole_transform(exponent: int) -> None:
    spec = FrontendSpec(n_fft=2**exponent, win_length=4, n_mels=1)
    assert first_pass(spec) * 4 ** passes(spec) == spec.n_fft // 2


@pytest.mark.parametrize("spec", [STUDENT, CP_RESNET, PASST], ids=["student", "cp_resnet", "passt"])
@pytest.mark.parametrize("fixed", [False, True], ids=["float", "fixed"])
def test_literals_read_back_as_the_numbers(spec: FrontendSpec, fixed: bool) -> None:
    source = files(spec, SCALE, ZERO_POINT, fixed)["frontend_tables.c"]
    tables = make_tables(spec, fixed)
    for name in ("window", "cosine", "segments", "weights"):
        found = re.search(rf"ts_frontend_{name}\[(\d+)\] = {{(.*?)}};", source, re.S)
        assert found is not None
        expected = getattr(tables, name)
        values = [word.strip().rstrip("f") for word in found[2].split(",") if word.strip()]
        assert int(found[1]) == len(expected) == len(values)
        np.testing.assert_array_equal(np.array(values, np.float64).astype(expected.dtype), expected)


def test_the_header_names_the_contract() -> None:
    header = files(STUDENT, SCALE, ZERO_POINT, False)["frontend_tables.h"]
    assert f'#define TS_FRONTEND_CONTRACT_HASH "{STUDENT.hash()}"' in header
    assert f"#define TS_FRONTEND_CONTRACT 0x{STUDENT.hash()[:8]}u" in header
    scale = re.search(r"#define TS_FRONTEND_INPUT_SCALE (\S+)f\n", header)
    assert scale is not None
    assert np.float32(scale[1]) == np.float32(SCALE)


def test_identical_input_gives_identical_files() -> None:
    assert files(STUDENT, SCALE, ZERO_POINT, True) == files(FrontendSpec(), SCALE, ZERO_POINT, True)


@pytest.mark.parametrize("fixed", [False, True])
def test_every_file_of_the_library_is_there(fixed: bool) -> None:
    assert all((LIBRARY / name).is_file() for name in library(fixed))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_fft": 4000}, "n_fft to be a power of two from 8 to 32768, got 4000"),
        ({"n_fft": 65536}, "got 65536"),
        ({"n_fft": 4, "win_length": 4}, "got 4"),
        ({"preemphasis": 1.0}, "at least 0 and below 1, got 1.0"),
        ({"preemphasis": -0.5}, "got -0.5"),
    ],
)
@pytest.mark.parametrize("fixed", [False, True])
def test_refuses_what_the_c_cannot_do(change: dict[str, float], words: str, fixed: bool) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        files(replace(STUDENT, **change), SCALE, ZERO_POINT, fixed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "scale", "words"),
    [
        ({"log_offset": 1e-12}, SCALE, "log_offset 1e-12 does not fit"),
        ({"log_offset": 1e9}, SCALE, "log_offset 1000000000.0 does not fit"),
        ({}, 1e-3, "too fine for the fixed-point front end"),
        ({"norm_shift": 1000.0}, SCALE, "too fine for the fixed-point front end"),
    ],
)
def test_refuses_what_whole_numbers_cannot_do(change: dict[str, float], scale: float, words: str) -> None:
    spec = replace(STUDENT, **change)  # type: ignore[arg-type]
    files(spec, scale, ZERO_POINT, False)
    with pytest.raises(InputError, match=re.escape(words)):
        files(spec, scale, ZERO_POINT, True)


@pytest.mark.parametrize(("scale", "zero_point"), [(0.0, 0), (-1.0, 0), (np.nan, 0), (np.inf, 0), (0.01, 128)])
def test_refuses_a_quantisation_that_is_none(scale: float, zero_point: int) -> None:
    with pytest.raises(InputError, match="expected a positive scale"):
        files(STUDENT, scale, zero_point, False)
