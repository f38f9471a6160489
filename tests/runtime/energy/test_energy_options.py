"""The options, the text that names a meter, what is printed, and the verb."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_power import SimulatedDevice, hwmon_tree

from tinyscene.runtime.cli import Verb
from tinyscene.runtime.energy import catalogue, hwmon
from tinyscene.runtime.energy.csv import write_csv
from tinyscene.runtime.energy.join import join
from tinyscene.runtime.energy.logfile import LogMeter
from tinyscene.runtime.energy.marks import write_marks
from tinyscene.runtime.energy.method import Plan, measure_blocks, measure_energy
from tinyscene.runtime.energy.options import add_arguments, measure, open_battery
from tinyscene.runtime.energy.result import (
    NO_METER,
    Battery,
    EnergyResult,
    Figure,
    battery_of,
    energy_cells,
    energy_columns,
    energy_text,
    format_figure,
)
from tinyscene.runtime.energy.verbs import ENERGY
from tinyscene.runtime.errors import InputError, TinysceneError
from tinyscene.runtime.output import Output


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


def result_of(device: SimulatedDevice, **options: object) -> EnergyResult:
    plan = Plan(groups=4, block_s=1.0, settle_s=0.1)
    return measure_energy(device, device.infer, plan, clock=device.clock, sleep=device.sleep, **options)  # type: ignore[arg-type]


def test_measured_and_estimated_never_share_a_column() -> None:
    measured, estimated = SimulatedDevice(), SimulatedDevice()
    estimated.kind = "estimated"
    assert energy_columns() == ("mJ above idle, measured", "mJ above idle, estimated")
    assert energy_cells(result_of(measured)) == ("10.0 (10.0 to 10.0)", None)
    assert energy_cells(result_of(estimated)) == (None, "10.0 (10.0 to 10.0)")
    assert energy_cells(None) == (None, None)


def test_what_a_person_reads_says_kind_coverage_and_battery() -> None:
    device = SimulatedDevice(noise_w=0.05)
    device.kind = "estimated"
    text = energy_text(result_of(device, hop_s=0.25, battery=Battery(37.0, 0.8)))
    assert "energy, estimated by simulated device; sees a simulation" in text
    assert "every 250 ms" in text
    assert "J (estimated)" in text
    assert "37 Wh, 80% of it usable" in text
    assert "days (estimated)" in text
    assert "measured" not in text
    assert energy_text(None) == NO_METER
    assert "not measured" in NO_METER


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(0.0123456, 0.0121, 0.0126), "12.35 (12.10 to 12.60) mJ"),
        (Figure(1.5, 1.0, 2.0), "1500 (1000 to 2000) mJ"),
        (Figure(0.002, float("nan"), float("nan")), "2.00 mJ"),
        (Figure(), "not known"),
    ],
)
def test_digits_follow_the_interval(figure: Figure, text: str) -> None:
    assert format_figure(figure, 1e3, "mJ") == text


def test_batteries() -> None:
    assert open_battery(parsed()) is None
    assert open_battery(parsed("--capacity-wh", "37")) == Battery(37, 0.85)
    battery = open_battery(parsed("--capacity-mah", "10000", "--battery-v", "3.7", "--battery-usable", "0.8"))
    assert battery == Battery(37, 0.8)
    # 37 Wh, 80 % of it, at 2 W: 14.8 hours.
    assert battery.days(7200) == pytest.approx(14.8 / 24, rel=1e-12)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((None, 1000.0, None, 0.8), "add --battery-v"),
        ((5.0, 1000.0, 3.7, 0.8), "give one of them"),
        ((None, None, 3.7, 0.8), "without a capacity"),
        ((-1.0, None, None, 0.8), "-1.0 Wh, expected more than 0"),
        ((5.0, None, None, 1.5), "--battery-usable is 1.5"),
    ],
)
def test_half_a_battery_is_refused(values: tuple[float | None, float | None, float | None, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        battery_of(*values)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ina219", "no meter 'ina219', expected one of pi5"),
        ("pi5:raw", "no meter 'pi5:raw'"),
        ("ppk2:/dev/ttyACM0", "write the port, source or ampere"),
        ("ppk2:/dev/ttyACM0,ampere,5V", "write the port"),
        ("csv:", "csv without a file"),
    ],
)
def test_a_text_that_names_no_meter(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        catalogue.open_meter(text)


def test_texts_of_logs_and_ports() -> None:
    log = catalogue.open_meter("csv:a,b.csv,start=1700000000.5")
    assert isinstance(log, LogMeter)
    assert (log.path, log._starts_unix_s) == (Path("a,b.csv"), 1700000000.5)
    assert isinstance(catalogue.open_meter("mlperf:spl.txt,utc"), LogMeter)
    assert "5000 mV" in catalogue.open_meter("ppk2:COM3,source,5000").covers
    with pytest.raises(InputError, match="leave --meter-period-s out"):
        catalogue.open_meter("csv:x", 0.1)
    with pytest.raises(InputError, match="--meter-period-s is 0"):
        catalogue.open_meter("rapl", 0.0)


@given(st.text(max_size=20) | st.sampled_from(["csv", "mlperf", "hwmon", "rapl", "pi5"]).map(lambda name: name + ":x"))
def test_any_text_names_a_meter_or_is_refused(text: str) -> None:
    try:
        meter = catalogue.open_meter(text)
    except TinysceneError:
        return
    assert meter.name


def test_no_meter_measures_nothing_and_does_not_run() -> None:
    def never() -> None:
        raise AssertionError("ran without a meter")

    assert measure(parsed(), never, 0.25, print) is None
    with pytest.raises(InputError, match="--energy-marks without a meter"):
        measure(parsed("--energy-marks", "x"), never, 0.25, print)
    with pytest.raises(InputError, match="say where the blocks' times go"):
        measure(parsed("--meter", "csv:x"), never, 0.25, print)


def test_the_options_measure_with_a_simulated_sensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In real time on a simulated hwmon tree of constant power: nothing is added by running.

    A busy machine may keep the meter's thread waiting: a gap of 150 ms loses a block, and two groups of five may go.
    """
    hwmon_tree(tmp_path, 0, "1-0040", {"name": "ina219", "in1_input": "5000", "curr1_input": "400"})
    choose = hwmon.choose
    monkeypatch.setattr(hwmon, "choose", lambda wanted: choose(wanted, tmp_path))
    said: list[str] = []
    line = "--meter hwmon --meter-period-s 0.03 --capacity-wh 10 --energy-groups 5 --energy-block-s 0.4"
    arguments = parsed(*line.split(), "--energy-settle-s", "0.03", "--energy-order", "random")
    result = measure(arguments, lambda: sum(range(1000)), 0.25, said.append)
    assert result is not None
    assert result.total_j.value == pytest.approx(2.0 * result.inference_s, rel=1e-6)
    assert result.above_idle_j.value == pytest.approx(0.0, abs=1e-12)
    assert result.battery_days is not None
    assert result.battery_days.value == pytest.approx(10 * 0.85 / 2 / 24, rel=1e-6)
    assert said == ["energy: 5 groups of blocks of 0.4 s, 4 s in all, read by ina219@1-0040"]


