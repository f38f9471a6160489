"""An instrument's log and the marks of a run, joined after the event."""

from __future__ import annotations

import math
from pathlib import Path

from ..errors import InputError
from .analysis import analyse
from .catalogue import open_meter
from .logfile import LogMeter
from .marks import read_marks
from .result import Battery, EnergyResult


def join(
    marks: Path | None,
    meter: str,
    *,
    settle_s: float = 1.0,
    hop_s: float | None = None,
    battery: Battery | None = None,
    seed: int = 0,
) -> EnergyResult:
    """The result of the log that `meter` names with the blocks of the file `marks`, or with its own where it has some.

    Raises `InputError` for a meter that is no log, for files that cannot be read and for times that do not meet.
    """
    if hop_s is not None and not (math.isfinite(hop_s) and hop_s > 0):
        raise InputError(f"--hop-s is {hop_s}, expected seconds above 0")
    if not (math.isfinite(settle_s) and settle_s >= 0):
        raise InputError(f"--settle-s is {settle_s}, expected 0 or more")
    log = open_meter(meter)
    if not isinstance(log, LogMeter):
        raise InputError(
            f"{meter} is read while the bench runs, expected a log, csv:FILE or mlperf:FILE: use `tinyscene bench`"
        )
    trace = log.stop()
    blocks = log.marks if marks is None else read_marks(marks)
    if blocks is None:
        raise InputError(
            f"{log.path} does not say when its blocks ran: give the file of `tinyscene bench --energy-marks`"
        )
    return analyse(trace, blocks, settle_s=settle_s, hop_s=hop_s, battery=battery, seed=seed)
