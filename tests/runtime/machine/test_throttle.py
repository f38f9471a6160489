"""Throttle flags from a simulated `vcgencmd`, the kernel's alarm and its counters."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_trees import fake_vcgencmd, pi4_tree, x86_tree

from tinyscene.runtime.machine.throttle import Throttle, read_throttle, throttled_since


def test_the_bits_are_the_documented_ones() -> None:
    assert Throttle.from_bits(0) == Throttle()
    assert Throttle.from_bits(0x50005) == Throttle(
        under_voltage=True, throttled=True, under_voltage_occurred=True, throttled_occurred=True
    )
    assert Throttle.from_bits(0x80002) == Throttle(capped=True, soft_limit_occurred=True)


@given(st.integers(0, 0xFFFFFFFF))
def test_every_bit_has_one_field(bits: int) -> None:
    throttle = Throttle.from_bits(bits)
    now = (throttle.under_voltage, throttle.capped, throttle.throttled, throttle.soft_limit)
    before = (
        throttle.under_voltage_occurred,
        throttle.capped_occurred,
        throttle.throttled_occurred,
        throttle.soft_limit_occurred,
    )
    assert sum(bit << place for place, bit in enumerate(now)) == bits & 0xF
    assert sum(bit << place for place, bit in enumerate(before)) == bits >> 16 & 0xF
    assert throttle.active == bool(bits & 0xF)
    assert (len(throttle.flags), len(throttle.occurred)) == (sum(now), sum(before))


@pytest.mark.parametrize(
    "said",
    [
        "",
        "throttled=",
        "throttled=0x",
        "throttled=0xzz",
        "throttled=0x123456789",
        "error=1 error_msg=no",
        "VCHI failed",
    ],
)
def test_what_is_no_answer_leaves_it_to_the_kernel(tmp_path: Path, said: str) -> None:
    found = read_throttle(pi4_tree(tmp_path), fake_vcgencmd(tmp_path, said))
    assert found == Throttle(under_voltage=True, source="rpi_volt")


def test_a_program_that_fails_or_is_missing_leaves_it_to_the_kernel(tmp_path: Path) -> None:
    tree = pi4_tree(tmp_path)
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\necho throttled=0x0\nexit 255\n")
    failing.chmod(0o755)
    for program in (str(failing), str(tmp_path / "not_there"), None):
        assert read_throttle(tree, program) == Throttle(under_voltage=True, source="rpi_volt")


def test_nobody_tells(tmp_path: Path) -> None:
    assert read_throttle(tmp_path, None) is None


def test_what_happened_between_two_readings(tmp_path: Path) -> None:
    calm, before = Throttle(), Throttle.from_bits(0x10000)
    assert throttled_since(calm, calm) == ()
    assert throttled_since(before, before) == ()  # long ago, and not again as far as anybody can tell
    assert throttled_since(calm, before) == ("under-voltage",)  # over already, but it was between the two
    assert throttled_since(None, before) == ()
    assert throttled_since(None, Throttle(soft_limit=True)) == ("soft temperature limit",)
    assert throttled_since(before, None) == ()
    assert throttled_since(calm, Throttle.from_bits(0x60004)) == ("frequency capped", "throttled")
    # Two sources do not count the same things: only what holds back now is certain.
    assert throttled_since(Throttle(source="rpi_volt"), before) == ()
    first = read_throttle(x86_tree(tmp_path, events=3), None)
    assert throttled_since(first, read_throttle(x86_tree(tmp_path, events=3), None)) == ()
    assert throttled_since(first, read_throttle(x86_tree(tmp_path, events=4), None)) == ("throttled",)
