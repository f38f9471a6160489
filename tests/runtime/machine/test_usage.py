"""Load from simulated counters, and from this process on this machine."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from machine_trees import write_tree

from tinyscene.runtime.machine.usage import Load, Usage, load_between, read_memory, read_usage

#: user nice system idle iowait irq softirq steal guest guest_nice, in ticks; a simulated line.
STAT = "cpu  1000 200 300 99999 88888 10 20 30 400 50\ncpu0 1 1 1 1 1 1 1 1 1 1"


def test_the_machines_time_is_work_and_what_a_host_took(tmp_path: Path) -> None:
    usage = read_usage(write_tree(tmp_path, {"proc/stat": STAT}))
    assert usage.machine_s == 1560 / os.sysconf("SC_CLK_TCK")  # neither idle nor waiting, no guest twice


@pytest.mark.parametrize("stat", ["", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu  a b c d e f g h i j"])
def test_counters_of_another_form_are_not_known(tmp_path: Path, stat: str) -> None:
    assert read_usage(write_tree(tmp_path, {"proc/stat": stat})).machine_s is None
    assert read_usage(tmp_path / "nothing").machine_s is None


def test_what_is_not_ours_is_the_others() -> None:
    before, after = Usage(100.0, 10.0, 1000.0, 4), Usage(110.0, 12.0, 1017.0, 4)
    assert load_between(before, after) == Load(10.0, 0.2, 1.5, 4)
    # Ticks may say less than the process's own clock.
    assert load_between(before, Usage(110.0, 12.0, 1001.0, 4)).others_share == 0.0
    assert load_between(before, Usage(110.0, 12.0, None, 4)).others_share is None


def test_this_process_is_seen_to_work() -> None:
    before, start_s = read_usage(), time.process_time()
    # Process time, not the clock: a busy machine may give this process a small part of it.
    while time.process_time() < start_s + 0.2:
        pass
    load = load_between(before, read_usage())
    assert load.cpu_share * load.wall_s == pytest.approx(0.2, abs=0.03)  # in ticks of 10 ms
    assert load.cores >= 1


def test_memory_in_bytes(tmp_path: Path) -> None:
    status = "Name:\tpython\nVmPeak:\t  99999 kB\nVmHWM:\t   73700 kB\nVmRSS:\t   67440 kB\n"
    memory = read_memory(write_tree(tmp_path, {"proc/self/status": status}))
    assert (memory.rss_bytes, memory.peak_rss_bytes) == (67440 * 1024, 73700 * 1024)
    nothing = read_memory(write_tree(tmp_path, {"proc/self/status": "Name:\tpython"}))
    assert (nothing.rss_bytes, nothing.peak_rss_bytes) == (None, None)
    assert read_memory(tmp_path / "nothing").rss_bytes is None
