"""Roll and impulse responses against numpy and scipy, and as often as they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import soundfile
import torch

from tinyscene.runtime.errors import InputError
from tinyscene.training.augment import (
    DeviceImpulseResponses,
    check_devices,
    convolved_devices,
    mix_clips,
    random_gain,
    read_impulse_responses,
    read_responses,
    responses_digest,
    roll,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mixed_clips_hold_a_quieter_other_one() -> None:
    # Orthogonal items: the share of each in a mix can be read off.
    wave = torch.eye(400)
    mixed = mix_clips(wave, 0.7, seeded(2))
    own = mixed.diagonal()
    other = (mixed - torch.diag(own)).sum(dim=1)
    assert torch.allclose(own + other, torch.ones(400))
    assert (own > 0.5).all()
    assert 0.63 < (own < 1).float().mean() < 0.77
    assert ((mixed != 0).sum(dim=1) <= 2).all()
    assert torch.equal(mixed, mix_clips(wave, 0.7, seeded(2)))


def test_gain_is_drawn_in_decibels_for_each_item() -> None:
    wave = torch.randn(300, 20)
    ratio = random_gain(wave, 6.0, seeded(3)) / wave
    gain_db = 20 * torch.log10(ratio[:, 0])
    assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-4)
    assert gain_db.min() < -5
    assert gain_db.max() > 5
    assert gain_db.abs().max() <= 6.001


def test_roll_rotates_each_item_by_its_own_draw() -> None:
    wave = torch.randn(50, 300)
    rolled = roll(wave, 40, seeded(1))
    shifts = []
    for before, after in zip(wave.numpy(), rolled.numpy(), strict=True):
        found = [shift for shift in range(-60, 61) if np.array_equal(np.roll(before, shift), after)]
        assert len(found) == 1
        shifts.append(found[0])
    assert min(shifts) < -20
    assert max(shifts) > 20
    assert max(map(abs, shifts)) <= 40
    assert torch.equal(rolled, roll(wave, 40, seeded(1)))


def test_convolution_is_scipy_s_cut_to_the_clip_and_uses_each_response_equally_often() -> None:
    rng = np.random.default_rng(0)
    responses = [rng.standard_normal(n).astype(np.float32) for n in (1, 2, 90, 700)]  # the last is longer than a clip
    convolve = DeviceImpulseResponses(responses, 500)
    wave = rng.standard_normal((2000, 500)).astype(np.float32)
    convolved = convolve(torch.from_numpy(wave), torch.ones(2000, dtype=torch.bool), 1.0, seeded(2)).numpy()
    candidates = np.stack([scipy.signal.fftconvolve(wave, ir[None], axes=1)[:, :500] for ir in responses])
    error = np.abs(candidates - convolved).max(axis=2)  # (response, clip)
    # Values reach 100, so single precision leaves 1e-4; another response is off by 1 and more.
    assert error.min(axis=0).max() < 1e-3
    assert np.sort(error, axis=0)[1].min() > 0.1
    used = np.bincount(error.argmin(axis=0), minlength=4)
    assert scipy.stats.chisquare(used).pvalue > 0.01


@pytest.mark.parametrize("probability", [0.4, 0.6])
def test_convolution_only_of_eligible_items_and_as_often_as_asked(probability: float) -> None:
    convolve = DeviceImpulseResponses([np.array([0.0, 2.0], dtype=np.float32)], 16)
    wave = torch.ones(3000, 16)
    eligible = torch.arange(3000) % 3 > 0
    changed = (convolve(wave, eligible, probability, seeded(0)) != wave).any(dim=1)
    assert not changed[~eligible].any()
    assert scipy.stats.binomtest(int(changed.sum()), 2000, probability).pvalue > 0.01
    assert torch.equal(convolve(wave, eligible, 0.0, seeded(0)), wave)
    assert torch.equal(convolve(wave, ~eligible & eligible, 1.0, seeded(0)), wave)


def write_response(file: Path, rate_hz: int) -> None:
    """A damped resonance at 1.1 kHz after 10 ms, whose spectrum ends far below every rate here."""
    time_s = np.arange(round(0.2 * rate_hz)) / rate_hz - 0.01
    envelope = np.where(time_s > 0, time_s**2, 0.0) * np.exp(-np.maximum(time_s, 0) * 300) * 5e4
    file.parent.mkdir(exist_ok=True)
    soundfile.write(file, envelope * np.sin(2 * np.pi * 1100 * time_s), rate_hz, subtype="FLOAT")


def test_responses_of_mixed_rates_convolve_alike(tmp_path: Path) -> None:
    wave = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 32_000)).astype(np.float32))
    heard = []
    for rate_hz in (32_000, 44_100, 48_000):
        write_response(tmp_path / str(rate_hz) / "ir.wav", rate_hz)
        responses = read_impulse_responses(tmp_path / str(rate_hz), 32_000, 32_000)
        heard.append(responses(wave, torch.tensor([True]), 1.0, seeded(0))[0].numpy())
    level = np.sqrt(np.mean(heard[0] ** 2))
    # -60 dB: the resampler's passband ripple and the resonance's faint start are below.
    assert np.abs(heard[1] - heard[0]).max() < 1e-3 * level
    assert np.abs(heard[2] - heard[0]).max() < 1e-3 * level
    assert np.abs(heard[0] - wave.numpy()).max() > level


def test_folders_without_usable_responses_are_refused(tmp_path: Path) -> None:
    def refusal() -> str:
        with pytest.raises(InputError) as caught:
            read_responses(tmp_path / "folder", 32_000)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no folder of impulse responses" in refusal()
    (tmp_path / "folder").mkdir()
    assert "has no .wav, .flac, .ogg files: give a folder of impulse responses" in refusal()
    soundfile.write(tmp_path / "folder" / "silent.wav", np.zeros(3200), 32_000)
    assert "silent.wav is silent, it cannot be an impulse response: take it out of" in refusal()
    (tmp_path / "folder" / "silent.wav").write_bytes(b"RIFF and nothing of the kind")
    assert "silent.wav is not audio" in refusal()


def test_digest_is_of_names_and_contents_not_of_the_place(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for name in ("one.wav", "two.wav"):
            write_response(tmp_path / folder / name, 44_100)
    digest = responses_digest(tmp_path / "a")
    assert digest == responses_digest(tmp_path / "b")
    (tmp_path / "b" / "notes.txt").write_text("not a response")
    assert digest == responses_digest(tmp_path / "b")
    (tmp_path / "b" / "two.wav").rename(tmp_path / "b" / "three.wav")
    assert digest != responses_digest(tmp_path / "b")
    write_response(tmp_path / "a" / "two.wav", 48_000)
    assert digest != responses_digest(tmp_path / "a")


def test_a_corpus_without_the_chosen_devices_is_refused() -> None:
    check_devices(("a", "b"), ("b", "s1"))
    check_devices(("*",), ("zoom",))
    with pytest.raises(InputError, match=r"dir_devices is a, but .* are of zoom: .* dir_devices=zoom, .*'\*'"):
        check_devices(("a",), ("zoom",))
    assert convolved_devices(("a", "s1"), ("a", "b", "s1")) == [True, False, True]
    assert convolved_devices(("*",), ("a", "b")) == [True, True]