def test_marks_are_written_for_a_log_and_joined_by_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A simulated device writes marks and a log as another instrument would; joined, they say its 10 mJ."""
    device, plan = SimulatedDevice(), Plan(groups=4, block_s=1.0, settle_s=0.1)
    run = measure_blocks(
        device, device.infer, plan, hop_s=0.25, clock=device.clock, sleep=device.sleep, wall=lambda: 1.7e9
    )
    assert run.trace is not None
    write_marks(tmp_path / "marks.jsonl", run.unix_marks)
    write_csv(tmp_path / "power.csv", run.trace, run.unix_minus_monotonic_s)
    result = join(tmp_path / "marks.jsonl", f"csv:{tmp_path / 'power.csv'}", settle_s=0.1)
    assert result.above_idle_j.value == pytest.approx(0.010, rel=1e-4)
    assert result.hop_s == 0.25
    with pytest.raises(InputError, match="does not say when its blocks ran"):
        join(None, f"csv:{tmp_path / 'power.csv'}")

    assert isinstance(ENERGY, Verb)
    parser = argparse.ArgumentParser()
    ENERGY.add_arguments(parser)
    line = [str(tmp_path / "marks.jsonl"), "--meter", f"csv:{tmp_path / 'power.csv'}", "--settle-s", "0.1"]
    assert ENERGY.run(parser.parse_args(line), Output(as_json=True)) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["schema"] == "tinyscene.energy/1"
    assert record["above_idle_j"]["value"] == pytest.approx(0.010, rel=1e-4)
    assert ENERGY.run(parser.parse_args([]), Output()) == 0
    assert "hwmon[:NAME]" in capsys.readouterr().out


def test_a_run_for_a_log_writes_marks_and_says_how_to_join(tmp_path: Path) -> None:
    said: list[str] = []
    marks = tmp_path / "marks.jsonl"
    short = ["--energy-groups", "3", "--energy-block-s", "0.05", "--energy-settle-s", "0.01"]
    arguments = parsed("--meter", "csv:later.csv", "--energy-marks", str(marks), *short)
    assert measure(arguments, lambda: sum(range(1000)), 0.25, said.append) is None
    assert f"tinyscene energy {marks} --meter csv:later.csv" in said[-1]
    lines = [json.loads(line) for line in marks.read_text().splitlines()]
    assert [line["kind"] for line in lines[1:5]] == ["idle", "active", "active", "idle"]
    assert len(lines) == 13
    assert measure(arguments, lambda: sum(range(1000)), 0.25, said.append) is None
    assert f"tinyscene energy {tmp_path / 'marks-2.jsonl'} " in said[-1]
    assert [json.loads(line) for line in marks.read_text().splitlines()] == lines
    assert lines[0] == {"schema": "tinyscene.energy_marks/1", "clock": "unix", "hop_s": 0.25}


def test_a_tiny_session_needs_no_marks(tmp_path: Path) -> None:
    window = {"infer": {"iterations": 10}, "power": {"samples": [8e-5] * 200, "timestamps": [["08", 50], ["09", 150]]}}
    (tmp_path / "results.json").write_text(json.dumps([window] * 5))
    result = join(None, f"mlperf:{tmp_path / 'results.json'}", settle_s=0.0)
    assert result.total_j.value == pytest.approx(100 * 8e-5 / 10, rel=1e-6)
    assert not result.above_idle_j.known


def test_the_options_import_nothing_heavy() -> None:
    code = (
        "import sys, tinyscene.runtime.energy.options, tinyscene.runtime.energy.verbs;"
        "print([n for n in ('numpy', 'serial', 'joulescope') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_the_result_is_plain_values() -> None:
    record = result_of(SimulatedDevice(), hop_s=0.25).as_dict()
    assert json.loads(json.dumps(record))["total_j"]["value"] == pytest.approx(0.03, rel=1e-9)
    assert not any(isinstance(value, np.generic) for value in record.values())
