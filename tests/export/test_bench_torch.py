"""The torch row of `tinyscene bench`."""

from __future__ import annotations

from pathlib import Path

import torch

from tinyscene.export.bench import rows
from tinyscene.runtime.bench.rows import context
from tinyscene.runtime.bundle import load_bundle


def test_torch_row_is_measured_and_leaves_the_threads_alone(bundle: Path) -> None:
    threads = torch.get_num_threads()
    (row,) = rows(context(load_bundle(bundle), None, 0.05))
    assert row.name == "torch, float"
    assert row.p50_ms is not None
    assert row.p99_ms is not None
    assert 0 < row.p50_ms <= row.p99_ms
    assert torch.get_num_threads() == threads
