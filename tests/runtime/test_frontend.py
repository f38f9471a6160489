"""The streaming front end against the published network's features, a plain float64 formula, and itself in chunks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyscene.runtime import frontend
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend import StreamingLogMel, log_mel
from tinyscene.runtime.frontend_spec import CP_RESNET, PASST, STUDENT, FrontendSpec

SMALL = FrontendSpec(
    sample_rate_hz=8000, clip_samples=400, n_fft=64, win_length=48, hop_length=20, n_mels=8, fmax_hz=4000
)


def plain(wave: NDArray[np.float32], spec: FrontendSpec) -> NDArray[np.float64]:
    """The contract's formula in float64 with numpy's padding, whole frames of n_fft and a dense mel matrix."""
    x = wave.astype(np.float64)
    y = np.pad(x[1:] - spec.preemphasis * x[:-1], spec.n_fft // 2, mode="reflect")
    margin = (spec.n_fft - spec.win_length) // 2
    window = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.win_length) / (spec.win_length - 1)), margin)
    frames = np.lib.stride_tricks.sliding_window_view(y, spec.n_fft)[:: spec.hop_length] * window
    energies = spec.mel_matrix().astype(np.float64) @ (np.abs(np.fft.rfft(frames)) ** 2).T
    return (np.log(energies + spec.log_offset) + spec.norm_shift) / spec.norm_scale


def noise(n: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


@pytest.mark.parametrize("clip", ["metro_station-paris", "dcase2025_dummy", "dcase_util_acoustic_scene"])
def test_matches_the_features_of_the_published_network(shared: Path, clip: str) -> None:
    with np.load(shared / "weights/cp_mobile_tau22/golden.npz", allow_pickle=False) as golden:
        wave, expected = golden[f"{clip}_wave32k_0"], golden[f"{clip}_mel0"]
    # The issue asks for 1e-3; both are float32 and differ by rounding only.
    np.testing.assert_allclose(log_mel(wave, STUDENT), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("spec", [STUDENT, CP_RESNET, PASST, SMALL], ids=["student", "cp_resnet", "passt", "small"])
def test_matches_the_plain_formula(spec: FrontendSpec) -> None:
    wave = noise(spec.clip_samples)
    mel = log_mel(wave, spec)
    assert mel.shape == (spec.n_mels, spec.n_frames())
    assert mel.dtype == np.float32
    # float32 rounding of the spectrum: 1e-7 of its largest bin, seen through a logarithm that 1e-5 keeps from -inf.
    np.testing.assert_allclose(mel, plain(wave, spec), rtol=0, atol=2e-4)


def test_a_tone_lands_in_its_band() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 1000.0 * np.arange(32_000) / 32_000)).astype(np.float32)
    centres = 1127 * np.log1p(15_500 / 700) * np.arange(1, 257) / 257  # in mel
    nearest = np.abs(centres - 1127 * np.log1p(1000 / 700)).argmin()
    assert set(log_mel(tone, STUDENT).argmax(axis=0)[2:-2]) == {nearest}


def test_silence_is_the_offset() -> None:
    expected = (np.log(1e-5) + 4.5) / 5.0
    np.testing.assert_allclose(log_mel(np.zeros(32_000, np.float32), STUDENT), expected, atol=1e-6)


@pytest.mark.parametrize("spec", [STUDENT, PASST], ids=["student", "passt"])
@pytest.mark.parametrize("chunk", [1, 499, 500, 501, 4096, 50_000])
def test_fixed_chunks_give_the_same_bits(spec: FrontendSpec, chunk: int) -> None:
    wave = noise(20_011)
    stream = StreamingLogMel(spec)
    parts = [stream.push(wave[start : start + chunk]) for start in range(0, len(wave), chunk)] + [stream.flush()]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), log_mel(wave, spec))


@settings(max_examples=300, deadline=None)
@given(
    hop=st.sampled_from([1, 7, 20, 48, 61, 100]),
    lengths=st.lists(st.one_of(st.sampled_from([0, 1, 2]), st.integers(0, 300)), min_size=1, max_size=12),
    block=st.sampled_from([1, 16, 50, 8192]),
    seed=st.integers(0, 9),
)
def test_any_chunks_give_the_same_bits(hop: int, lengths: list[int], block: int, seed: int) -> None:
    """Also with hops longer than the window, and with blocks so short that the buffer wraps all the time."""
    spec = replace(SMALL, hop_length=hop)
    wave = noise(sum(lengths), seed)
    chunks = np.split(wave, np.cumsum(lengths)[:-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frontend, "_BLOCK", block)
        stream = StreamingLogMel(spec)
        pushed = [stream.push(chunk) for chunk in chunks]
        if len(wave) < spec.win_length // 2 + 2:
            with pytest.raises(InputError, match=f"a clip of {len(wave)} samples is too short"):
                stream.flush()
            return
        streamed = np.concatenate([*pushed, stream.flush()], axis=1)
    np.testing.assert_array_equal(streamed, log_mel(wave, spec))
    assert streamed.shape[1] == spec.n_frames(len(wave))
    if len(wave) - 1 > spec.n_fft // 2:  # what numpy's padding needs
        np.testing.assert_allclose(streamed, plain(wave, spec), rtol=0, atol=2e-4)


def test_a_frame_comes_as_soon_as_its_window_is_full() -> None:
    stream = StreamingLogMel(STUDENT)
    wave = noise(4000)
    # Frame 0 ends at pre-emphasised sample win/2 - 1, which needs one more raw sample, and its left edge reflects one.
    assert stream.push(wave[:1537]).shape[1] == 0
    assert stream.push(wave[1537:1538]).shape[1] == 1
    # Frame 1: 500 later, counted from win/2 samples.
    assert stream.push(wave[1538:2036]).shape[1] == 0
    assert stream.push(wave[2036:2037]).shape[1] == 1


def test_a_stream_can_be_used_for_clip_after_clip() -> None:
    stream = StreamingLogMel(SMALL)
    for seed in range(3):
        wave = noise(400, seed)
        np.testing.assert_array_equal(np.concatenate([stream.push(wave), stream.flush()], axis=1), log_mel(wave, SMALL))


def test_a_triangle_between_two_bins_is_silent() -> None:
    narrow = replace(SMALL, n_mels=40)  # more triangles than bins can tell apart
    empty = ~narrow.mel_matrix().any(axis=1)
    assert empty.any()
    assert not empty.all()
    mel = log_mel(noise(400), narrow)
    np.testing.assert_allclose(mel[empty], (np.log(1e-5) + 4.5) / 5.0, atol=1e-6)
    np.testing.assert_allclose(mel, plain(noise(400), narrow), rtol=0, atol=2e-4)


def test_with_a_numpy_that_transforms_in_float64_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy 1.26, which 32-bit Raspberry Pi boards have to keep."""
    wave = noise(6000)
    expected = log_mel(wave, STUDENT)
    original = np.fft.rfft

    def old_rfft(frame: NDArray[np.float32], *, norm: Literal["forward"]) -> NDArray[np.complex128]:  # takes no `out`
        return original(frame.astype(np.float64), norm=norm)

    monkeypatch.setattr(frontend, "_FFT_WRITES_FLOAT32", False)
    monkeypatch.setattr(np.fft, "rfft", old_rfft)
    np.testing.assert_allclose(log_mel(wave, STUDENT), expected, rtol=0, atol=1e-4)


def test_does_not_change_its_input() -> None:
    wave = noise(2000)
    kept = wave.copy()
    log_mel(wave, SMALL)
    np.testing.assert_array_equal(wave, kept)


@pytest.mark.parametrize("wave", [np.zeros(500, np.int16), np.zeros((2, 500), np.float32)], ids=["int16", "stereo"])
def test_refuses_what_is_not_mono_float(wave: NDArray[np.generic]) -> None:
    with pytest.raises(InputError, match="floating-point samples of shape"):
        log_mel(wave, SMALL)  # type: ignore[arg-type]
