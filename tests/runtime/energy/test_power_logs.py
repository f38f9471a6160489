"""Logs by file: CSV, MLPerf's two formats, and marks."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyscene.runtime.energy.csv import COLUMNS, parse_csv, write_csv
from tinyscene.runtime.energy.logfile import LogMeter
from tinyscene.runtime.energy.marks import Block, Marks, parse_marks, read_marks, write_marks
from tinyscene.runtime.energy.meter import PowerTrace
from tinyscene.runtime.energy.mlperf import parse_mlperf, parse_spl, parse_tiny
from tinyscene.runtime.errors import InputError

# Two lines as MLCommons' power daemon wrote them, from the example logs of its repository power-dev.
SPL = """\
Time,12-23-2020 10:21:51.496,Watts,23.430000,Volts,228.370000,Amps,0.204280,PF,0.502300,Mark,testing-workload
Time,12-23-2020 10:21:52.505,Watts,33.520000,Volts,228.400000,Amps,0.281990,PF,0.520500,Mark,testing-workload
"""


def tiny(samples: list[float], first: int, last: int, iterations: int = 10) -> dict[str, object]:
    """A window in the form of the MLPerf Tiny runner's results.json."""
    return {
        "file": "emu_s_002009.bin",
        "infer": {"results": [0.0, 0.621], "iterations": iterations, "warmups": 0},
        "power": {"samples": samples, "timestamps": [["08", first], ["09", last]], "voltage": 3.3},
        "mode": "e",
    }


@pytest.mark.parametrize(
    ("text", "watts"),
    [
        ("t_s,power_w\n0,1.5\n0.5,2\n", [1.5, 2.0]),
        ("T_ms, Power_mW\n0,1500\n500,2000\n", [1.5, 2.0]),
        ("index,t_us,current_ua,voltage_mv\n1,0,300000,5000\n2,500000,400000,5000\n", [1.5, 2.0]),
        ("\ufeff# a comment\n\nt_s,current_a,voltage_v,note\n0,0.3,5,a\n\n0.5,0.4,5,b\n", [1.5, 2.0]),
    ],
)
def test_columns_and_their_units(text: str, watts: list[float]) -> None:
    trace = parse_csv(text, "log.csv")
    assert trace.t_s == pytest.approx([0, 0.5], abs=1e-12)
    assert trace.power_w == pytest.approx(watts, rel=1e-12)
    assert (trace.clock, trace.kind) == ("log", "measured")


def test_a_log_says_whether_it_is_an_estimate_and_what_it_covers() -> None:
    trace = parse_csv("# kind: estimated\n# covers: one rail\nt_s,power_w\n1700000000,1\n1700000001,1\n", "x")
    assert (trace.kind, trace.covers, trace.clock) == ("estimated", "one rail", "unix")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "log.csv has no header"),
        ("# kind: guessed\nt_s,power_w\n", "its kind is 'guessed'"),
        ("t_s,watts\n0,1\n", "log.csv line 1: columns 't_s, watts', expected t_s and power_w"),
        ("t_s,current_a\n0,1\n", "line 1: columns"),
        ("t_s,t_ms,power_w\n", "line 1: column 't_ms' gives the t a second time"),
        ("t_s,power_w\n0,1\n\n1\n", "line 4: 1 values, expected 2"),
        ("# x\nt_s,power_w\n0,1\n1,one\n", "line 4: power_w is 'one', expected a number"),
        ("t_s,power_w\n0,1\n1,inf\n", "line 3: power_w is 'inf'"),
        ("t_s,power_w\n1,1\n0,1\n", "line 3: time 0.0 s comes after 1.0 s"),
        ("t_s,power_w\n1,1\n", "two samples or more"),
    ],
)
def test_a_line_that_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_csv(text, "log.csv")


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(-100, 1e4)), min_size=2, max_size=20),
    st.sampled_from(["measured", "estimated"]),
)
def test_a_trace_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, samples: list[tuple[float, float]], kind: str
) -> None:
    times = np.cumsum([step for step, _ in samples])
    powers = np.array([power for _, power in samples])
    path = tmp_path_factory.getbasetemp() / "kept.csv"
    write_csv(path, PowerTrace(times, powers, kind=kind, covers="a\nb"), 1.7e9)  # type: ignore[arg-type]
    trace = parse_csv(path.read_text(), "kept.csv")
    assert trace.power_w.tolist() == powers.tolist()
    assert trace.t_s == pytest.approx(times + 1.7e9, abs=1e-6)
    assert (trace.kind, trace.covers, trace.clock) == (kind, "a b", "unix")


CELLS = st.sampled_from(
    ["t_s", "power_w", "current_ma", "voltage_v", "0", "1", "2.5", "nan", "1e400", "-1", "#", "x", ""]
)


@given(st.text() | st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=6).map("\n".join))
def test_any_text_is_a_csv_or_refused(text: str) -> None:
    said = None
    try:
        assert len(parse_csv(text, "log").t_s) >= 2
    except InputError as error:
        said = str(error)
    assert said is None or "log" in said


def test_every_column_has_a_unit_in_its_name() -> None:
    assert {name.rpartition("_")[2] for name in COLUMNS} == {
        "s",
        "ms",
        "us",
        "w",
        "mw",
        "uw",
        "a",
        "ma",
        "ua",
        "v",
        "mv",
    }


