"""Percentiles of the constant-memory histogram against numpy's, missed deadlines, warm-up, load."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyscene.runtime.machine.usage import Usage
from tinyscene.runtime.stream import meters as module
from tinyscene.runtime.stream.meters import Histogram, Meters


@given(st.lists(st.floats(2e-7, 900.0), min_size=1, max_size=300))
def test_percentiles_are_numpys_to_half_a_bin(durations_s: list[float]) -> None:
    histogram = Histogram()
    for duration in durations_s:
        histogram.record(duration)
    found = histogram.percentiles()
    assert found.count == len(durations_s)
    assert found.max_ms == 1e3 * max(durations_s)
    for percent, value in ((50, found.p50_ms), (90, found.p90_ms), (95, found.p95_ms), (99, found.p99_ms)):
        expected = 1e3 * np.percentile(durations_s, percent, method="inverted_cdf")
        assert abs(value - expected) <= 0.0051 * expected


def test_counts_weigh() -> None:
    histogram = Histogram()
    histogram.record(1e-3, count=98)
    histogram.record(1.0, count=2)
    found = histogram.percentiles()
    assert found.count == 100
    assert (round(found.p50_ms, 1), round(found.p90_ms, 1), round(found.p95_ms, 1)) == (1.0, 1.0, 1.0)
    assert round(found.p99_ms, -1) == 1000


def test_what_is_out_of_range_is_still_counted() -> None:
    histogram = Histogram()
    for duration in (0.0, -1e-9, 1e6):  # a clock may stand still between two readings
        histogram.record(duration)
    found = histogram.percentiles()
    assert found.count == 3
    assert found.max_ms == 1e9
    assert found.p50_ms < 2e-4


def test_nothing_measured_is_nan() -> None:
    found = Histogram().percentiles()
    assert found.count == 0
    assert all(math.isnan(value) for value in (found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms, found.max_ms))


def test_meters_add_up_their_stages_but_not_the_latency() -> None:
    meters = Meters()
    assert math.isnan(meters.real_time_factor)
    meters.record("features", 0.4, count=4)
    meters.record("features", 0.1, count=0)  # work that completed nothing is still work
    meters.record("engine", 0.5)
    meters.record_latency(7.0)
    meters.audio_s = 10.0
    assert math.isclose(meters.real_time_factor, 0.1)
    summary = meters.summary()
    assert list(summary) == ["resample", "features", "engine", "smoothing", "latency"]
    assert summary["features"]["count"] == 4
    assert math.isclose(summary["features"]["p50_ms"], 100.0, rel_tol=0.006)
    assert summary["latency"]["max_ms"] == 7000.0
    with meters.timed("smoothing"):
        pass
    assert meters.summary()["smoothing"]["count"] == 1


def test_a_decision_is_late_when_the_next_one_is_due() -> None:
    meters = Meters(warm_up=2, deadline_s=0.25)
    for latency_s in (9.0, 9.0, 0.001, 0.25, 0.2500001, 3.0, 0.002):  # the first two are the warm-up's
        meters.record_latency(latency_s)
    assert meters.deadline_misses == 2
    assert meters.stages["latency"].percentiles().count == 5
    assert meters.warm_up_ms["latency"] == [9000.0, 9000.0]
    endless = Meters()
    endless.record_latency(1e6)
    assert endless.deadline_misses == 0


def test_the_warm_up_is_shown_and_not_counted_but_is_work() -> None:
    meters = Meters(warm_up=1)
    meters.record("engine", 5.0)
    meters.record("features", 0.3, count=3)
    for _ in range(10):
        meters.record("engine", 0.001)
    found = meters.stages["engine"].percentiles()
    assert (found.count, found.max_ms) == (10, 1.0)
    assert meters.warm_up_ms["engine"] == [5000.0]
    assert meters.warm_up_ms["features"] == pytest.approx([100.0])
    assert meters.warm_up_ms["latency"] == []
    assert math.isclose(meters.busy_s, 5.31)


def test_load_is_this_process_over_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([Usage(0.0, 5.0, 100.0, 4), Usage(100.0, 7.0, 200.0, 4), Usage(110.0, 7.5, 203.0, 4)])
    monkeypatch.setattr(module, "read_usage", lambda: next(readings))
    meters = Meters()
    meters.begin()
    load = meters.load
    assert (load.cpu_share, load.others_share, load.wall_s) == (0.05, 0.25, 10.0)


def test_memory_is_this_process() -> None:
    memory = Meters().memory
    assert memory.rss_bytes is not None
    assert memory.peak_rss_bytes is not None
    assert 1 << 20 < memory.rss_bytes <= memory.peak_rss_bytes
