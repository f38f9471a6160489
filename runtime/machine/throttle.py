"""Whether a machine is held back by its power supply or its heat, now or since it was started.

A Raspberry Pi's firmware says so in eight bits (`vcgencmd get_throttled`). Without that program its kernel still has
an alarm for the supply (hwmon `rpi_volt`: under-voltage since the kernel's last look, two seconds ago at most). Other
machines count their thermal events (`/sys/devices/system/cpu/cpu*/thermal_throttle/*_count`), of which only a rise
between two readings means something.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Bits of `get_throttled`; the same 16 places higher: it has happened since the machine was started.
_BITS = (("under_voltage", 0), ("capped", 1), ("throttled", 2), ("soft_limit", 3))
_OCCURRED = 16

_NAMES = {
    "under_voltage": "under-voltage",
    "capped": "frequency capped",
    "throttled": "throttled",
    "soft_limit": "soft temperature limit",
}

#: The firmware answers in milliseconds; a machine on which it does not must not stop the audio.
_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Throttle:
    """What holds the machine back; `source` says who told: "vcgencmd", "rpi_volt" or "thermal_throttle"."""

    under_voltage: bool = False
    capped: bool = False  # the frequency is capped
    throttled: bool = False
    soft_limit: bool = False  # the soft temperature limit is active
    under_voltage_occurred: bool = False  # these four: since the machine was started
    capped_occurred: bool = False
    throttled_occurred: bool = False
    soft_limit_occurred: bool = False
    events: int = 0  # thermal events counted by the kernel since the machine was started
    source: str = "vcgencmd"

    @property
    def active(self) -> bool:
        """Whether anything holds the machine back at this moment."""
        return self.under_voltage or self.capped or self.throttled or self.soft_limit

    @property
    def flags(self) -> tuple[str, ...]:
        """What holds the machine back at this moment, in words."""
        return tuple(words for field, words in _NAMES.items() if getattr(self, field))

    @property
    def occurred(self) -> tuple[str, ...]:
        """What has held it back since it was started, in words."""
        return tuple(words for field, words in _NAMES.items() if getattr(self, f"{field}_occurred"))

    @classmethod
    def from_bits(cls, bits: int) -> Throttle:
        """Read the number that `vcgencmd get_throttled` prints."""
        values: dict[str, Any] = {}
        for field, place in _BITS:
            values[field] = bool(bits >> place & 1)
            values[f"{field}_occurred"] = bool(bits >> place + _OCCURRED & 1)
        return cls(**values)


def throttled_since(before: Throttle | None, after: Throttle | None) -> tuple[str, ...]:
    """What held the machine back at `after` or at some time since `before`, in words; empty where nobody tells."""
    if after is None:
        return ()
    found = set(after.flags)
    if before is not None and before.source == after.source:
        found |= set(after.occurred) - set(before.occurred)
        if after.events > before.events:
            found.add("throttled")
    return tuple(words for words in _NAMES.values() if words in found)


def read_throttle(root: Path, vcgencmd: str | None = "vcgencmd") -> Throttle | None:
    """The flags from whoever tells the most; None where nobody does."""
    said = ask_vcgencmd(vcgencmd, "get_throttled")
    match = re.search(r"throttled=0x([0-9a-fA-F]{1,8})\b", said or "")
    if match:
        return Throttle.from_bits(int(match[1], 16))
    return _rpi_volt(root) or _thermal_events(root)


def ask_vcgencmd(vcgencmd: str | None, command: str) -> str | None:
    """What `vcgencmd command` prints; None where there is no such program or it fails."""
    program = shutil.which(vcgencmd) if vcgencmd else None
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, command], stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


def _rpi_volt(root: Path) -> Throttle | None:
    for chip in _glob(root / "sys/class/hwmon", r"hwmon\d+"):
        if _read(chip / "name") == "rpi_volt" and (alarm := _read(chip / "in0_lcrit_alarm")) in ("0", "1"):
            return Throttle(under_voltage=alarm == "1", source="rpi_volt")
    return None


def _thermal_events(root: Path) -> Throttle | None:
    """Core counts are a core's own, a package's count is repeated in each of its cores: neither is to be added up."""
    counts = []
    for core in _glob(root / "sys/devices/system/cpu", r"cpu\d+"):
        for file in _glob(core / "thermal_throttle", r"(core|package)_throttle_count"):
            text = _read(file)
            if text and text.isdigit():
                counts.append(int(text))
    if not counts:
        return None
    return Throttle(throttled_occurred=any(counts), events=sum(counts), source="thermal_throttle")


def _glob(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if re.fullmatch(pattern, path.name))
    except OSError:
        return []


def _read(file: Path) -> str | None:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return None
