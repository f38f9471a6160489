"""Simulated machines: trees of /sys and /proc files, and programs that answer as `vcgencmd` does.

Nothing here was recorded on the boards named: the files' names, forms and units are those of the kernel's
documentation, the values are made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write_tree(root: Path, files: Mapping[str, object]) -> Path:
    """Write each value as a sysfs file's one line below `root`."""
    for name, value in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    return root


def scaling(core: int, governor: str, now_khz: int, limit_khz: int, highest_khz: int) -> dict[str, object]:
    """Frequency scaling of one core."""
    folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
    return {
        f"{folder}/scaling_governor": governor,
        f"{folder}/scaling_cur_freq": now_khz,
        f"{folder}/scaling_max_freq": limit_khz,
        f"{folder}/cpuinfo_max_freq": highest_khz,
    }


def pi5_tree(root: Path) -> Path:
    """A simulated Raspberry Pi 5: four cores, its processor's zone and hwmon chips, no supply alarm."""
    files: dict[str, object] = {
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": 61700,
        "sys/class/thermal/cooling_device0/type": "pwm-fan",
        "sys/class/hwmon/hwmon0/name": "cpu_thermal",
        "sys/class/hwmon/hwmon0/temp1_input": 61150,
        "sys/class/hwmon/hwmon1/name": "rp1_adc",
        "sys/class/hwmon/hwmon1/temp1_input": 66900,
        "sys/class/hwmon/hwmon2/name": "rpi_volt",
        "sys/class/hwmon/hwmon2/in0_lcrit_alarm": 0,
    }
    for core, now_khz in enumerate((2_400_000, 2_400_000, 1_500_000, 2_400_000)):
        files |= scaling(core, "ondemand", now_khz, 2_400_000, 2_400_000)
    return write_tree(root, files)


def pi4_tree(root: Path) -> Path:
    """A simulated Raspberry Pi 4 whose firmware caps the frequency; its temperature comes from `vcgencmd` alone."""
    files: dict[str, object] = {"sys/class/hwmon/hwmon0/name": "rpi_volt", "sys/class/hwmon/hwmon0/in0_lcrit_alarm": 1}
    for core in range(4):
        files |= scaling(core, "performance", 600_000, 1_500_000, 1_500_000)
    return write_tree(root, files)


def x86_tree(root: Path, events: int = 0) -> Path:
    """A simulated x86 machine of two cores and their package, with `events` thermal events on each."""
    files: dict[str, object] = {
        "sys/class/thermal/thermal_zone0/type": "acpitz",
        "sys/class/thermal/thermal_zone0/temp": 99000,  # a board's zone does not count where the processor has one
        "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp",
        "sys/class/thermal/thermal_zone1/temp": 52000,
        "sys/class/hwmon/hwmon3/name": "coretemp",
        "sys/class/hwmon/hwmon3/temp2_input": 50000,
        "sys/class/hwmon/hwmon3/temp3_input": 54000,
        "sys/class/hwmon/hwmon3/temp3_max": 100000,
        "sys/class/hwmon/hwmon4/name": "nvme",
        "sys/class/hwmon/hwmon4/temp1_input": 71000,
    }
    for core in range(2):
        files |= scaling(core, "powersave", 800_000 + core, 3_600_000, 3_600_000)
        folder = f"sys/devices/system/cpu/cpu{core}/thermal_throttle"
        files |= {f"{folder}/core_throttle_count": events, f"{folder}/package_throttle_count": events}
    return write_tree(root, files)


def fake_vcgencmd(folder: Path, throttled: str = "throttled=0x0", temp: str = "temp=48.3'C") -> str:
    """A simulated `vcgencmd` that prints these lines; returns its path."""
    program = folder / "vcgencmd"
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        f'  get_throttled) echo "{throttled}";;\n'
        f'  measure_temp) echo "{temp}";;\n'
        '  *) echo "error=1 error_msg=\\"Command not registered\\"";;\n'
        "esac\n"
    )
    program.chmod(0o755)
    return str(program)
