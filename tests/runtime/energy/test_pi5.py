"""The Raspberry Pi 5's power chip, simulated by a program that prints text in the recorded format."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import poll_until
from simulated_power import PMIC_LINES, PMIC_POWER_W

from tinyscene.runtime.energy.pi5 import Pi5Meter, parse_rails, rails_power_w
from tinyscene.runtime.errors import InputError, UnavailableError


def fake_vcgencmd(text: str, code: int = 0) -> list[str]:
    """A program that prints `text` as `vcgencmd pmic_read_adc` would."""
    return [sys.executable, "-S", "-c", f"import sys; sys.stdout.write({text!r}); sys.exit({code})"]


def test_only_rails_with_current_and_voltage_count() -> None:
    rails = parse_rails(PMIC_LINES)
    assert rails["VDD_CORE"] == (1.54489, 0.8872518)
    assert rails["EXT5V"] == (None, 4.87894)
    assert rails_power_w(rails) == pytest.approx(PMIC_POWER_W, rel=1e-12)


@pytest.mark.parametrize(("fit", "watts"), [(False, PMIC_POWER_W), (True, 1.1451 * PMIC_POWER_W + 0.5879)])
def test_the_meter_reads_the_program_and_calls_itself_an_estimate(fit: bool, watts: float) -> None:
    meter = Pi5Meter(fit, period_s=0.01, command=fake_vcgencmd(PMIC_LINES))
    meter.start()
    sampler = meter._sampler
    assert sampler is not None
    poll_until(lambda: len(sampler.t_s) >= 4, 30)
    trace = meter.stop()
    assert trace.power_w == pytest.approx(watts, rel=1e-9)
    assert trace.kind == "estimated"
    assert "USB" in trace.covers
    assert ("fit" in trace.covers) == fit
    # Starting a program is what a reading costs, and it is counted though another process spends it.
    assert trace.cpu_share is not None
    assert trace.cpu_share > 0.01


def test_a_board_without_sensing_another_machine_and_a_refusal_are_told_apart() -> None:
    with pytest.raises(UnavailableError, match="a Raspberry Pi 4 and older cannot sense current"):
        Pi5Meter(command=fake_vcgencmd("     EXT5V_V volt(24)=4.87894000V\n")).start()
    with pytest.raises(UnavailableError, match="this meter needs a Raspberry Pi 5"):
        Pi5Meter(command=["/nowhere/vcgencmd", "pmic_read_adc"]).start()
    with pytest.raises(UnavailableError, match=r"error=1.*group 'video'"):
        Pi5Meter(command=fake_vcgencmd('error=1 error_msg="Command not registered"\n')).start()
    with pytest.raises(UnavailableError, match="failed with"):
        Pi5Meter(command=fake_vcgencmd("", 255)).start()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("VDD_CORE_A current(7)=1.5V", "line 1 of pmic_read_adc is"),
        ("VDD_CORE_A current(7)=", "line 1 of pmic_read_adc is"),
        ("VDD_CORE_A current(7)=nanA", "line 1 of pmic_read_adc is"),
        ("A_A current(7)=1A\n\nA_A current(8)=1A", "line 3 of pmic_read_adc gives A_A a second time"),
    ],
)
def test_a_malformed_line_is_named(line: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_rails(line)


@given(st.text() | st.from_regex(r"( {1,3}[A-Z_]{1,4}_[AV] (current|volt)\([0-9]{1,4}\)=[0-9.]{0,8}[AV]\n){0,4}"))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    said = None
    try:
        for amperes, volts in parse_rails(text).values():
            assert amperes is not None or volts is not None
    except InputError as error:
        said = str(error)
    assert said is None or "pmic_read_adc" in said
