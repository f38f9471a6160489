"""Augmentations against plain numpy versions of themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tinyscene.runtime.errors import InputError
from tinyscene.training.augment import DeviceImpulseResponses, freq_mixstyle, read_impulse_responses, roll


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_convolution_is_cut_to_the_clip() -> None:
    rng = np.random.default_rng(0)
    responses = [rng.standard_normal(n).astype(np.float32) for n in (1, 90, 700)]  # the last is longer than a clip
    dir_augment = DeviceImpulseResponses(responses, 500)
    wave = torch.from_numpy(rng.standard_normal((64, 500)).astype(np.float32))
    convolved = dir_augment(wave, torch.ones(64, dtype=torch.bool), 1.0, seeded(2)).numpy()
    used = set()
    for before, after in zip(wave.numpy(), convolved, strict=True):
        candidates = [np.convolve(before, response)[:500] for response in responses]
        match = [i for i, candidate in enumerate(candidates) if np.allclose(candidate, after, atol=1e-3)]
        assert len(match) == 1
        used.add(match[0])
    assert used == {0, 1, 2}


def test_convolution_only_of_eligible_items_and_as_often_as_asked() -> None:
    dir_augment = DeviceImpulseResponses([np.array([0.0, 2.0], dtype=np.float32)], 16)
    wave = torch.ones(1000, 16)
    eligible = torch.arange(1000) % 2 == 0
    changed = (dir_augment(wave, eligible, 0.6, seeded(0)) != wave).any(dim=1)
    assert not changed[~eligible].any()
    assert 0.5 < changed[eligible].float().mean() < 0.7
    assert torch.equal(dir_augment(wave, eligible, 0.0, seeded(0)), wave)


def test_impulse_responses_of_any_rate(tmp_path: Path) -> None:
    impulse = np.zeros(4410)
    impulse[441] = 1.0  # 10 ms at 44.1 kHz
    soundfile.write(tmp_path / "a.wav", impulse, 44_100, subtype="FLOAT")
    responses = read_impulse_responses(tmp_path, 32_000, 32_000)
    delayed = responses(torch.eye(1, 32_000), torch.tensor([True]), 1.0, seeded(0))
    assert delayed.abs().argmax() == 320


def test_folders_without_responses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of impulse responses"):
        read_impulse_responses(tmp_path / "absent", 32_000, 32_000)
    with pytest.raises(InputError, match=r"has no \.wav"):
        read_impulse_responses(tmp_path, 32_000, 32_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(3200), 32_000)
    with pytest.raises(InputError, match=r"silent\.wav is silent"):
        read_impulse_responses(tmp_path, 32_000, 32_000)


def test_freq_mixstyle_exchanges_statistics_of_pairs() -> None:
    x = torch.randn(6, 1, 5, 200) * torch.arange(1, 7).view(6, 1, 1, 1) + 10 * torch.arange(6).view(6, 1, 1, 1)
    # Beta(alpha, alpha) with a tiny alpha is a coin: each item keeps its statistics or takes another item's.
    mixed = freq_mixstyle(x, 1.0, 1e-4, seeded(3)).numpy()
    array = x.numpy()
    mean, deviation = array.mean(axis=(1, 3)), array.std(axis=(1, 3), ddof=1)
    sources = []
    for item in range(6):
        found_mean, found_deviation = mixed[item].mean(axis=(0, 2)), mixed[item].std(axis=(0, 2), ddof=1)
        source = [
            j
            for j in range(6)
            if np.allclose(found_mean, mean[j], atol=1e-2) and np.allclose(found_deviation, deviation[j], rtol=1e-2)
        ]
        assert len(source) == 1
        sources.append(source[0])
        normalised = (mixed[item, 0] - found_mean[:, None]) / found_deviation[:, None]
        expected = (array[item, 0] - mean[item][:, None]) / deviation[item][:, None]
        np.testing.assert_allclose(normalised, expected, atol=1e-2)
    assert sources != list(range(6))


def test_freq_mixstyle_weights_come_from_beta() -> None:
    # Two values of the mean, 0 and 1: an item's new mean says its weight.
    x = torch.arange(2.0).repeat(2000).view(4000, 1, 1, 1) + 1e-3 * torch.randn(4000, 1, 1, 8)
    mixed = freq_mixstyle(x, 1.0, 0.3, seeded(1)).mean(dim=(1, 2, 3))
    source = x.mean(dim=(1, 2, 3)).round()
    moved = (mixed - source).abs()
    inside = moved[(moved > 0.02) & (moved < 0.98)]
    # Half of the partners have the other mean.
    assert abs(len(inside) / 2000 - expected_share(0.02, 0.3)) < 0.06
    assert abs(inside.mean().item() - 0.5) < 0.05


def expected_share(edge: float, alpha: float) -> float:
    """Probability that Beta(alpha, alpha) lies within (edge, 1 - edge), by integration in u = x**alpha."""
    u = np.linspace(0.0, 0.5**alpha, 200_001)
    density = (1 - u ** (1 / alpha)) ** (alpha - 1)
    inside = u >= edge**alpha
    return float(np.trapezoid(density[inside], u[inside]) / np.trapezoid(density, u))


def test_freq_mixstyle_comes_as_often_as_asked_and_passes_no_gradient_through_statistics() -> None:
    x = torch.randn(4, 1, 3, 10)
    generator = seeded(0)
    unchanged = sum(freq_mixstyle(x, 0.4, 0.3, generator) is x for _ in range(500))
    assert 250 < unchanged < 350
    leaf = x.clone().requires_grad_()
    freq_mixstyle(leaf, 1.0, 0.3, seeded(2)).sum().backward()
    assert leaf.grad is not None
    # With constant statistics the gradient of the sum is one positive factor per item and frequency.
    assert torch.allclose(leaf.grad, leaf.grad[..., :1].expand_as(leaf.grad))
    assert (leaf.grad > 0).all()
