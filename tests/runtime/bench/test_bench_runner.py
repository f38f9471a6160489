"""`tinyscene bench`'s live runs: a process of their own, a record, a line in the results file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
from processes import json_lines

from tinyscene.runtime import verbs_bench
from tinyscene.runtime.bench.results import read_results
from tinyscene.runtime.bench.runner import RunSettings, hops, run_engine
from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.cli import main
from tinyscene.runtime.energy.result import EnergyResult, Figure, Overhead
from tinyscene.runtime.errors import InputError, UnavailableError
from tinyscene.runtime.machine.state import MachineState
from tinyscene.runtime.machine.throttle import Throttle

SHORT = RunSettings("litert", seconds=0.3, paced=False, starts=1)

HOT = MachineState("2026-01-02T03:04:05.000+00:00", "ondemand", 1500.0, 85.0, Throttle.from_bits(0x60006), "cpu")

#: Made up: no meter gave it.
ENERGY = EnergyResult(
    meter="a simulated meter",
    kind="estimated",
    covers="nothing",
    idle_w=Figure(2.0, 1.9, 2.1),
    active_w=Figure(3.0, 2.9, 3.1),
    above_idle_j=Figure(0.004, 0.0039, 0.0041),
    total_j=Figure(0.012, 0.011, 0.013),
    inference_s=0.004,
    hop_s=0.25,
    hour_j=Figure(7257.6),
    battery=None,
    battery_days=None,
    groups=8,
    groups_dropped=0,
    inferences=1000,
    settle_s=1.0,
    drift_w_per_h=math.nan,
    samples=100,
    interval_s=0.1,
    jitter_ms=None,
    missed=0,
    overhead=Overhead(None),
    warnings=(),
)


@pytest.fixture(scope="module")
def run(bundle: Bundle) -> dict[str, object]:
    """A short run on a machine that is simulated to throttle, with a simulated meter."""
    done = []

    def energy_of(run_once: object, hop_s: float) -> EnergyResult:
        assert callable(run_once)
        done.extend(run_once() for _ in range(3))
        assert hop_s == 0.25
        return ENERGY

    fields = run_engine(bundle, SHORT, energy_of, read=lambda: HOT)
    assert [round(decision.t_s, 3) for decision in done] == [1.0, 1.25, 1.5]
    return json.loads(json.dumps(fields, default=str))


def test_a_run_holds_everything_that_a_figure_needs(run: dict, bundle: Bundle) -> None:
    assert run["bundle"]["model_sha256"] == bundle.files["model.tflite"]
    assert (run["engine"], run["engine_name"], run["threads"], run["hop_ms"]) == ("litert", "LiteRT default", 1, 250.0)
    latency = run["latency"]
    stages = latency["stages"]
    assert set(stages) == {"resample", "features", "engine", "smoothing", "latency"}
    for stage in stages.values():
        assert 0 < stage["p50_ms"] <= stage["p90_ms"] <= stage["p99_ms"] <= stage["max_ms"]
    # The warm-up is shown and not counted.
    assert [len(values) for values in latency["warm_up_ms"].values()] == [3, 3, 3, 3, 3]
    assert stages["engine"]["count"] == latency["decisions"] - 3
    assert stages["latency"]["p50_ms"] > stages["engine"]["p50_ms"]
    delay = latency["algorithmic_delay"]
    assert latency["microphone_to_decision"]["p50_ms"] == delay["total_ms"] + stages["latency"]["p50_ms"]
    assert "count" not in latency["microphone_to_decision"]
    (start,) = run["start_up"]["runs"]
    parts = [value for name, value in start.items() if name != "total_s"]
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(start["total_s"])
    assert set(start) == {"total_s", *(f"{part}_s" for part in START_PARTS)}
    assert run["memory"]["peak_rss_bytes"] >= run["memory"]["rss_bytes"] > 10e6
    assert run["real_time_factor"] > 0
    assert run["energy"]["above_idle_j"] == {"value": 0.004, "low": 0.0039, "high": 0.0041}
    assert run["energy_note"] is None


START_PARTS = ("interpreter", "imports", "bundle", "engine", "first_decision")


def test_a_throttled_run_is_invalid(run: dict) -> None:
    assert run["validity"]["valid"] is False
    assert "frequency capped (at most 85.0 C)" in run["validity"]["reasons"]
    assert "throttled (at most 85.0 C)" in run["validity"]["reasons"]
    assert run["temperature_c"] == {"before": 85.0, "highest": 85.0, "after": 85.0, "sensor": "cpu"}
    assert run["frequency_mhz"] == {"before": 1500.0, "lowest": 1500.0, "after": 1500.0}
    assert run["throttle"]["after"]["capped"] is True


def test_a_meter_that_fails_costs_the_energy_only(bundle: Bundle) -> None:
    def energy_of(run_once: object, hop_s: float) -> EnergyResult:
        raise UnavailableError("the instrument was unplugged")

    fields = run_engine(bundle, SHORT, energy_of, read=lambda: HOT)
    assert (fields["energy"], fields["energy_note"]) == (None, "not measured: the instrument was unplugged")
    assert fields["latency"]["decisions"] > 3


def test_each_hop_makes_one_decision(bundle: Bundle) -> None:
    heard = list(islice(hops(bundle, replace(SHORT, hop_ms=100.0)), 40))
    assert np.diff([decision.t_s for decision in heard]) == pytest.approx(6 * 500 / 32_000)  # whole frames


def test_what_is_wrong_in_the_child_is_told_here(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown engine 'litter': did you mean 'litert'"):
        run_engine(bundle, replace(SHORT, engine="litter"))
    with pytest.raises(InputError, match=r"hop is 0\.0 ms"):
        run_engine(bundle, replace(SHORT, hop_ms=0.0))
    with pytest.raises(InputError, match="--listen-s"):
        RunSettings("litert", seconds=math.inf)
    soundfile.write(tmp_path / "broken.wav", np.zeros(10), 48_000)
    (tmp_path / "broken.wav").write_bytes((tmp_path / "broken.wav").read_bytes()[:20])
    with pytest.raises(InputError, match=r"broken\.wav"):
        run_engine(bundle, replace(SHORT, clip=tmp_path / "broken.wav"))


def test_a_child_that_dies_is_an_error_with_its_last_words(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nonexistent")  # the interpreter itself cannot start
    with pytest.raises(UnavailableError, match="the engine litert ended its process with exit code 1: "):
        run_engine(bundle, SHORT)


def test_the_verb_end_to_end(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = (["litert"], [("coral", "no Edge TPU is plugged in")])
    monkeypatch.setattr(verbs_bench, "_engines", lambda bundle, wanted: found)
    file = tmp_path / "bench.jsonl"
    command = ["bench", str(bundle.path), "--seconds", "0.1", "--no-rows", "--starts", "1", "--out", str(file)]
    assert main([*command, "--listen-s", "1.6", "--hop-ms", "125"]) == 0
    shown = capsys.readouterr()
    assert "| LiteRT default, 1 thr |" in shown.out
    assert "| not measured: no Edge TPU is plugged in |" in shown.out
    assert "1.6 s of a generated sound at 48000 Hz, at a microphone's pace" in shown.out
    assert "2 runs are too few" in shown.out  # five decisions without the three of the warm-up
    assert "energy: not measured, no meter was named" in shown.out
    assert main([*command, "--fast", "--json"]) == 0
    first, second = json_lines(capsys.readouterr().out)
    assert first["schema"] == "tinyscene.bench_run/1"
    assert second == {
        "schema": "tinyscene.bench_unavailable/1", "engine": "coral", "why": "no Edge TPU is plugged in",
    }  # fmt: skip
    runs, problems = read_results(file)
    assert problems == []
    assert [found["source"]["paced"] for found in runs] == [True, False]
    assert runs[1] == first


def test_a_meter_that_is_not_there_is_exit_code_3_and_the_run_is_kept(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.jsonl"
    command = ["bench", str(bundle.path), "--no-rows", "--starts", "1", "--listen-s", "0.1", "--fast"]
    assert main([*command, "--engine", "litert", "--out", str(file), "--meter", "hwmon:tinyscene_none"]) == 3
    (found,), _ = read_results(file)
    assert found["energy_note"].startswith("not measured: ")
    assert "energy: not measured: " in capsys.readouterr().out


def test_nothing_is_written_when_nobody_wants_it(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["bench", str(bundle.path), "--no-rows", "--starts", "1", "--listen-s", "0.1", "--fast"]
    assert main([*command, "--engine", "litert", "--out", "-"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert main([*command, "--engine", "nonsense", "--out", "-"]) == 2
    assert "unknown engine 'nonsense'" in capsys.readouterr().err


def test_marks_are_of_one_engine(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle.path), "--meter", "csv:log.csv", "--energy-marks", str(tmp_path / "marks")]) == 2
    assert "name it with --engine" in capsys.readouterr().err
