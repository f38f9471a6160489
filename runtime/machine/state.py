"""Governor, frequency, temperature and throttling of this machine at one moment, read from Linux's files.

Everything is read below `root`, so that a recorded or simulated tree can stand in for the machine, and `vcgencmd` may
be any program that prints what the Raspberry Pi's does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .throttle import Throttle, ask_vcgencmd, read_throttle

#: Thermal zones and hwmon chips that measure the processor, by the start of their names.
PROCESSOR_SENSORS = ("cpu", "soc", "x86_pkg", "coretemp", "k10temp", "zenpower", "bcm2")

#: A sensor that says something outside this range in degrees Celsius is not connected.
_PLAUSIBLE_C = (-40.0, 150.0)


@dataclass(frozen=True)
class Core:
    """Frequency scaling of one processor core; None where the kernel does not say."""

    number: int
    governor: str | None
    frequency_mhz: float | None  # now
    limit_mhz: float | None  # the most it may run at now
    highest_mhz: float | None  # the most it can run at


@dataclass(frozen=True)
class MachineState:
    """One reading; None where the machine does not tell."""

    at: str  # UTC, ISO 8601
    governor: str | None  # of all cores; several names joined with "+" where they differ
    frequency_mhz: float | None  # of the slowest core, as a decision waits for it
    temperature_c: float | None  # of the processor
    throttle: Throttle | None
    temperature_sensor: str | None = None
    cores: tuple[Core, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The reading as plain JSON values."""
        return asdict(self)


def read_state(root: Path = Path("/"), vcgencmd: str | None = "vcgencmd") -> MachineState:
    """Read everything there is to read now; never raises for what is missing.

    It takes under a millisecond, and a few more where `vcgencmd` (None: do not ask it) exists.
    """
    cores = tuple(_cores(root))
    governors = sorted({core.governor for core in cores if core.governor is not None})
    frequencies = [core.frequency_mhz for core in cores if core.frequency_mhz is not None]
    temperature_c, sensor = _temperature(root, vcgencmd)
    return MachineState(
        at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        governor="+".join(governors) or None,
        frequency_mhz=min(frequencies, default=None),
        temperature_c=temperature_c,
        throttle=read_throttle(root, vcgencmd),
        temperature_sensor=sensor,
        cores=cores,
    )


def _cores(root: Path) -> Iterator[Core]:
    folder = root / "sys/devices/system/cpu"
    numbers = (re.fullmatch(r"cpu(\d+)", name) for name in _names(folder))
    for number in sorted(int(match[1]) for match in numbers if match):
        scaling = folder / f"cpu{number}" / "cpufreq"
        if scaling.is_dir():  # one that is offline, or a virtual machine's, has none
            yield Core(
                number,
                _text(scaling / "scaling_governor"),
                _number(scaling / "scaling_cur_freq", 1e-3),
                _number(scaling / "scaling_max_freq", 1e-3),
                _number(scaling / "cpuinfo_max_freq", 1e-3),
            )


def _temperature(root: Path, vcgencmd: str | None) -> tuple[float | None, str | None]:
    """The processor's temperature and the sensor's name: the hottest processor sensor, else the hottest of any."""
    found = [*_zones(root), *_hwmon(root)]
    processor = [(value, name) for value, name in found if name.startswith(PROCESSOR_SENSORS)]
    if not processor and (said := ask_vcgencmd(vcgencmd, "measure_temp")) is not None:
        match = re.search(r"temp=(-?\d+(?:\.\d+)?)", said)
        processor = [(float(match[1]), "vcgencmd")] if match else []
    return max(processor or found, default=(None, None))


def _zones(root: Path) -> Iterator[tuple[float, str]]:
    folder = root / "sys/class/thermal"
    for name in _names(folder):
        if name.startswith("thermal_zone"):
            yield from _degrees(folder / name / "temp", _text(folder / name / "type") or name)


def _hwmon(root: Path) -> Iterator[tuple[float, str]]:
    folder = root / "sys/class/hwmon"
    for chip in _names(folder):
        # By its name: the number changes from one start of the machine to the next.
        name = _text(folder / chip / "name")
        for file in _names(folder / chip) if name else ():
            if re.fullmatch(r"temp\d+_input", file):
                yield from _degrees(folder / chip / file, str(name))


def _degrees(file: Path, name: str) -> Iterator[tuple[float, str]]:
    value = _number(file, 1e-3)
    if value is not None and _PLAUSIBLE_C[0] <= value <= _PLAUSIBLE_C[1]:
        yield value, name


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def _text(file: Path) -> str | None:
    """A sysfs file's one line; a sensor that is asleep answers with an error, which is no value either."""
    try:
        return file.read_text(errors="replace").strip() or None
    except OSError:
        return None


def _number(file: Path, scale: float) -> float | None:
    text = _text(file)
    return int(text) * scale if text and re.fullmatch(r"-?\d{1,12}", text) else None
