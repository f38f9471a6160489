"""The machine's state, read from simulated trees."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
from machine_trees import fake_vcgencmd, pi4_tree, pi5_tree, scaling, write_tree, x86_tree

from tinyscene.runtime.machine.state import read_state
from tinyscene.runtime.machine.throttle import Throttle


def test_a_simulated_raspberry_pi_5(tmp_path: Path) -> None:
    state = read_state(pi5_tree(tmp_path), vcgencmd=None)
    assert state.governor == "ondemand"
    assert state.frequency_mhz == 1500.0
    assert [core.frequency_mhz for core in state.cores] == [2400.0, 2400.0, 1500.0, 2400.0]
    assert {(core.limit_mhz, core.highest_mhz) for core in state.cores} == {(2400.0, 2400.0)}
    assert (state.temperature_c, state.temperature_sensor) == (61.7, "cpu-thermal")
    assert state.throttle == Throttle(source="rpi_volt")


def test_a_simulated_raspberry_pi_4_asks_its_firmware(tmp_path: Path) -> None:
    vcgencmd = fake_vcgencmd(tmp_path, "throttled=0x50005", "temp=48.3'C")
    state = read_state(pi4_tree(tmp_path), vcgencmd)
    assert (state.temperature_c, state.temperature_sensor) == (48.3, "vcgencmd")
    assert state.throttle is not None
    assert state.throttle.flags == ("under-voltage", "throttled")
    assert state.throttle.occurred == ("under-voltage", "throttled")
    assert (state.governor, state.frequency_mhz) == ("performance", 600.0)


def test_a_simulated_x86_machine(tmp_path: Path) -> None:
    state = read_state(x86_tree(tmp_path, events=3), vcgencmd=None)
    assert (state.temperature_c, state.temperature_sensor) == (54.0, "coretemp")
    assert state.throttle == Throttle(throttled_occurred=True, events=12, source="thermal_throttle")
    assert state.frequency_mhz == 800.0


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    state = read_state(tmp_path, vcgencmd=None)
    assert (state.governor, state.frequency_mhz, state.temperature_c, state.throttle) == (None,) * 4
    assert state.cores == ()
    read = datetime.fromisoformat(state.at)
    assert abs((datetime.now(timezone.utc) - read).total_seconds()) < 3600
    assert json.loads(json.dumps(state.to_dict()))["cores"] == []


def test_this_machine_is_read_without_an_error() -> None:
    state = read_state()
    assert state.temperature_c is None or -40 < state.temperature_c < 150


def test_governors_that_differ_are_all_named(tmp_path: Path) -> None:
    files = scaling(10, "powersave", 1, 1, 1) | scaling(2, "performance", 1, 1, 1)
    state = read_state(write_tree(tmp_path, files), vcgencmd=None)
    assert state.governor == "performance+powersave"
    assert [core.number for core in state.cores] == [2, 10]


@pytest.mark.parametrize("content", ["", "N/A", "-274000", "4294967295", "99999999999999999999", "12.5"])
def test_a_sensor_that_is_not_connected_is_no_temperature(tmp_path: Path, content: str) -> None:
    tree = write_tree(
        tmp_path,
        {"sys/class/thermal/thermal_zone0/type": "cpu-thermal", "sys/class/thermal/thermal_zone0/temp": content},
    )
    assert read_state(tree, vcgencmd=None).temperature_c is None


def test_files_that_cannot_be_read_are_not_known(tmp_path: Path) -> None:
    """A folder in a file's place: reading fails as a sleeping sensor does, also for root."""
    tree = pi5_tree(tmp_path)
    for name in ("sys/class/thermal/thermal_zone0/temp", "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"):
        (tree / name).unlink()
        (tree / name).mkdir()
    state = read_state(tree, vcgencmd=None)
    assert state.temperature_sensor == "cpu_thermal"  # the hwmon chip
    assert state.cores[0].frequency_mhz is None
    assert state.frequency_mhz == 1500.0


def test_any_sensor_is_better_than_none_and_is_named(tmp_path: Path) -> None:
    tree = write_tree(
        tmp_path,
        {"sys/class/hwmon/hwmon4/name": "nvme", "sys/class/hwmon/hwmon4/temp1_input": 71000},
    )
    state = read_state(tree, vcgencmd=None)
    assert (state.temperature_c, state.temperature_sensor) == (71.0, "nvme")
