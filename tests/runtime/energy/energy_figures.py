"""Prints the figures that docs/energy.md quotes: `python tests/runtime/energy/energy_figures.py`. All is simulated."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from simulated_power import PMIC_LINES, SimulatedDevice, hwmon_tree, rapl_tree
from test_ppk2 import Kit

from tinyscene.runtime.energy.hwmon import HwmonMeter, choose
from tinyscene.runtime.energy.meter import Meter
from tinyscene.runtime.energy.method import Plan, measure_energy
from tinyscene.runtime.energy.pi5 import Pi5Meter
from tinyscene.runtime.energy.ppk2 import Ppk2Meter
from tinyscene.runtime.energy.rapl import RaplMeter
from tinyscene.runtime.errors import TinysceneError


def coverage(plan: Plan, repetitions: int = 600) -> list[float]:
    """Shares of repetitions in which the interval holds J above idle, J in all and idle W."""
    held = np.zeros(3)
    for seed in range(repetitions):
        device = SimulatedDevice(noise_w=0.5, seed=1000 + seed)
        result = measure_energy(device, device.infer, plan, clock=device.clock, sleep=device.sleep)
        truths = ((result.above_idle_j, 0.01), (result.total_j, 0.03), (result.idle_w, 2.0))
        held += [figure.low <= truth <= figure.high for figure, truth in truths]
    return (held / repetitions).round(3).tolist()


def cost(meter: Meter, seconds: float = 5.0) -> str:
    """What `seconds` of reading took."""
    meter.start()
    time.sleep(seconds)
    trace = meter.stop()
    late = "" if trace.jitter_ms is None else f", 95 % less than {trace.jitter_ms:.1f} ms late"
    rate = len(trace.t_s) / seconds
    return f"{trace.cpu_share or 0:.1%} of a core, {rate:.0f} samples a second{late}, {trace.missed} missed"


def main() -> None:
    for groups in (4, 6, 8, 12):
        plan = Plan(groups=groups, block_s=0.6, settle_s=0.1)
        print(f"coverage of nominal 0.95, {groups} groups (above idle, total, idle): {coverage(plan)}")
    root = Path(tempfile.mkdtemp())
    hwmon_tree(root, 0, "1-0040", {"name": "ina219", "power1_input": "2000000"})
    rapl_tree(root, {"intel-rapl:0": ("package-0", 5, 10**11)})
    print("hwmon:", cost(HwmonMeter(choose("", root))))
    print("rapl:", cost(RaplMeter(root=root)))
    print("pi5 (echo in the place of vcgencmd):", cost(Pi5Meter(command=["/bin/echo", "-n", PMIC_LINES])))
    kit = Kit()
    kit.start()
    print("ppk2:", cost(Ppk2Meter(kit.path, "source", 3300)))
    try:
        print("this machine's RAPL:", cost(RaplMeter()))
    except TinysceneError as error:
        print("this machine's RAPL:", error)


if __name__ == "__main__":
    main()
