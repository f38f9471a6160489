"""Simulated devices, sensor trees and files: nothing here was read from hardware unless it says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinyscene.runtime.energy.meter import Kind, PowerTrace

#: Two rails and two voltages in the format of a Raspberry Pi 5's `vcgencmd pmic_read_adc`; three of the lines are a
#: real board's, `3V3_SYS` is made up in their form.
PMIC_LINES = """\
   3V3_SYS_A current(1)=0.10000000A
   VDD_CORE_A current(7)=1.54489000A
   3V3_SYS_V volt(9)=3.30000000V
  VDD_CORE_V volt(15)=0.88725180V
     EXT5V_V volt(24)=4.87894000V
      BATT_V volt(25)=0.00000000V
"""
PMIC_POWER_W = 0.1 * 3.3 + 1.54489 * 0.8872518


class SimulatedDevice:
    """A device that draws `idle_w` and, while it infers, `active_w`, on a clock that only `sleep` and `infer` move.

    It is its own meter: samples every `period_s` with Gaussian noise of `noise_w` and a drift of `drift_w_per_s`, and
    `meter_j` joules more for each sample taken.
    """

    name, covers, live = "simulated device", "a simulation", True
    kind: Kind = "measured"

    def __init__(
        self,
        idle_w: float = 2.0,
        active_w: float = 3.0,
        inference_s: float = 0.01,
        noise_w: float = 0.0,
        drift_w_per_s: float = 0.0,
        period_s: float = 0.02,
        meter_j: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.idle_w, self.active_w, self.inference_s = idle_w, active_w, inference_s
        self.noise_w, self.drift_w_per_s, self.period_s, self.meter_j = noise_w, drift_w_per_s, period_s, meter_j
        self._random = np.random.default_rng(seed)
        self._now_s = 100.0
        self._edges: list[tuple[float, float]] = []  # from, watts
        self._started_s = 0.0

    def clock(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._spend(seconds, self.idle_w)

    def infer(self) -> None:
        self._spend(self.inference_s, self.active_w)

    def start(self) -> None:
        self._started_s, self._edges = self._now_s, []

    def stop(self) -> PowerTrace:
        t = np.arange(self._started_s, self._now_s + self.period_s / 2, self.period_s)
        begins = np.array([begin for begin, _ in self._edges])
        watts = np.array([watts for _, watts in self._edges])
        power = watts[np.clip(np.searchsorted(begins, t, side="right") - 1, 0, None)]
        power = power + self.meter_j / self.period_s + self.drift_w_per_s * (t - self._started_s)
        power = power + self._random.normal(0, self.noise_w, len(t)) if self.noise_w else power
        return PowerTrace(t, power, self.name, self.kind, self.covers, period_s=self.period_s, cpu_share=0.01)

    def _spend(self, seconds: float, watts: float) -> None:
        self._edges.append((self._now_s, watts))
        self._now_s += seconds


def hwmon_tree(root: Path, number: int, address: str, files: dict[str, str]) -> Path:
    """A simulated `class/hwmon/hwmonN` with `files`, and its device link to the I2C `address`; returns its folder."""
    folder, device = root / "class" / "hwmon" / f"hwmon{number}", root / "devices" / address
    folder.mkdir(parents=True)
    device.mkdir(parents=True, exist_ok=True)
    (folder / "device").symlink_to(device)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")
    return folder


def rapl_tree(root: Path, counters: dict[str, tuple[str, int, int]]) -> Path:
    """A simulated `class/powercap` of domains, each its name, count and range in uJ."""
    for domain, (name, count, range_uj) in counters.items():
        folder = root / "class" / "powercap" / domain
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
        (folder / "energy_uj").write_text(f"{count}\n")
        (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return root


def replace_text(path: Path, text: str) -> None:
    """Change a simulated sensor's file at once: a reader sees the old value or the new one, never half of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
