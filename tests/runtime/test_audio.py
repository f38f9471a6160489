"""Audio files: formats, rates and channels against what was written, and one clear error for each kind of damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyscene.runtime.audio import AudioFile, Resampler, read_blocks, read_mono
from tinyscene.runtime.errors import InputError


def tone(rate: int, seconds: float, hz: float = 440.0) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize(("ending", "subtype", "step"), [
    ("wav", "PCM_16", 2**-15), ("wav", "PCM_24", 2**-23), ("wav", "FLOAT", 0), ("flac", "PCM_16", 2**-15),
])  # fmt: skip
def test_reads_back_what_was_written(tmp_path: Path, ending: str, subtype: str, step: float) -> None:
    path = tmp_path / f"clip.{ending}"
    wave = tone(32_000, 1.3)
    soundfile.write(path, wave, 32_000, subtype=subtype)
    read = read_mono(path, 32_000)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, wave, rtol=0, atol=step)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_a_tone_keeps_its_pitch_at_any_rate(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate, 1.0), rate, subtype="FLOAT")
    read = read_mono(path, 32_000)
    assert len(read) == 32_000
    # Away from the edges the resampled tone is the tone: -60 dB of its level is far above soxr's -100 dB.
    np.testing.assert_allclose(read[2000:-2000], tone(32_000, 1.0)[2000:-2000], atol=5e-4)


def test_what_lies_above_the_new_nyquist_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "high.wav"
    soundfile.write(path, tone(48_000, 1.0, hz=20_000), 48_000, subtype="FLOAT")
    assert np.abs(read_mono(path, 32_000)[2000:-2000]).max() < 1e-3


def test_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    left, right = tone(32_000, 0.5), tone(32_000, 0.5, hz=600.0)
    soundfile.write(path, np.stack([left, right, 0 * left], axis=1), 32_000, subtype="FLOAT")
    np.testing.assert_allclose(read_mono(path, 32_000), (left + right) / 3, atol=1e-7)


def test_ogg_is_read(tmp_path: Path) -> None:
    path = tmp_path / "clip.ogg"
    soundfile.write(path, tone(44_100, 1.0), 44_100)
    read = read_mono(path, 32_000)
    assert len(read) == 32_000
    spectrum = np.abs(np.fft.rfft(read))
    assert spectrum.argmax() == 440


@settings(max_examples=25, deadline=None)
@given(block_s=st.floats(0.001, 2.0))
def test_block_length_does_not_change_the_samples(tmp_path_factory: pytest.TempPathFactory, block_s: float) -> None:
    path = tmp_path_factory.getbasetemp() / "blocks.wav"
    if not path.exists():
        wave = np.random.default_rng(0).uniform(-0.5, 0.5, (44_100, 2)).astype(np.float32)
        soundfile.write(path, wave, 44_100, subtype="FLOAT")
    blocks = list(read_blocks(path, 32_000, block_s))
    assert all(len(block) for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), read_mono(path, 32_000))


def test_equal_rates_pass_through() -> None:
    samples = tone(16_000, 0.1)
    assert Resampler(16_000, 16_000).resample(samples) is samples


def test_real_recordings(shared: Path) -> None:
    """The published features' own 32-kHz wave; another resampler made it, so it agrees to the ear, not to the bit."""
    read = read_mono(shared / "data/tau_clips/metro_station-paris.wav", 32_000)
    with np.load(shared / "weights/cp_mobile_tau22/golden.npz", allow_pickle=False) as golden:
        expected = golden["metro_station-paris_wave32k_0"]
    assert len(read) == 320_000
    error, level = (float(np.sqrt(np.mean(x**2))) for x in (read[:32_000] - expected, expected))
    assert error < 0.01 * level


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """Bytes of a good file of each format."""
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 44_100).astype(np.float32)
    files = {}
    for ending in ("wav", "flac", "ogg"):
        soundfile.write(tmp_path / f"whole.{ending}", wave, 44_100)
        files[ending] = (tmp_path / f"whole.{ending}").read_bytes()
    return files


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("kept", [0.0, 0.0005, 0.1, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, whole: dict[str, bytes], ending: str, kept: float) -> None:
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(whole[ending][: int(len(whole[ending]) * kept)])
    with pytest.raises(InputError, match=rf"cut\.{ending} (is cut short|is damaged|is not audio|ends after)"):
        read_mono(path, 32_000)


def test_damage_in_the_middle_of_a_flac_is_refused(tmp_path: Path, whole: dict[str, bytes]) -> None:
    data = bytearray(whole["flac"])
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(byte ^ 0x5A for byte in data[middle : middle + 64])
    path = tmp_path / "damaged.flac"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged\.flac is damaged after 0\.\d\d s"):
        read_mono(path, 32_000)


def test_a_wav_of_unknown_length_is_read(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """What `arecord | tee` writes: the length of the data is left open."""
    data = bytearray(whole["wav"])
    place = data.index(b"data") + 4
    data[place : place + 4] = b"\xff\xff\xff\xff"
    path = tmp_path / "open.wav"
    path.write_bytes(data)
    assert len(read_mono(path, 44_100)) == 44_100


def test_missing_folder_text_raw_and_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound in here\n" * 50)
    (tmp_path / "headerless.raw").write_bytes(bytes(1000))
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 32_000)
    for name, reason in (
        ("nothing.wav", "no audio file at"),
        (".", "is not an audio file but a folder"),
        ("text.wav", "is not audio"),
        ("headerless.raw", "is not audio"),
        ("empty.wav", "holds no samples"),
    ):
        with pytest.raises(InputError, match=reason):
            AudioFile(tmp_path / name)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    wave = tone(32_000, 0.2)
    wave[4000] = value
    soundfile.write(tmp_path / "nan.wav", wave, 32_000, subtype="FLOAT")
    with pytest.raises(InputError, match="not finite"):
        read_mono(tmp_path / "nan.wav", 32_000)
