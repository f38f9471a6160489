"""Energy of a trace against closed forms, and the sampling thread."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import poll_until

from tinyscene.runtime.energy.meter import PowerTrace, step_trace
from tinyscene.runtime.energy.sampler import Sampler, SamplingMeter
from tinyscene.runtime.errors import InputError, UnavailableError

STEPS = st.lists(st.tuples(st.floats(1e-4, 100), st.floats(-10, 1000)), min_size=1, max_size=30)


@given(STEPS, st.floats(0, 1), st.floats(0, 1), st.floats(-1e5, 2e9))
def test_energy_of_a_piecewise_constant_trace_is_the_closed_form(
    steps: list[tuple[float, float]], first: float, second: float, origin_s: float
) -> None:
    edges = np.cumsum([0.0] + [duration for duration, _ in steps])
    watts = np.array([power for _, power in steps])
    trace = step_trace(origin_s + edges[:-1], origin_s + edges[1:], watts)
    low, high = sorted((first * edges[-1], second * edges[-1]))
    overlap = np.clip(np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1]), 0, None)
    # A time of 2e9 s has a resolution of 2.4e-7 s; each edge may move by that.
    tolerance = 1e-9 * np.abs(watts).max() * edges[-1] + (len(steps) + 2) * 5e-7 * np.abs(watts).max() + 1e-12
    assert trace.energy_j(origin_s + low, origin_s + high) == pytest.approx(float(overlap @ watts), abs=tolerance)


def test_trapezoid_is_exact_for_a_ramp_with_irregular_samples() -> None:
    t = np.array([0.0, 0.1, 0.5, 0.55, 2.0])
    trace = PowerTrace(t, 1 + 3 * t)
    assert trace.energy_j(0.2, 1.7) == pytest.approx(1.5 + 1.5 * (1.7**2 - 0.2**2), rel=1e-12)
    assert trace.energy_j(0.0, 2.0) == pytest.approx(2 + 6, rel=1e-12)


@given(STEPS, st.floats(0, 1))
def test_energies_of_two_parts_add_up(steps: list[tuple[float, float]], cut: float) -> None:
    t = np.cumsum([0.0] + [duration for duration, _ in steps])
    trace = PowerTrace(t, np.array([0.5] + [power for _, power in steps]))
    middle = cut * t[-1]
    assert trace.energy_j(0, middle) + trace.energy_j(middle, t[-1]) == pytest.approx(
        trace.energy_j(0, t[-1]), rel=1e-9, abs=1e-6
    )


@pytest.mark.parametrize(
    ("times", "powers", "said"),
    [
        ([0.0], [1.0], "two samples or more"),
        ([0.0, 1.0], [1.0], "two samples or more"),
        ([0.0, 1.0, 0.5], [1.0, 1.0, 1.0], "goes back from 1.0 to 0.5 s at sample 2"),
        ([0.0, 1.0], [1.0, float("nan")], "not a finite number"),
    ],
)
def test_a_trace_that_is_none_is_refused(times: list[float], powers: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        PowerTrace(np.array(times), np.array(powers))


def test_the_sampler_keeps_its_beat_and_counts_what_a_slow_reading_overtakes() -> None:
    """The clock moves only by waiting for it: three readings take no time, the fourth three and a half periods."""
    now, late = [0.0], iter([0.0, 0.0, 0.0, 3.5])

    def read() -> tuple[float, ...]:
        now[0] += next(late, 0.0)
        return (1.0,)

    sampler = Sampler(read, 1.0, clock=lambda: now[0])

    class Waits(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            now[0] += timeout or 0.0
            return now[0] > 10.5 or self.is_set()

    sampler._stop = Waits()
    sampler.start()
    sampler._thread.join(10)
    sampler.stop()
    # Taken at 0, 1, 2; the one at 3 ends at 6.5: 4 and 5 are missed, and 6 is taken half a second late.
    assert sampler.t_s[:7].tolist() == [0.0, 1.0, 2.0, 4.75, 6.5, 7.0, 8.0]
    assert sampler.missed == 2
    assert sampler.jitter_ms is not None
    assert 0 < sampler.jitter_ms <= 500


class Scripted(SamplingMeter):
    """Gives `watts` until `failing` is set, then raises."""

    def __init__(self) -> None:
        super().__init__("scripted", "estimated", "a simulation", 0.001)
        self.failing, self.reads = False, 0

    def read(self) -> tuple[float, ...]:
        self.reads += 1
        if self.failing:
            raise UnavailableError("the sensor is gone")
        return (2.5,)


def test_a_sampling_meter_gives_what_it_read_with_its_cost() -> None:
    meter = Scripted()
    began = time.monotonic()
    meter.start()
    poll_until(lambda: meter.reads > 50)
    trace = meter.stop()
    assert set(trace.power_w) == {2.5}
    assert len(trace.t_s) == meter.reads > 50
    assert began <= trace.t_s[0] < trace.t_s[-1] <= time.monotonic()
    assert (trace.kind, trace.covers, trace.warnings) == ("estimated", "a simulation", ())
    assert trace.cpu_share is not None
    assert 0 < trace.cpu_share <= 1.05
    meter.start()  # a meter can be used again
    assert len(meter.stop().t_s) >= 2


def test_a_meter_that_fails_at_the_start_says_so_there_and_one_that_fails_later_at_the_end() -> None:
    meter = Scripted()
    meter.start()
    meter.failing = True
    poll_until(lambda: meter.reads > 20)
    with pytest.raises(UnavailableError, match=r"readings failed, expected 20% at most; the last: the sensor is gone"):
        meter.stop()
    with pytest.raises(UnavailableError, match="the sensor is gone"):
        meter.start()


def test_few_failed_readings_are_counted_and_shown() -> None:
    meter = Scripted()
    meter.start()
    poll_until(lambda: meter.reads > 50)
    before = meter.reads
    meter.failing = True
    poll_until(lambda: meter.reads > before)
    meter.failing = False
    after = meter.reads
    poll_until(lambda: meter.reads > 10 * (after - before) + after)
    trace = meter.stop()
    assert trace.missed >= 1
    assert "readings failed, the last: the sensor is gone" in trace.warnings[0]
