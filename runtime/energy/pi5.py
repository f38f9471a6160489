"""The power chip of a Raspberry Pi 5, asked through `vcgencmd pmic_read_adc`: an estimate."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Sequence

from ..errors import InputError, UnavailableError
from .sampler import SamplingMeter

#: A published straight line through readings of a USB-C meter: watts at the socket from the sum over the rails. Another
#: board, power supply or firmware gives another line.
FIT_SLOPE, FIT_OFFSET_W = 1.1451, 0.5879

PERIOD_S = 0.2  # a reading starts a program, which takes some milliseconds

_LINE = re.compile(
    r"\s*([A-Z0-9_]{1,32})_([AV])\s+(?:current|volt)\(\d{1,3}\)=(-?[0-9]{1,6}(?:\.[0-9]{1,12})?)([AV])\s*"
)


def parse_rails(text: str) -> dict[str, tuple[float | None, float | None]]:
    """Amperes and volts of every rail in the output of `vcgencmd pmic_read_adc`; None for what a rail does not have.

    Lines are `   VDD_CORE_A current(7)=1.54489000A` and `   VDD_CORE_V volt(15)=0.88725180V`. Raises `InputError` for
    any other line, for a unit that does not fit its rail and for a value given twice.
    """
    rails: dict[str, tuple[float | None, float | None]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None or match[2] != match[4]:
            raise InputError(
                f"line {number} of pmic_read_adc is {line[:80]!r}, expected such as 'VDD_CORE_A current(7)=1.54489000A'"
            )
        amperes, volts = rails.get(match[1], (None, None))
        if (amperes if match[2] == "A" else volts) is not None:
            raise InputError(f"line {number} of pmic_read_adc gives {match[1]}_{match[2]} a second time")
        value = float(match[3])
        rails[match[1]] = (value, volts) if match[2] == "A" else (amperes, value)
    return rails


def rails_power_w(rails: dict[str, tuple[float | None, float | None]]) -> float:
    """Sum of volts times amperes over the rails that have both; raises `UnavailableError` for a board without any."""
    powers = [amperes * volts for amperes, volts in rails.values() if amperes is not None and volts is not None]
    if not powers:
        raise UnavailableError(
            "pmic_read_adc gave no rail with both current and voltage: a Raspberry Pi 4 and older cannot sense "
            "current; use a meter in the supply line (--meter hwmon or ppk2)"
        )
    return math.fsum(powers)


class Pi5Meter(SamplingMeter):
    """The rails' sum, or with `fit` the published estimate of what the socket delivers."""

    runs_programs = True

    def __init__(
        self, fit: bool = False, period_s: float = PERIOD_S, command: Sequence[str] = ("vcgencmd", "pmic_read_adc")
    ) -> None:
        covers = "the rails of the board's power chip: no USB device, HAT or NVMe, no loss of the chip itself"
        if fit:
            covers = (
                f"the whole board by a published fit, {FIT_SLOPE} * sum of rails + {FIT_OFFSET_W} W, made on another "
                "board: what hangs on USB, HAT or NVMe is not seen"
            )
        name = "Raspberry Pi 5 power chip" + (", fitted" if fit else "")
        super().__init__(name, "estimated", covers, period_s)
        self._fit, self._command = fit, list(command)

    def read(self) -> tuple[float, ...]:
        """One reading in watts."""
        asked = " ".join(self._command)
        try:
            done = subprocess.run(self._command, capture_output=True, timeout=5)
        except OSError as error:
            raise UnavailableError(
                f"cannot run {self._command[0]!r} ({error.strerror}): this meter needs a Raspberry Pi 5 with its own "
                "system; elsewhere use --meter hwmon, rapl or ppk2"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"`{asked}` took more than 5 s: restart the board's firmware") from error
        text = done.stdout.decode(errors="replace")
        if done.returncode or "error" in text:
            said = (text + done.stderr.decode(errors="replace")).strip()[:120]
            raise UnavailableError(
                f"`{asked}` failed with {said!r}: it needs a Raspberry Pi 5 and the group 'video' "
                "(`sudo usermod -aG video $USER`)"
            )
        power_w = rails_power_w(parse_rails(text))
        return (FIT_SLOPE * power_w + FIT_OFFSET_W if self._fit else power_w,)
