"""What makes a run's figures unfit to be quoted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from machine_trees import fake_vcgencmd, pi4_tree, pi5_tree, scaling, write_tree, x86_tree

from tinyscene.runtime.machine.state import MachineState, read_state
from tinyscene.runtime.machine.throttle import Throttle
from tinyscene.runtime.machine.usage import Load
from tinyscene.runtime.machine.validity import Limits, judge

CALM = MachineState("", "performance", 2400.0, 50.0, Throttle())
QUIET = Load(10.0, 0.05, 0.02, 4)


def test_a_calm_machine_gives_valid_figures() -> None:
    validity = judge([CALM, CALM, CALM], QUIET, 20)
    assert (validity.valid, validity.reasons, validity.notes) == (True, (), ())


def test_throttling_now_then_or_in_between(tmp_path: Path) -> None:
    during = replace(CALM, temperature_c=84.9, throttle=Throttle.from_bits(0xE0008))
    assert judge([CALM, during, CALM], QUIET, 20).reasons == (
        "soft temperature limit (at most 84.9 C)",
        "frequency capped (at most 84.9 C)",
        "throttled (at most 84.9 C)",
    )
    between = replace(CALM, throttle=Throttle.from_bits(0x10000))
    assert judge([CALM, between, between], QUIET, 20).reasons == ("under-voltage",)
    long_ago = judge([between, between], QUIET, 20)
    assert long_ago.valid
    assert long_ago.notes == (
        "since its start this machine has seen: under-voltage; a short one during the run would not show",
    )


def test_a_simulated_pi_4_on_a_weak_supply(tmp_path: Path) -> None:
    state = read_state(pi4_tree(tmp_path), fake_vcgencmd(tmp_path, "throttled=0x50005", "temp=81.2'C"))
    assert judge([state, state], QUIET, 20).reasons == ("under-voltage", "throttled (at most 81.2 C)")


def test_a_simulated_x86_machine_counts(tmp_path: Path) -> None:
    before = read_state(x86_tree(tmp_path, events=3), None)
    assert judge([before, before], QUIET, 20).valid
    after = read_state(x86_tree(tmp_path, events=4), None)
    assert judge([before, after], QUIET, 20).reasons == ("throttled (at most 54.0 C)",)


def test_a_capped_frequency_and_a_changed_governor(tmp_path: Path) -> None:
    before = read_state(pi5_tree(tmp_path), None)
    assert judge([before], QUIET, 20).valid
    assert "frequency follow the load" in judge([before], QUIET, 20).notes[0]
    write_tree(tmp_path, scaling(1, "ondemand", 1_500_000, 1_500_000, 2_400_000))
    write_tree(tmp_path, scaling(3, "ondemand", 1_500_000, 1_800_000, 2_400_000))
    after = replace(read_state(tmp_path, None), governor="performance")
    assert judge([before, after], QUIET, 20).reasons == (
        "the governor changed: ondemand, then performance",
        "the frequency of core 1, 3 is capped at 1500 of 2400 MHz",
    )


def test_a_busy_machine() -> None:
    assert judge([CALM], Load(10.0, 0.9, 0.107, 4), 20).valid  # within what the ticks can tell
    assert judge([CALM], Load(10.0, 0.9, 0.12, 4), 20).reasons == (
        "other processes took 12 % of a core (at most 10 %)",
    )
    assert judge([CALM], Load(10.0, 0.9, 0.12, 4), 20, Limits(others_share=0.5)).valid
    assert judge([CALM], Load(0.1, 0.9, 0.5, 4), 20).valid  # five ticks in a tenth of a second, on four cores
    unknown = judge([CALM], Load(10.0, 0.9, None, 4), 20)
    assert unknown.valid
    assert unknown.notes == ("the load of other processes is not known",)


def test_too_few_runs() -> None:
    assert judge([CALM], QUIET, 19).reasons == ("19 runs are too few for percentiles (at least 20)",)
    assert judge([CALM], QUIET, None).valid


def test_what_is_not_known_is_said() -> None:
    nothing = MachineState("", None, None, None, None)
    assert judge([nothing, nothing], QUIET, 20).notes == (
        "throttling is not known on this machine",
        "temperature is not known on this machine",
        "governor and frequency are not known on this machine",
    )
