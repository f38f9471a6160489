"""Worker processes that gather batches: they are sent paths, and deliver what the training's own process would."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tinyscene.runtime.output import Output
from tinyscene.training.batches import SnippetBatches, TrainingData, train_loader
from tinyscene.training.config import load_settings
from tinyscene.training.data.mapped import packed, unpacked
from tinyscene.training.run import load_run
from tinyscene.training.session import run_config, train_network
from tinyscene.training.settings import StudentSettings

SMALL = ("base_channels=8", "batch_size=8", "threads=1", "device=cpu", "epochs=2", "evaluate_every=2")


def same(first: tuple[torch.Tensor, ...], second: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(first, second, strict=True))


def test_a_cache_travels_as_its_path(tiny_data: TrainingData) -> None:
    cache = tiny_data.cache
    cache.of_clips([0])  # what it has worked out stays behind too
    sent = pickle.dumps(cache)
    assert len(sent) < 3000 < cache.waves.nbytes / 500
    found = pickle.loads(sent)
    assert isinstance(found.waves, np.memmap)
    assert not found.waves.flags.writeable
    assert np.array_equal(found.waves, cache.waves)
    assert np.array_equal(found.of_clips([3, 1]), cache.of_clips([3, 1]))
    assert (found.devices, found.data_hash, found.path) == (cache.devices, cache.data_hash, cache.path)


def test_logits_travel_as_their_path(tiny_data: TrainingData, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "logits.npy", rng.standard_normal((len(tiny_data.train), 1000)).astype(np.float32))
    logits = np.load(tmp_path / "logits.npy", mmap_mode="r")
    batches = SnippetBatches(tiny_data.cache, tiny_data.train, logits)
    sent = pickle.dumps(batches)
    assert len(sent) < 5000 < logits.nbytes / 10
    positions = np.array([5, 0, 7])
    assert same(pickle.loads(sent)[positions], batches[positions])


def test_part_of_a_map_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(10))
    whole = np.load(tmp_path / "a.npy", mmap_mode="r")
    for part in (whole, whole[3:], whole[::2], whole[:4][1:], np.arange(3), None):
        found = unpacked(pickle.loads(pickle.dumps(packed({"x": part}))))["x"]
        assert np.array_equal(found, part)
    assert len(pickle.dumps(packed({"x": np.memmap(tmp_path / "b", np.int8, "w+", shape=100_000)}))) < 1000


def test_workers_deliver_the_same_batches(tiny_data: TrainingData) -> None:
    own, theirs = (train_loader(tiny_data, 7, seed=3, workers=workers) for workers in (0, 2))
    for epoch in (0, 1):
        for loader in (own, theirs):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        pairs = list(zip(own, theirs, strict=True))
        assert len(pairs) == 4
        assert all(same(a, b) for a, b in pairs)
    assert theirs.multiprocessing_context.get_start_method() == "spawn"  # nothing inherited: what arrives was sent


@pytest.mark.slow
def test_a_run_does_not_depend_on_its_workers(tiny_data: TrainingData, tmp_path: Path, output: Output) -> None:
    runs = []
    for workers in (0, 1):
        settings = load_settings(StudentSettings, "student", None, [*SMALL, f"workers={workers}"])
        assert "workers" not in run_config("student", settings, tiny_data)
        runs.append(train_network("student", settings, tiny_data, tmp_path / str(workers), output))
    weights = [run.weights() for run in runs]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    # The same command with another number of workers is the same run.
    assert train_network("student", settings, tiny_data, tmp_path / "0", output).files == load_run(tmp_path / "0").files
