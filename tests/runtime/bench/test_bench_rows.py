"""`tinyscene bench`: its rows, its clip, and what it says of what is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import soundfile
from processes import json_lines

from tinyscene.runtime.bench import rows as bench
from tinyscene.runtime.bench.rows import BenchContext, BenchRow, all_rows, context, generated_clip, measure
from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.cli import main
from tinyscene.runtime.errors import InputError, UnavailableError
from tinyscene.runtime.frontend import log_mel
from tinyscene.runtime.frontend_spec import STUDENT


class SteppingClock:
    """Every reading is one millisecond after the one before."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        self.now_s += 0.001
        return self.now_s


def test_a_row_is_the_distribution_of_its_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SteppingClock()
    monkeypatch.setattr(bench, "time", clock)
    runs = 0

    def run() -> None:
        nonlocal runs
        runs += 1
        if runs > 30:  # the last ones are slow, as when a board throttles
            clock.now_s += 0.1

    row = measure("row", run, seconds=0.0)
    assert runs == 2 + bench.FEWEST_RUNS
    assert (row.p50_ms, row.p95_ms, row.p99_ms) == pytest.approx((1.0, 1.0, 1.0))
    slow = measure("row", run, seconds=1.0, per_run=4)
    assert slow.p95_ms == pytest.approx(101.0 / 4)


def test_the_generated_clip_is_always_the_same_and_sounds() -> None:
    clip = generated_clip(STUDENT)
    np.testing.assert_array_equal(clip, generated_clip(STUDENT))
    assert clip.shape == (32_000,)
    assert clip.dtype == np.float32
    assert 0.05 < np.abs(clip).max() < 1.0
    assert log_mel(clip, STUDENT).std() > 0.05


def test_the_first_second_of_a_file_is_measured_on(bundle: Bundle, tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 96_000).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", wave, 32_000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", wave[:31_000], 32_000, subtype="FLOAT")
    on = context(bundle, tmp_path / "long.wav", seconds=0.1)
    np.testing.assert_array_equal(on.wave, wave[:32_000])
    np.testing.assert_array_equal(on.log_mel, log_mel(wave[:32_000], STUDENT))
    with pytest.raises(InputError, match=r"short\.wav holds 0\.97 s, expected at least 1\.00 s"):
        context(bundle, tmp_path / "short.wav", seconds=0.1)
    with pytest.raises(InputError, match="set --seconds"):
        context(bundle, None, seconds=0.0)


def rate_rows(context: BenchContext) -> Iterator[BenchRow]:
    """An entry point that measures a rate."""
    yield BenchRow("clips", value=len(context.wave) / 1000, unit="clips/s")


def unavailable_rows(context: BenchContext) -> Iterator[BenchRow]:
    """An entry point whose package is missing, noticed only when it is run."""
    raise UnavailableError("this row needs 'torch': run `pip install 'tinyscene[train]'`")
    yield


def entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three entry points: one that measures, one whose package is missing, one that cannot even be imported."""
    found = [
        EntryPoint("missing", "tinyscene_is_not_there.bench:rows", "tinyscene.bench"),
        EntryPoint("rate", f"{__name__}:rate_rows", "tinyscene.bench"),
        EntryPoint("unavailable", f"{__name__}:unavailable_rows", "tinyscene.bench"),
    ]
    monkeypatch.setattr(bench, "entry_points", lambda group: found)


def test_every_row_is_measured_or_says_why_not(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    entries(monkeypatch)
    rows = {row.name: row for row in all_rows(context(bundle, None, seconds=0.01))}
    for name in ("front end, clip", "front end, frame", "LiteRT default, int8", "LiteRT reference, int8", "end to end"):
        row = rows.pop(name)
        assert row.p50_ms is not None, row
        assert 0 < row.p50_ms <= (row.p95_ms or 0) <= (row.p99_ms or 0)
    assert rows.pop("clips") == BenchRow("clips", value=32.0, unit="clips/s")
    assert set(rows) == {"ONNX Runtime, int8 QDQ", "ONNX Runtime, float", "missing", "unavailable"}
    assert all(row.p50_ms is None and row.note.startswith("not measured: ") for row in rows.values())
    assert (
        "has no model.onnx" in rows["ONNX Runtime, int8 QDQ"].note or "onnxruntime" in rows["ONNX Runtime, float"].note
    )
    assert "pip install" in rows["missing"].note
    assert "pip install 'tinyscene[train]'" in rows["unavailable"].note


def test_the_verb_prints_a_table_or_json(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries(monkeypatch)
    assert main(["bench", str(bundle.path), "--seconds", "0.01", "--listen-s", "0"]) == 0
    out = capsys.readouterr().out
    assert "| front end, frame " in out
    assert "32.0 clips/s" in out
    assert "ratio to LiteRT default, int8" in out
    assert main(["bench", str(bundle.path), "--seconds", "0.01", "--listen-s", "0", "--json"]) == 0
    *rows, machine = json_lines(capsys.readouterr().out)
    ratios = {row["name"]: row["ratio"] for row in rows}
    assert ratios["LiteRT default, int8"] == 1.0
    assert ratios["end to end"] > 1.0
    assert ratios["missing"] is None
    assert machine["schema"] == "tinyscene.bench_machine/1"
    assert machine["versions"]["numpy"] == np.__version__
    assert machine["processor"]
