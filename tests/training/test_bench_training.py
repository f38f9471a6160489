"""The training rows of `tinyscene bench`: that a step trains, and that every row is a rate."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tinyscene.runtime.bench import generated_clip
from tinyscene.runtime.frontend_spec import STUDENT
from tinyscene.training import bench


def test_the_measured_step_trains() -> None:
    samples = (torch.from_numpy(generated_clip(STUDENT)) * 32767).to(torch.int16).repeat(4, 1)
    step = bench.TrainingStep("cpm", {"base_channels": 8}, samples)
    before = [parameter.clone() for parameter in step.model.parameters()]
    wave = step.augment()
    assert not torch.equal(wave, samples / 32768)
    assert torch.isfinite(step.network(step.log_mel(wave)))
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
