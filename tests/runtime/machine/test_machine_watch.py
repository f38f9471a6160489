"""The watch, on readings that a test scripts."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from processes import poll_until

from tinyscene.runtime.machine.state import MachineState
from tinyscene.runtime.machine.throttle import Throttle
from tinyscene.runtime.machine.watch import MachineWatch


def script(*bits: int) -> Callable[[], MachineState]:
    """Readings with these throttle bits, the last of them for ever; each is numbered by its temperature."""
    count = 0

    def read() -> MachineState:
        nonlocal count
        state = MachineState("", None, None, float(count), Throttle.from_bits(bits[min(count, len(bits) - 1)]))
        count += 1
        return state

    return read


def test_it_tells_when_something_begins_and_not_while_it_lasts() -> None:
    told: list[tuple[float | None, tuple[str, ...]]] = []
    # calm, calm, under-voltage for three, calm, throttled in between two readings, under-voltage again with a cap
    bits = (0, 0, 0x10001, 0x10001, 0x10001, 0x10000, 0x50000, 0x50000, 0x70003)
    watch = MachineWatch(0.001, lambda state, new: told.append((state.temperature_c, new)), script(*bits))
    with watch:
        poll_until(lambda: len(watch.states) > len(bits) + 3)
    assert told == [
        (2.0, ("under-voltage",)),
        (6.0, ("throttled",)),
        (8.0, ("under-voltage", "frequency capped")),
    ]


def test_there_is_a_reading_before_and_one_after() -> None:
    with MachineWatch(3600.0, read=script(0)) as watch:
        assert watch.latest is not None
        assert watch.latest.temperature_c == 0.0
    assert [state.temperature_c for state in watch.states] == [0.0, 1.0]
    assert MachineWatch(1.0).latest is None


def test_what_is_kept_is_bounded() -> None:
    with MachineWatch(0.0005, read=script(0), keep=5) as watch:
        poll_until(lambda: (watch.states[-1].temperature_c or 0.0) > 20)
    assert len(watch.states) == 5


def test_the_thread_ends_with_it_also_after_an_error() -> None:
    def read() -> MachineState:
        return MachineState("", None, None, None, None)

    with pytest.raises(RuntimeError, match="the listener failed"), MachineWatch(0.001, read=read):
        raise RuntimeError("the listener failed")
    assert not [thread for thread in threading.enumerate() if thread.name == "machine watch"]
