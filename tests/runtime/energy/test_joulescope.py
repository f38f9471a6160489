"""The Joulescope meter on a stand-in module, and on the real package above a simulated driver where it is installed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tinyscene.runtime.energy.joulescope import JoulescopeMeter
from tinyscene.runtime.errors import UnavailableError


def statistic(start_s: float, end_s: float, watts: float) -> dict[str, Any]:
    """What the package hands to a callback, as far as the meter looks."""
    return {"time": {"range": {"value": [start_s, end_s]}}, "signals": {"power": {"µ": {"value": watts}}}}


class StandIn:
    """A stand-in for the package's device: `send` is a statistic of a simulated instrument."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.callback: Callable[[dict[str, Any]], None] | None = None

    def parameter_set(self, name: str, value: str) -> None:
        self.calls.append((name, value))

    def open(self) -> None:
        self.calls.append(("open",))

    def statistics_callback_register(self, callback: Callable[[dict[str, Any]], None], source: str) -> None:
        self.callback = callback

    def statistics_callback_unregister(self, callback: Callable[[dict[str, Any]], None], source: str) -> None:
        assert self.callback == callback
        self.callback = None

    def close(self) -> None:
        self.calls.append(("close",))

    def send(self, start_s: float, end_s: float, watts: float) -> None:
        assert self.callback is not None
        self.callback(statistic(start_s, end_s, watts))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A stand-in module with one instrument."""
    stand_in, module = StandIn(), ModuleType("joulescope")
    module.scan_require_one = lambda config: stand_in  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "joulescope", module)
    return stand_in


def test_energy_is_the_sum_of_the_statistics(device: StandIn) -> None:
    meter = JoulescopeMeter()
    meter.start()
    before = time.monotonic()
    for i, watts in enumerate([2.0, 3.0, 2.5, 2.5]):
        device.send(7.0 + 0.05 * i, 7.05 + 0.05 * i, watts)
    trace = meter.stop()
    assert trace.energy_j(trace.t_s[0], trace.t_s[-1]) == pytest.approx(0.05 * 10.0, rel=1e-9)
    assert (trace.kind, trace.missed, trace.cpu_share) == ("measured", 0, None)
    # The one that came with the least delay says how the clocks stand: none ends after it arrived.
    assert trace.t_s[-1] <= time.monotonic()
    assert trace.t_s[-1] >= before - 0.2
    assert device.calls == [("reduction_frequency", "20 Hz"), ("open",), ("close",)]


def test_statistics_that_did_not_arrive_are_missed(device: StandIn) -> None:
    meter = JoulescopeMeter()
    meter.start()
    device.send(0.0, 0.05, 2.0)
    device.send(0.20, 0.25, 2.0)
    assert meter.stop().missed == 3


@pytest.mark.parametrize(("period_s", "rate"), [(1.0, "1 Hz"), (0.1, "10 Hz"), (0.001, "100 Hz")])
def test_the_nearest_rate_is_chosen(device: StandIn, period_s: float, rate: str) -> None:
    meter = JoulescopeMeter(period_s)
    meter.start()
    assert device.calls[0] == ("reduction_frequency", rate)
    assert meter.period_s == 1 / float(rate.split()[0])


def test_no_package_no_instrument_and_a_silent_one(device: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = JoulescopeMeter()
    meter.start()
    with pytest.raises(UnavailableError, match="sent nothing"):
        meter.stop()

    def none(config: str) -> StandIn:
        raise RuntimeError("no devices found")

    monkeypatch.setattr(sys.modules["joulescope"], "scan_require_one", none)
    with pytest.raises(UnavailableError, match=r"no Joulescope could be opened \(no devices found\)"):
        JoulescopeMeter().start()
    monkeypatch.setitem(sys.modules, "joulescope", None)
    with pytest.raises(UnavailableError, match=r"pip install 'tinyscene\[meters\]'"):
        JoulescopeMeter().start()


class Driver:
    """A simulated native driver below the real package: it keeps what is published and who has subscribed."""

    def __init__(self) -> None:
        self.published: dict[str, Any] = {}
        self.subscribed: dict[str, Any] = {}

    def open(self, path: str, mode: object, timeout: object) -> int:
        return 0

    def close(self, path: str, timeout: object) -> int:
        return 0

    def publish(self, topic: str, value: object, timeout: object = None) -> None:
        self.published[topic] = value

    def query(self, topic: str, timeout: object = None) -> object:
        return self.published.get(topic, 0)

    def subscribe(self, topic: str, flags: object, fn: object, timeout: object = None) -> None:
        self.subscribed[topic] = fn

    def unsubscribe(self, topic: str, fn: object, timeout: object = None) -> None:
        self.subscribed.pop(topic, None)


@pytest.mark.parametrize("model", ["js220", "js110"])
def test_the_real_package_above_a_simulated_driver(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The instrument's own structure goes through the real class: 2 and 3 W over 50 ms each."""
    try:
        import joulescope
        from joulescope.v1.js110 import DeviceJs110
        from joulescope.v1.js220 import DeviceJs220
    except ImportError as error:
        pytest.skip(f"no package joulescope ({error}): run `pip install 'tinyscene[meters]'`")
    driver = Driver()
    device = (DeviceJs220 if model == "js220" else DeviceJs110)(driver, f"u/{model}/000001")
    monkeypatch.setattr(joulescope, "scan_require_one", lambda config: device)
    meter = JoulescopeMeter()
    meter.start()
    send = driver.subscribed[f"u/{model}/000001/s/stats/value"]
    assert driver.published[f"u/{model}/000001/s/stats/scnt"] in (50_000, 100_000)
    for i, watts in enumerate([2.0, 3.0]):
        signals = {key: {"avg": {"value": watts}, "std": {"value": 0.0, "units": "W"}} for key in ("current", "power")}
        send(
            f"u/{model}/000001/s/stats/value",
            {
                "time": {"samples": {"value": [1_000_000 + 100_000 * i, 1_100_000 + 100_000 * i]}},
                "signals": signals,
                "accumulators": {"charge": {"value": 0}, "energy": {"value": 0}},
            },
        )
    trace = meter.stop()
    assert trace.energy_j(trace.t_s[0], trace.t_s[-1]) == pytest.approx(0.25, rel=1e-6)
    assert trace.t_s[-1] - trace.t_s[0] == pytest.approx(0.1, rel=1e-6)
