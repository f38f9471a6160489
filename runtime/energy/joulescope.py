"""Joulescope JS110 and JS220, through the package `joulescope`: the instrument's own statistics, without gaps."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

from ..errors import UnavailableError, require
from .meter import Kind, PowerTrace, step_trace

#: Statistics a second; the instrument works out each one from all of its samples in between (1 or 2 million a second).
RATES_HZ = (1, 2, 5, 10, 20, 50, 100)

PERIOD_S = 0.05


class JoulescopeMeter:
    """The one Joulescope that is plugged in.

    Its statistics say the mean power between two sample numbers of its own clock. How that clock stands to the
    computer's is taken from the statistic that arrived with the least delay. Statistics that did not arrive are missed,
    and seen by a jump of the sample numbers.
    """

    name = "Joulescope"
    kind: Kind = "measured"
    covers = "what flows through the instrument from IN to OUT"
    live = True

    def __init__(self, period_s: float = PERIOD_S) -> None:
        rate_hz = min(RATES_HZ, key=lambda rate: abs(1 / rate - period_s))
        self.period_s = 1 / rate_hz
        self._rate = f"{rate_hz} Hz"
        self._device: Any = None
        self._seen: list[tuple[float, float, float, float]] = []  # arrival, start and end by its clock, watts

    def start(self) -> None:
        """Open the instrument and let the statistics come; raises `UnavailableError` without one, or with several."""
        module = require("joulescope", "meters")
        self._seen = []
        try:
            self._device = module.scan_require_one(config="auto")
            self._device.parameter_set("reduction_frequency", self._rate)
            self._device.open()
            self._device.statistics_callback_register(self._receive, "sensor")
        except Exception as error:  # the driver raises whatever its USB library does
            self._close()
            raise UnavailableError(
                f"no Joulescope could be opened ({error}): plug in exactly one, close its own program, and check that "
                "your user may open it (the udev rule of the instrument's maker)"
            ) from error

    def stop(self) -> PowerTrace:
        """Everything since `start`."""
        self._close()
        seen = list(self._seen)
        if not seen:
            raise UnavailableError("the Joulescope sent nothing: check that its cable carries data, and its firmware")
        offset_s = min(arrived - end for arrived, _, end, _ in seen)
        gaps = [later[1] - earlier[2] for earlier, later in pairwise(seen)]
        late_ms = sorted(1e3 * (arrived - end - offset_s) for arrived, _, end, _ in seen)
        return step_trace(
            [start + offset_s for _, start, _, _ in seen],
            [end + offset_s for _, _, end, _ in seen],
            [watts for _, _, _, watts in seen],
            name=self.name,
            kind=self.kind,
            covers=self.covers,
            period_s=self.period_s,
            jitter_ms=late_ms[int(0.95 * (len(late_ms) - 1))],
            missed=sum(max(0, round(gap / self.period_s)) for gap in gaps),
        )

    def _receive(self, statistics: dict[str, Any]) -> None:
        """One statistic, in the driver's thread."""
        start_s, end_s = statistics["time"]["range"]["value"]
        watts = statistics["signals"]["power"]["µ"]["value"]
        self._seen.append((time.monotonic(), float(start_s), float(end_s), float(watts)))

    def _close(self) -> None:
        device, self._device = self._device, None
        if device is None:
            return
        try:
            device.statistics_callback_unregister(self._receive, "sensor")
            device.close()
        except Exception as error:
            if self._seen:  # pulled out at the end: what was seen stands
                return
            raise UnavailableError(
                f"the Joulescope could not be closed ({error}): unplug it and plug it in again"
            ) from error
