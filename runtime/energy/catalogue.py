"""Every meter there is, by the text that names it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, cast

from ..errors import InputError
from .meter import Meter

#: Text, what it is, measured or estimated, and what has to be there.
METERS = (
    ("pi5", "sum of the rails of a Raspberry Pi 5's power chip", "estimated", "a Raspberry Pi 5"),
    ("pi5:fit", "the same, scaled to the socket by a published fit", "estimated", "a Raspberry Pi 5"),
    ("hwmon[:NAME]", "INA219, 226, 230, 231, 260 or 3221 by the kernel", "measured", "the sensor in the supply line"),
    ("rapl", "energy counters of an Intel or AMD processor", "estimated", "readable /sys/class/powercap"),
    ("joulescope", "Joulescope JS110 or JS220", "measured", "pip install 'tinyscene[meters]'"),
    ("ppk2:PORT,MODE,MILLIVOLTS", "Nordic PPK2, MODE source or ampere", "measured", "pip install 'tinyscene[meters]'"),
    ("csv:FILE[,start=S]", "an instrument's log, S the time since 1970 at its 0", "as the log says", "the log"),
    ("mlperf:FILE[,utc]", "spl.txt or results.json of an MLPerf rig", "measured", "the log"),
)

_START = re.compile(r"(.*),start=([0-9]{1,12}(?:\.[0-9]{1,9})?)", re.DOTALL)


def open_meter(text: str, period_s: float | None = None) -> Meter:
    """The meter that `text` names, ready to be started; `period_s` is the time between samples where it can be chosen.

    Raises `InputError` for a text that names none and `UnavailableError` when it is not on this machine.
    """
    if period_s is not None and not (math.isfinite(period_s) and period_s > 0):
        raise InputError(f"--meter-period-s is {period_s}, expected seconds above 0")
    name, _, rest = text.partition(":")
    chosen: dict[str, Any] = {} if period_s is None else {"period_s": period_s}
    if name == "pi5" and rest in ("", "fit"):
        from .pi5 import Pi5Meter

        return Pi5Meter(rest == "fit", **chosen)
    if name == "hwmon":
        from .hwmon import HwmonMeter, choose

        return HwmonMeter(choose(rest), **chosen)
    if name == "rapl" and not rest:
        from .rapl import RaplMeter

        return RaplMeter(**chosen)
    if name == "joulescope" and not rest:
        from .joulescope import JoulescopeMeter

        return JoulescopeMeter(**chosen)
    if name not in ("ppk2", "csv", "mlperf"):
        known = ", ".join(row[0] for row in METERS)
        raise InputError(f"no meter {text!r}, expected one of {known}")
    if period_s is not None:
        raise InputError(f"{name} has a rate of its own: leave --meter-period-s out")
    return _open_port(rest) if name == "ppk2" else _open_log(name, rest)


def _open_port(rest: str) -> Meter:
    from .ppk2 import Mode, Ppk2Meter

    port, _, setting = rest.partition(",")
    mode, _, millivolts = setting.partition(",")
    if not port or mode not in ("source", "ampere") or not re.fullmatch("[0-9]{1,5}", millivolts):
        raise InputError(
            f"ppk2:{rest} is not understood: write the port, source or ampere, and the supply's millivolts, such as "
            "ppk2:/dev/ttyACM0,ampere,5000"
        )
    return Ppk2Meter(port, cast(Mode, mode), int(millivolts))


def _open_log(name: str, rest: str) -> Meter:
    from .logfile import LogMeter

    path, starts_s, utc = rest, None, False
    if name == "csv" and (match := _START.fullmatch(rest)):
        path, starts_s = match[1], float(match[2])
    if name == "mlperf" and rest.endswith(",utc"):
        path, utc = rest.removesuffix(",utc"), True
    if not path:
        raise InputError(f"{name} without a file: such as {name}:power.log")
    if name == "csv":
        from .csv import parse_csv

        return LogMeter(Path(path), lambda text, log: (parse_csv(text, log), None), starts_s)
    from .mlperf import parse_mlperf

    return LogMeter(Path(path), lambda text, log: parse_mlperf(text, log, utc))
