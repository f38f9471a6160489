"""Training speed: that the measured step trains, that what it is compared with computes the same, and the tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tinyscene.runtime.bench.rows import generated_clip
from tinyscene.runtime.frontend_spec import STUDENT
from tinyscene.training import bench, bench_plain, bench_training
from tinyscene.training.batches import open_data, step_generator


def test_the_measured_step_trains() -> None:
    samples = (torch.from_numpy(generated_clip(STUDENT)) * 32767).to(torch.int16).repeat(4, 1)
    step, generator = bench.TrainingStep("cpm", {"base_channels": 8}), step_generator(0, 0, 0)
    before = [parameter.clone() for parameter in step.model.parameters()]
    wave = step.augment(samples, generator)
    assert not torch.equal(wave, samples / 32768)
    assert torch.isfinite(step.network(step.log_mel(wave, generator)))
    changed = [not torch.equal(a, b) for a, b in zip(before, step.model.parameters(), strict=True)]
    assert all(changed)


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "BATCH", 2)
    monkeypatch.setattr(bench, "available_cores", lambda: 1)  # tests share the machine
    threads = torch.get_num_threads()
    context = SimpleNamespace(wave=generated_clip(STUDENT), seconds=0.0)
    rows = list(bench.rows(context))  # type: ignore[arg-type]
    assert torch.get_num_threads() == threads
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert {"training, student, base 8", "training, CP-ResNet, base 32", "log-mel alone, cpm"} <= set(names)
    for row in rows:
        assert row.unit == "clips/s"
        assert row.value is not None
        assert row.value > 0


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tests share the machine, where threads that wait for each other lose most."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> bench_training.Sides:
    folder = tmp_path_factory.mktemp("sides")
    files = bench_training.write_clips(folder / "clips", 12, 32_000, "PCM_16")
    cache = open_data(folder / "clips", 1, None, folder / "cache", None).cache
    batches = [np.array([3, 0, 11, 7]), np.array([5, 6, 2])]
    return bench_training.Sides(files, files, cache, batches, torch.device("cpu"))


def inputs(make: Callable[..., None], *arguments: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    make(bench.TrainingStep("cpm", {"base_channels": 8}), found.append, *arguments)
    return found


def test_clip_by_clip_computes_the_same(sides: bench_training.Sides) -> None:
    ours = inputs(sides.pipeline)
    plain = inputs(sides.plain, sides.loader(sides.files))
    workers = inputs(sides.plain, sides.loader(sides.files, 1))
    for mine, theirs, parallel in zip(ours, plain, workers, strict=True):
        # Float32 sums of 32,000 products in another order, seen through a logarithm near its offset.
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-3)
        assert (mine - theirs).abs().mean() < 1e-5
        assert torch.equal(theirs, parallel)
    # Other draws would show: the same clips without them are far away.
    step = bench.TrainingStep("cpm", {"base_channels": 8})
    unvaried = step.features(torch.from_numpy(sides.cache.rows(sides.batches[0])).float() / 32768)
    assert (ours[0] - unvaried).abs().mean() > 0.05


def test_clip_by_clip_resamples_what_was_recorded_at_another_rate(tmp_path: Path) -> None:
    files = bench_training.write_clips(tmp_path, 2, 44_100, "PCM_24")
    wave = bench_plain.PlainClips(files, [])[bench_plain.Item(0, None, 0)]
    assert wave.shape == (32_000,)
    assert 0.05 < wave.std() < 0.1  # white noise of 0.1 without what was above 16 kHz


def test_tables(sides: bench_training.Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = bench.NETWORKS[:1]
    monkeypatch.setattr(bench_training, "NETWORKS", networks)
    compared = bench_training.compare(sides, rounds=1, cores=0)
    assert [row[0] for row in compared] == ["no network, inputs alone", "student, base 8"]
    assert all(row[1] / row[2] == pytest.approx(row[3], rel=0.1) for row in compared)
    names = [name for name, *_ in bench_training.stages(sides, rounds=1)]
    assert {"gather from the cache", "Freq-MixStyle", "forward, backward, Adam: student, base 8"} <= set(names)
    # 1 ms for the inputs of a clip: a network that doubles it takes half of a step.
    said = bench_training.limits([["inputs", 1000], ["small", 800], ["large", 100]])
    assert said == [
        "small: the pipeline limits (the network takes 20% of a step)",
        "large: the network limits (the network takes 90% of a step)",
    ]


def test_without_scipy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "scipy.signal", None)
    monkeypatch.setattr(sys, "argv", ["bench_training"])
    assert bench_training.main() == 3
    assert "pip install 'tinyscene[dev]'" in capsys.readouterr().err
