"""Signals with known faults, each found and named, and none in a sound one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from processes import json_lines

from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.cli import main
from tinyscene.runtime.doctor.advice import advise
from tinyscene.runtime.doctor.findings import examine, spectrum_against
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend import log_mel
from tinyscene.runtime.frontend_spec import STUDENT

RATE = 48_000
NEEDED_HZ = 15_500.0


def noise(seconds: float = 4.0, high_hz: float = RATE / 2, level: float = 0.05, seed: int = 0) -> NDArray[np.float32]:
    """Pink noise up to `high_hz`, RMS `level`, (n, 1)."""
    n = round(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
    hertz = np.fft.rfftfreq(n, 1 / RATE)
    spectrum *= (hertz < high_hz) / np.sqrt(np.maximum(hertz, 20))
    signal = np.fft.irfft(spectrum, n)
    return (level * signal / np.sqrt(np.mean(signal**2)))[:, None].astype(np.float32)


def complaints(samples: NDArray[np.float32], lost: int = 0) -> str:
    return "\n".join(item.text for item in advise(examine(samples, RATE, lost), NEEDED_HZ))


def test_a_sound_microphone_has_no_complaints() -> None:
    found = examine(noise(), RATE)
    assert found.level_dbfs[0] == pytest.approx(-26.0, abs=0.1)
    assert found.noise_floor_dbfs == pytest.approx(-26.0, abs=3.0)
    assert found.bandwidth_hz == RATE / 2
    assert (found.clipped_share, found.dropouts, found.lost_s, found.hum_hz) == (0.0, 0, 0.0, None)
    assert advise(found, NEEDED_HZ) == []


@pytest.mark.parametrize("high_hz", [3500.0, 8000.0, 11_000.0])
def test_a_filter_is_found_where_it_is(high_hz: float) -> None:
    band_limited = noise(high_hz=high_hz) + noise(level=1e-5, seed=1)  # the converter's own noise
    assert examine(band_limited, RATE).bandwidth_hz == pytest.approx(high_hz, abs=400)
    assert f"nothing is heard above {examine(band_limited, RATE).bandwidth_hz / 1000:.1f} kHz" in complaints(
        band_limited
    )


def test_clipping_is_counted() -> None:
    sine = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)[:, None]
    clipped = np.clip(1.5 * sine, -1, 1).astype(np.float32)
    share = float(np.mean(np.abs(1.5 * sine) >= 1))
    assert examine(clipped, RATE).clipped_share == pytest.approx(share, rel=0.02)
    assert "% of the samples are clipped: lower the capture level" in complaints(clipped)
    assert examine((0.9 * sine).astype(np.float32), RATE).clipped_share < 0.02  # a sine's top is flat for a moment


def test_hum_offset_and_quiet() -> None:
    n = np.arange(4 * RATE) / RATE
    for mains in (50, 60):
        hum = sum(np.sin(2 * np.pi * k * mains * n) / k for k in (1, 2, 3))[:, None]
        found = examine((noise(level=0.02) + 0.05 * hum).astype(np.float32), RATE)
        assert found.hum_hz == mains
        assert found.hum_share == pytest.approx(0.05**2 * 0.5 * (1 + 1 / 4 + 1 / 9) / (0.02**2 + 0.0017), rel=0.1)
    assert "is hum of the mains (60 Hz)" in complaints((noise(level=0.02) + 0.05 * hum).astype(np.float32))
    assert "constant offset of 5.0 %" in complaints(noise() + np.float32(0.05))
    assert "very quiet (-80 dBFS)" in complaints(noise(level=1e-4))
    assert "only digital silence" in complaints(np.zeros((RATE, 1), np.float32))


def test_channels() -> None:
    sound, other = noise(), noise(seed=1)
    assert examine(np.hstack([sound, sound]), RATE).correlation == pytest.approx(1.0)
    assert "one of the two channels is inverted" in complaints(np.hstack([sound, -sound]))
    assert "one of the two channels is dead" in complaints(np.hstack([sound, 1e-5 * other]))
    assert complaints(np.hstack([sound, other])) == ""


def test_holes_and_losses_are_told() -> None:
    broken = noise()
    for start in (10_000, 60_000, 90_000):
        broken[start : start + 480] = 0
    assert examine(broken, RATE).dropouts == 3
    assert "0.50 s were lost and 3 holes of zeros heard" in complaints(broken, lost=RATE // 2)
    assert examine(np.concatenate([np.zeros((4800, 1), np.float32), noise()]), RATE).dropouts == 0


def test_less_than_a_second_is_refused() -> None:
    with pytest.raises(InputError, match=r"0\.50 s of audio are too short to judge"):
        examine(noise(0.5), RATE)


def test_the_distance_of_spectra_is_that_of_the_filter() -> None:
    """The same sound, 6 dB louder, then with everything above 4 kHz taken down by 20 dB."""
    sound = noise()
    reference = log_mel(sound[::1, 0].astype(np.float32)[: 3 * RATE], STUDENT)[None]
    same = (sound, STUDENT.sample_rate_hz, STUDENT, reference)
    distance, loudness = spectrum_against(2 * sound[: 3 * RATE], *same[1:])
    assert distance < 0.2
    assert loudness == pytest.approx(6.02, abs=0.2)


def test_the_verb(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, dull = tmp_path / "good.wav", tmp_path / "dull.wav"
    soundfile.write(good, noise(), RATE)
    soundfile.write(dull, noise(high_hz=3800.0), RATE)
    assert main(["doctor", str(bundle.path), "--source", str(good)]) == 0
    assert "nothing to complain about" in capsys.readouterr().out
    assert main(["doctor", str(bundle.path), "--source", str(dull), "--json"]) == 1
    (said,) = json_lines(capsys.readouterr().out)
    assert said["schema"] == "tinyscene.doctor/1"
    assert said["advice"][0]["severity"] == "bad"
    assert main(["doctor", str(bundle.path), "--source", str(good), "--seconds", "0.2"]) == 2
