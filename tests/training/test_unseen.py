"""Simulated unseen devices against whole clips convolved by scipy."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from tinyscene.runtime.errors import InputError
from tinyscene.training.batches import TrainingData
from tinyscene.training.data.cache import SnippetCache, open_cache
from tinyscene.training.data.corpus import read_corpus
from tinyscene.training.metrics import evaluate_logits
from tinyscene.training.unseen import simulate_devices

RATE_HZ = 32_000


def write_clips(folder: Path, prefix: str = "") -> Path:
    """Clips of 1 to 4 s in two scenes."""
    rng = np.random.default_rng(0)
    for scene in ("bus", "park"):
        (folder / scene).mkdir(parents=True)
        for seconds in (1, 2, 3, 4):
            wave = 0.05 * rng.standard_normal(seconds * RATE_HZ)
            soundfile.write(folder / scene / f"{prefix}{seconds}.wav", wave, RATE_HZ, subtype="PCM_16")
    return folder


def write_responses(folder: Path, longest_s: float, gain: float = 1.0) -> dict[str, np.ndarray]:
    """Three responses of noise that decays by 40 dB, the longest `longest_s` long."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    responses = {}
    for name, share in (("far", 1.0), ("hall", 0.6), ("near", 0.0)):
        n = max(1, round(share * longest_s * RATE_HZ))
        response = gain * rng.standard_normal(n) * 10 ** (-2 * np.arange(n) / n)
        responses[f"{name}.wav"] = response.astype(np.float32)
        soundfile.write(folder / f"{name}.wav", responses[f"{name}.wav"], RATE_HZ, subtype="FLOAT")
    return responses


@pytest.fixture
def cache(tmp_path: Path) -> SnippetCache:
    return open_cache(read_corpus(write_clips(tmp_path / "corpus")), tmp_path / "cache")


@pytest.mark.parametrize("longest_s", [1 / RATE_HZ, 0.4, 1.0, 2.3])
def test_snippets_are_cut_from_whole_convolved_clips(cache: SnippetCache, tmp_path: Path, longest_s: float) -> None:
    responses = write_responses(tmp_path / "responses", longest_s, gain=0.02)
    unseen = simulate_devices(cache, tmp_path / "responses")
    rows = unseen.waves[np.arange(len(cache))]
    assert (rows.shape, rows.dtype) == (cache.waves.shape, np.int16)
    assert set(unseen.devices) == {f"unseen:{name}" for name in responses}
    for clip in range(8):
        snippets = cache.of_clips([clip])
        (device,) = set(unseen.device[snippets])  # one a clip
        response = responses[unseen.devices[device].removeprefix("unseen:")]
        wave = cache.waves[snippets].reshape(-1).astype(np.float64)
        expected = scipy.signal.fftconvolve(wave, response.astype(np.float64))[: len(wave)]
        # Half a step of rounding, and that once more where the two fall to different sides of it.
        assert np.abs(rows[snippets].reshape(-1) - expected).max() < 0.5 + 1e-6


def test_rows_do_not_depend_on_what_they_are_gathered_with(cache: SnippetCache, tmp_path: Path) -> None:
    write_responses(tmp_path / "responses", 0.5)
    waves = simulate_devices(cache, tmp_path / "responses").waves
    whole = waves[:]
    order = np.random.default_rng(0).permutation(len(cache))
    np.testing.assert_array_equal(waves[order], whole[order])
    np.testing.assert_array_equal(waves[order.reshape(4, 5)], whole[order].reshape(4, 5, RATE_HZ))
    np.testing.assert_array_equal(waves[7], whole[7])
    assert waves[order[:0]].shape == (0, RATE_HZ)
    assert len(waves) == len(whole) == 20


def test_too_loud_is_clipped_not_wrapped(cache: SnippetCache, tmp_path: Path) -> None:
    responses = write_responses(tmp_path / "responses", 1 / RATE_HZ, gain=300.0)
    unseen = simulate_devices(cache, tmp_path / "responses")
    gain = np.array([responses[name.removeprefix("unseen:")][0] for name in unseen.devices])[unseen.device]
    expected = np.clip(np.rint(cache.waves * gain[:, None].astype(np.float64)), -32768, 32767)
    assert (np.abs(expected) >= 32767).mean() > 0.5
    np.testing.assert_allclose(unseen.waves[:], expected, atol=1)


def test_everything_else_stays_and_the_choice_is_the_audio_s(cache: SnippetCache, tmp_path: Path) -> None:
    write_responses(tmp_path / "responses", 0.1)
    unseen = simulate_devices(cache, tmp_path / "responses")
    assert len(unseen) == len(cache)
    assert np.array_equal(unseen.label, cache.label)
    assert np.array_equal(unseen.of_clips([3, 1]), cache.of_clips([3, 1]))
    assert len({cache.data_hash, unseen.data_hash}) == 2
    # Elsewhere and under other names the clips keep their responses.
    moved = open_cache(read_corpus(write_clips(tmp_path / "moved", prefix="take")), tmp_path / "cache")
    assert np.array_equal(simulate_devices(moved, tmp_path / "responses").device, unseen.device)
    assert len(set(unseen.device)) > 1
    (tmp_path / "responses" / "near.wav").rename(tmp_path / "responses" / "nearest.wav")
    assert simulate_devices(cache, tmp_path / "responses").data_hash != unseen.data_hash


def test_a_copy_in_another_process_gives_the_same_rows(cache: SnippetCache, tmp_path: Path) -> None:
    write_responses(tmp_path / "responses", 0.5)
    unseen = simulate_devices(cache, tmp_path / "responses")
    copy = pickle.loads(pickle.dumps(unseen))  # as a loader's worker processes get it
    np.testing.assert_array_equal(copy.waves[:], unseen.waves[:])
    assert copy.devices == unseen.devices


def test_metrics_call_the_devices_unseen(tiny_data: TrainingData, tmp_path: Path) -> None:
    write_responses(tmp_path / "responses", 0.1)
    data = replace(tiny_data, cache=simulate_devices(tiny_data.cache, tmp_path / "responses"))
    truth = data.cache.label[data.evaluate]
    metrics = evaluate_logits(
        np.eye(3, dtype=np.float32)[truth],
        truth,
        data.labels,
        device=data.cache.device[data.evaluate],
        device_names=data.cache.devices,
        seen_devices=data.seen_devices,
    )
    assert metrics["groups"] == {"unseen": 1.0}


def test_folders_without_responses_are_refused(cache: SnippetCache, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of impulse responses"):
        simulate_devices(cache, tmp_path / "absent")
