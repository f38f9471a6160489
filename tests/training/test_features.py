"""The torch front end against the published log-mels, the runtime's numpy one, and its own contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tinyscene.runtime.frontend import log_mel
from tinyscene.runtime.frontend_spec import CP_RESNET, PASST, STUDENT, FrontendSpec
from tinyscene.training.features import LogMel, mask_band


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("clip", ["metro_station-paris", "dcase2025_dummy", "dcase_util_acoustic_scene"])
def test_published_log_mels(shared: Path, clip: str) -> None:
    with np.load(shared / "weights" / "cp_mobile_tau22" / "golden.npz", allow_pickle=False) as golden:
        ours = LogMel(STUDENT)(torch.from_numpy(golden[f"{clip}_wave32k_0"])[None])
        np.testing.assert_allclose(ours[0, 0].numpy(), golden[f"{clip}_mel0"], atol=1e-3)


@pytest.mark.parametrize("spec", [STUDENT, CP_RESNET, PASST, FrontendSpec(clip_samples=20_001, fmin_hz=50.0)])
def test_same_as_the_runtime(spec: FrontendSpec) -> None:
    rng = np.random.default_rng(1)
    # More items than one chunk, quiet and loud: the logarithm's offset matters in the quiet ones.
    wave = (rng.standard_normal((6, spec.clip_samples)) * 10.0 ** -np.arange(6)[:, None]).astype(np.float32)
    ours = LogMel(spec)(torch.from_numpy(wave)).numpy()
    assert ours.shape == (6, 1, spec.n_mels, spec.n_frames())
    expected = np.stack([log_mel(item, spec) for item in wave])
    np.testing.assert_allclose(ours[:, 0], expected, atol=1e-3)


def test_nothing_varies_without_a_generator() -> None:
    wave = torch.randn(2, 32_000)
    varied = LogMel(STUDENT, fmax_jitter_hz=500.0, freq_mask=48, time_mask=8).train()
    assert torch.equal(varied(wave), LogMel(STUDENT)(wave))
    assert not torch.equal(varied(wave, seeded(0)), LogMel(STUDENT)(wave))
    assert torch.equal(varied(wave, seeded(3)), varied(wave, seeded(3)))


def test_jitter_moves_the_upper_limit_of_the_bank() -> None:
    wave = 0.1 * torch.randn(1, 32_000)
    jittered = LogMel(STUDENT, fmax_jitter_hz=500.0)(wave, seeded(7))
    shift = 500.0 * (2.0 * torch.rand((), generator=seeded(7)).item() - 1.0)
    assert 1 < abs(shift) < 500
    moved = FrontendSpec(fmax_hz=STUDENT.fmax_hz + shift)
    np.testing.assert_allclose(jittered[0, 0].numpy(), log_mel(wave[0].numpy(), moved), atol=1e-3)


def test_masks_are_one_band_an_item_at_the_recipe_s_value() -> None:
    x = torch.full((4000, 1, 256, 2), -7.0)
    masked = mask_band(x, 2, 48, 0.9, seeded(0))[:, 0] == 0.9
    assert torch.equal(masked.any(dim=2), masked.all(dim=2))  # whole rows
    rows = masked[:, :, 0]
    edges = torch.diff(torch.nn.functional.pad(rows.int(), (1, 1)), dim=1)
    assert (edges == 1).sum(dim=1).max() == 1  # one band
    widths = rows.sum(dim=1)
    assert widths.min() == 0
    assert widths.max() == 47
    assert abs(widths.float().mean() - 23.5) < 1  # uniform in 0 .. 47
    assert rows[:, 0].any()  # bands reach both edges
    assert rows[:, -1].any()


def test_front_end_masks_have_the_value_of_a_zero_log() -> None:
    wave = 0.01 * torch.randn(4, 32_000)
    plain = LogMel(STUDENT)(wave)
    masked = LogMel(STUDENT, time_mask=32)(wave, seeded(5))
    changed = masked != plain
    assert changed.any()
    assert torch.all(masked[changed] == (0.0 + 4.5) / 5.0)