def test_an_spl_log_by_local_time_and_by_utc() -> None:
    trace = parse_spl(SPL, "spl.txt", utc=True)
    start = datetime(2020, 12, 23, 10, 21, 51, 496000, timezone.utc).timestamp()
    assert trace.t_s == pytest.approx([start, start + 1.009], abs=1e-6)
    assert trace.power_w.tolist() == [23.43, 33.52]
    assert (trace.clock, trace.kind) == ("unix", "measured")
    local = parse_mlperf(SPL, "spl.txt")[0]
    assert local.t_s[0] == pytest.approx(datetime(2020, 12, 23, 10, 21, 51, 496000).timestamp(), abs=1e-6)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Time,23-12-2020 10:21:51.496,Watts,1", "line 3: time '23-12-2020"),
        ("Time,12-23-2020 10:21:53.496,Watts,-1.0", "line 3: Watts is '-1.0', expected 0 or more"),
        ("Time,12-23-2020 10:21:53.496,Volts,1", "line 3 is"),
        ("Time,12-23-2020 10:21:52.496,Watts,1", "line 3: time goes back"),
    ],
)
def test_a_wrong_line_of_an_spl_log_is_named(line: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_spl(SPL + line, "spl.txt")


def test_a_tiny_session_brings_its_blocks_and_its_millijoules() -> None:
    windows = [tiny([9e-5] * 50 + [8e-5] * 100 + [9e-5] * 10, 50, 150), tiny([7e-5] * 30, 10, 30, 2)]
    trace, marks = parse_tiny(json.dumps(windows), "results.json")
    assert marks.blocks == (
        Block("active", 0, pytest.approx(0.05), pytest.approx(0.15), 10),
        Block("active", 1, pytest.approx(0.17), pytest.approx(0.19), 2),
    )
    assert trace.energy_j(0.05, 0.15) == pytest.approx(100 * 8e-5, rel=1e-9)
    assert trace.energy_j(0.0, 0.19) == pytest.approx(60 * 9e-5 + 100 * 8e-5 + 30 * 7e-5, rel=1e-9)


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ({}, "window 0 has no 'power' and 'infer'"),
        (tiny([1.0], 0, 2), "inferences from sample 0 to 2 of 1"),
        (tiny([1.0], 0, 1, 0), "0 iterations"),
        (tiny([[0, 1, 2]], 0, 1), "expected to be joules"),  # type: ignore[list-item]
    ],
)
def test_a_wrong_window_is_named(window: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_tiny(json.dumps([window]), "results.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["power", "infer", "samples", "timestamps", "iterations", "kind", "group", "start_s", "end_s"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.text() | JSON.map(lambda value: json.dumps([value])) | st.text().map(lambda text: SPL + text))
def test_any_text_is_a_log_of_mlperf_or_refused(text: str) -> None:
    said = None
    try:
        parse_mlperf(text, "log")
    except InputError as error:
        said = str(error)
    assert said is None or "log" in said


BLOCKS = (Block("idle", 0, 1.7e9, 1.7e9 + 5), Block("active", 0, 1.7e9 + 5, 1.7e9 + 10.25, 812))


def test_marks_are_read_as_they_were_written(tmp_path: Path) -> None:
    marks = Marks(BLOCKS, "unix", 0.25)
    write_marks(tmp_path / "marks.jsonl", marks)
    assert read_marks(tmp_path / "marks.jsonl") == marks
    with pytest.raises(InputError, match="mean nothing to another instrument"):
        write_marks(tmp_path / "other.jsonl", Marks(BLOCKS, "monotonic"))
    with pytest.raises(InputError, match="cannot read"):
        read_marks(tmp_path / "nothing.jsonl")


HEAD = '{"schema": "tinyscene.energy_marks/1", "clock": "unix", "hop_s": 0.25}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ('{"schema": "tinyscene.bench/1"}', "line 1: expected schema"),
        (HEAD.replace("0.25", "-1"), "line 1: hop_s is -1"),
        (HEAD + "[1]", "line 2: expected an object"),
        (HEAD + "{", "line 2 is not JSON"),
        (HEAD + '{"kind": "busy"}', "line 2: kind is 'busy'"),
        (
            HEAD + '{"kind": "idle", "group": 0, "start_s": 2, "end_s": 1, "inferences": 0}',
            "expected start_s below end_s",
        ),
        (HEAD + '{"kind": "idle", "group": 0, "start_s": NaN, "end_s": 1, "inferences": 0}', "from nan to 1"),
        (HEAD + '{"kind": "idle", "group": true, "start_s": 0, "end_s": 1, "inferences": 0}', "whole numbers"),
        (HEAD + '{"kind": "idle", "group": 0, "start_s": 0, "end_s": 1, "inferences": 3}', "in a block that is idle"),
        (
            HEAD + '{"kind": "idle", "group": 0, "start_s": 0, "end_s": 2, "inferences": 0}\n' * 2,
            "line 3: begins before",
        ),
    ],
)
def test_a_wrong_mark_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_marks(text, "marks.jsonl")


@given(st.text() | st.lists(JSON, max_size=3).map(lambda values: HEAD + "\n".join(map(json.dumps, values))))
def test_any_text_is_marks_or_refused(text: str) -> None:
    said = None
    try:
        parse_marks(text, "marks")
    except InputError as error:
        said = str(error)
    assert said is None or "marks" in said


def test_a_log_is_shifted_to_when_it_began(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("t_s,power_w\n0,1\n1,1\n")
    meter = LogMeter(path, lambda text, name: (parse_csv(text, name), None), 1.7e9)
    meter.start()
    trace = meter.stop()
    assert (trace.clock, trace.t_s.tolist()) == ("unix", [1.7e9, 1.7e9 + 1])
    with pytest.raises(InputError, match="give the file the instrument writes"):
        LogMeter(tmp_path / "none.csv", lambda text, name: (parse_csv(text, name), None)).stop()
