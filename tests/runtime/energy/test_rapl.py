"""The processor's counters in a simulated powercap tree, and this machine's where it has some."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import poll_until
from simulated_power import rapl_tree, replace_text

from tinyscene.runtime.energy import rapl
from tinyscene.runtime.energy.rapl import RaplMeter, domains, unwrap
from tinyscene.runtime.energy.sampler import Sampler
from tinyscene.runtime.errors import UnavailableError

RANGE_UJ = 262_143_328_850

TWO_SOCKETS = {
    "intel-rapl:0": ("package-0", 1_000_000, RANGE_UJ),
    "intel-rapl:0:0": ("core", 500_000, RANGE_UJ),
    "intel-rapl:0:1": ("dram", 100_000, 65_712_999_613),
    "intel-rapl:1": ("package-1", RANGE_UJ - 1_000_000, RANGE_UJ),
    "intel-rapl:2": ("psys", 9_000_000, RANGE_UJ),
}


def test_packages_and_memory_count_and_their_parts_do_not(tmp_path: Path) -> None:
    found = domains(rapl_tree(tmp_path, TWO_SOCKETS))
    assert [domain.name for domain in found] == [
        "intel-rapl:0 package-0",
        "intel-rapl:0:1 dram",
        "intel-rapl:1 package-1",
    ]


def test_power_of_two_packages_through_a_wrap(tmp_path: Path) -> None:
    """Half a second apart: package 0 adds 5 J, memory 1 J, and package 1 goes through its range and adds 4 J."""
    meter = RaplMeter(root=rapl_tree(tmp_path, TWO_SOCKETS))
    now = [10.0]
    sampler = Sampler(meter.read, 0.5, clock=lambda: now[0])
    sampler._sample()
    now[0] += 0.5
    folder = tmp_path / "class" / "powercap"
    replace_text(folder / "intel-rapl:0" / "energy_uj", "6000000")
    replace_text(folder / "intel-rapl:0:1" / "energy_uj", "1100000")
    replace_text(folder / "intel-rapl:1" / "energy_uj", "3000000")
    sampler._sample()
    trace = meter.trace(sampler)
    assert trace.t_s.tolist() == [10.0, 10.5]
    assert trace.power_w == pytest.approx([20.0, 20.0], rel=1e-9)
    assert trace.energy_j(10.0, 10.5) == pytest.approx(10.0, rel=1e-9)
    assert trace.kind == "estimated"


@given(st.integers(1, 10**12), st.lists(st.integers(0, 10**12), min_size=1, max_size=20), st.integers(0, 10**12))
def test_unwrapping_gives_back_the_steps(range_uj: int, steps: list[int], first: int) -> None:
    """Counters that start anywhere and wrap any number of times, though never twice between two readings."""
    steps = [step % range_uj for step in steps]
    counts = (np.cumsum([first % range_uj, *steps]) % range_uj).astype(np.float64)
    assert unwrap(counts, range_uj).tolist() == steps


def test_the_whole_meter_on_a_simulated_tree(tmp_path: Path) -> None:
    root = rapl_tree(tmp_path, {"intel-rapl:0": ("package-0", 0, RANGE_UJ)})
    meter = RaplMeter(0.002, root)
    meter.start()
    sampler = meter._sampler
    assert sampler is not None
    for count in range(1, 6):
        replace_text(root / "class" / "powercap" / "intel-rapl:0" / "energy_uj", str(count * 10_000))
        taken = len(sampler.t_s)
        poll_until(lambda taken=taken: len(sampler.t_s) > taken + 1)
    trace = meter.stop()
    assert trace.energy_j(trace.t_s[0], trace.t_s[-1]) == pytest.approx(0.05, rel=1e-9)


def test_a_machine_without_counters_and_a_counter_for_root_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnavailableError, match="modprobe intel_rapl_msr"):
        RaplMeter(root=tmp_path)
    root = rapl_tree(tmp_path, {"intel-rapl:0": ("package-0", 1, RANGE_UJ)})
    meter = RaplMeter(root=root)
    counter = root / "class" / "powercap" / "intel-rapl:0" / "energy_uj"
    counter.chmod(0)
    if os.geteuid() == 0:  # root reads whatever it likes: say no in its place
        read_text = rapl.read_text

        def refuse(path: Path) -> str:
            if path == counter:
                raise PermissionError(13, "Permission denied")
            return read_text(path)

        monkeypatch.setattr(rapl, "read_text", refuse)
    with pytest.raises(UnavailableError, match=r"root only: run `sudo chmod a\+r .*udev rule"):
        meter.start()


@given(st.binary(max_size=30))
def test_any_counter_file_is_a_number_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.mktemp("rapl")
    rapl_tree(root, {"intel-rapl:0": ("package-0", 1, RANGE_UJ)})
    meter = RaplMeter(root=root)
    (root / "class" / "powercap" / "intel-rapl:0" / "energy_uj").write_bytes(data)
    said = None
    try:
        assert meter.read() == (float(int(data)),)
    except UnavailableError as error:
        said = str(error)
    assert said is None or "expected microjoules" in said


def test_this_machines_counters() -> None:
    """Real counters, where there are any: a processor that is on draws something and less than 2 kW."""
    try:
        meter = RaplMeter(0.02)
        meter.start()
    except UnavailableError as error:
        pytest.skip(f"no RAPL here: {error}")
    sampler = meter._sampler
    assert sampler is not None
    poll_until(lambda: len(sampler.t_s) > 20)
    trace = meter.stop()
    assert 0 < trace.energy_j(trace.t_s[0], trace.t_s[-1]) / (trace.t_s[-1] - trace.t_s[0]) < 2000
