"""INA sensors in simulated /sys trees."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import poll_until
from simulated_power import hwmon_tree, replace_text

from tinyscene.runtime.energy.hwmon import HwmonMeter, _number, channels, choose
from tinyscene.runtime.errors import InputError, UnavailableError

INA219 = {"name": "ina219", "in0_input": "12", "in1_input": "5020", "curr1_input": "600", "power1_input": "3012000"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A processor's thermometer, an INA219 and an INA3221 with a label, in an order that says nothing."""
    hwmon_tree(tmp_path, 0, "thermal", {"name": "cpu_thermal", "temp1_input": "48000"})
    three = {"name": "ina3221", "in2_label": "camera"}
    for number, (millivolts, milliamperes) in enumerate([(5000, 100), (3300, 250), (1800, 40)], 1):
        three |= {f"in{number}_input": str(millivolts), f"curr{number}_input": str(milliamperes)}
    hwmon_tree(tmp_path, 1, "1-0041", three)
    hwmon_tree(tmp_path, 2, "1-0040", INA219)
    return tmp_path


def test_sensors_are_found_by_name_with_their_channels(tree: Path) -> None:
    assert [channel.selector for channel in channels(tree)] == [
        "ina219@1-0040",
        "ina3221@1-0041/1",
        "ina3221@1-0041/2",
        "ina3221@1-0041/3",
    ]


@pytest.mark.parametrize(
    ("wanted", "watts"),
    [("ina219", 3.012), ("ina3221/1", 0.5), ("camera", 0.825), ("ina3221@1-0041/3", 0.072), ("@1-0040", 3.012)],
)
def test_power_of_each_channel(tree: Path, wanted: str, watts: float) -> None:
    meter = HwmonMeter(choose(wanted, tree))
    assert meter.read() == pytest.approx((watts,), rel=1e-12)
    assert meter.kind == "measured"


def test_power_is_current_times_voltage_where_the_chip_does_not_say_it(tmp_path: Path) -> None:
    hwmon_tree(tmp_path, 5, "1-0044", {key: text for key, text in INA219.items() if key != "power1_input"})
    assert HwmonMeter(choose("", tmp_path)).read() == pytest.approx((3.012,), rel=1e-12)


def test_a_name_that_fits_several_or_none_is_asked_for_again(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'ina3221' fits ina3221@1-0041/1, .*/2, .*name one"):
        choose("ina3221", tree)
    with pytest.raises(InputError, match="no sensor 'ina226', there are: ina219@1-0040"):
        choose("ina226", tree)
    with pytest.raises(UnavailableError, match="dtoverlay"):
        choose("", tmp_path / "empty")


def test_sampling_is_no_faster_than_the_chip(tmp_path: Path) -> None:
    hwmon_tree(tmp_path, 0, "1-0040", INA219 | {"update_interval": "69"})
    assert HwmonMeter(choose("", tmp_path), 0.001).period_s == 0.069
    assert HwmonMeter(choose("", tmp_path), 0.5).period_s == 0.5


def test_a_tree_that_changes_while_it_is_read(tmp_path: Path) -> None:
    """A simulated sensor whose power steps from 2 to 3 W under the meter."""
    folder = hwmon_tree(tmp_path, 3, "1-0040", INA219 | {"power1_input": "2000000"})
    meter = HwmonMeter(choose("ina219", tmp_path), 0.001)
    meter.start()
    sampler = meter._sampler
    assert sampler is not None
    poll_until(lambda: len(sampler.t_s) > 20)
    replace_text(folder / "power1_input", "3000000\n")
    after = len(sampler.t_s)
    poll_until(lambda: len(sampler.t_s) > after + 20)
    trace = meter.stop()
    assert set(trace.power_w) == {2.0, 3.0}
    assert (trace.power_w[1:] >= trace.power_w[:-1]).all()


def test_a_sensor_that_goes_away_is_reported(tmp_path: Path) -> None:
    folder = hwmon_tree(tmp_path, 0, "1-0040", INA219)
    meter = HwmonMeter(choose("", tmp_path), 0.001)
    (folder / "power1_input").unlink()
    with pytest.raises(UnavailableError, match="i2cdetect"):
        meter.start()


@given(st.binary(max_size=30) | st.from_regex(rb"-?[0-9]{0,25}\n?", fullmatch=True))
def test_any_file_is_a_number_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "value"
    path.write_bytes(data)
    said = None
    try:
        assert _number(path) == int(data)
    except UnavailableError as error:
        said = str(error)
    assert said is None or "expected a whole number" in said
