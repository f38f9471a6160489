"""What a measurement of energy says: figures with their intervals, never measured and estimated in one column."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InputError
from .meter import Kind

NO_METER = (
    "energy: not measured, no meter was named. A power meter in the supply line (--meter hwmon, ppk2, joulescope), the "
    "chip's own counters (--meter pi5, rapl) or an instrument's log (--meter csv:FILE) would tell."
)


@dataclass(frozen=True)
class Figure:
    """A value and the ends of its 95 % interval; NaN for what is not known."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        return math.isfinite(self.value)


@dataclass(frozen=True)
class Battery:
    """A battery: its capacity, and the share of it that reaches the board."""

    capacity_wh: float
    usable: float = 0.85

    def days(self, joules_an_hour: float) -> float:
        """Days until it is empty."""
        return self.capacity_wh * self.usable * 3600 / joules_an_hour / 24 if joules_an_hour > 0 else math.nan


@dataclass(frozen=True)
class Overhead:
    """What reading the meter costs: share of one core, and the power seen by idling at its rate and at half of it."""

    cpu_share: float | None
    power_w: Figure = Figure()


@dataclass(frozen=True)
class EnergyResult:
    """Energy of an inference and of listening, as one meter saw it.

    `above_idle_j` and `idle_w` are unknown where the log has no idle blocks. `hour_j` is an hour of listening with an
    inference every `hop_s`. `battery_days` is None without a battery.
    """

    meter: str
    kind: Kind
    covers: str
    idle_w: Figure
    active_w: Figure
    above_idle_j: Figure
    total_j: Figure
    inference_s: float
    hop_s: float | None
    hour_j: Figure
    battery: Battery | None
    battery_days: Figure | None
    groups: int
    groups_dropped: int
    inferences: int
    settle_s: float
    drift_w_per_h: float
    samples: int
    interval_s: float
    jitter_ms: float | None
    missed: int
    overhead: Overhead
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values; NaN for the unknown."""
        return asdict(self)


def battery_of(wh: float | None, mah: float | None, volts: float | None, usable: float) -> Battery | None:
    """The battery of `wh`, or of `mah` at `volts`; None where neither is given. Raises `InputError` for half of one."""
    if wh is None and mah is None:
        if volts is not None:
            raise InputError("--battery-v without a capacity: give --capacity-mah, or --capacity-wh alone")
        return None
    if wh is not None and (mah is not None or volts is not None):
        raise InputError("--capacity-wh and --capacity-mah with --battery-v say the same thing: give one of them")
    if mah is not None:
        if volts is None:
            raise InputError(
                f"--capacity-mah {mah} needs the voltage it is given at: add --battery-v 3.7 for one lithium cell"
            )
        wh = mah / 1e3 * volts
    if wh is None or not (math.isfinite(wh) and wh > 0):
        raise InputError(f"a battery of {wh} Wh, expected more than 0")
    if not 0 < usable <= 1:
        raise InputError(f"--battery-usable is {usable}, expected a share above 0 and up to 1")
    return Battery(wh, usable)


def energy_columns() -> tuple[str, str]:
    """Headings of the two columns that `energy_cells` fills."""
    return "mJ above idle, measured", "mJ above idle, estimated"


def energy_cells(result: EnergyResult | None) -> tuple[str | None, str | None]:
    """The cells of a table's row: one of them is always None, both without a meter."""
    if result is None:
        return None, None
    cell = format_figure(result.above_idle_j, 1e3, "")
    return (cell, None) if result.kind == "measured" else (None, cell)


def format_figure(figure: Figure, factor: float, unit: str) -> str:
    """Such as "1.23 (1.20 to 1.27) mJ": as many digits as the interval's width deserves."""
    if not figure.known:
        return "not known"
    value, low, high = figure.value * factor, figure.low * factor, figure.high * factor
    width = high - low if math.isfinite(high - low) else abs(value)
    # Two digits of the interval's width; three of the value where the interval is a point or not known.
    scale = width if math.isfinite(figure.low) and width > 0 else abs(value) / 10
    digits = 0 if scale <= 0 else max(0, min(9, 1 - math.floor(math.log10(scale))))
    text = f"{value:.{digits}f}"
    if math.isfinite(figure.low) and math.isfinite(figure.high):
        text += f" ({low:.{digits}f} to {high:.{digits}f})"
    return f"{text} {unit}".rstrip()


def energy_text(result: EnergyResult | None) -> str:
    """The result in lines for a person; without one, what is missing."""
    if result is None:
        return NO_METER
    r = result
    lines = [
        f"energy, {r.kind} by {r.meter}; sees {r.covers}",
        f"  an inference: {format_figure(r.above_idle_j, 1e3, 'mJ')} above idle, "
        f"{format_figure(r.total_j, 1e3, 'mJ')} in all, {r.inference_s * 1e3:.2f} ms",
        f"  idle {format_figure(r.idle_w, 1, 'W')}, active {format_figure(r.active_w, 1, 'W')}; idle drifts by "
        f"{r.drift_w_per_h:+.3f} W an hour",
    ]
    if r.hop_s is not None and r.hour_j.known:
        lines.append(
            f"  an hour of listening, every {r.hop_s * 1e3:g} ms: {format_figure(r.hour_j, 1, 'J')} ({r.kind})"
        )
    if r.battery is not None and r.battery_days is not None and r.battery_days.known:
        lines.append(
            f"  a battery of {r.battery.capacity_wh:g} Wh, {r.battery.usable:.0%} of it usable: "
            f"{format_figure(r.battery_days, 1, 'days')} ({r.kind})"
        )
    jitter = "" if r.jitter_ms is None else f", 95 % of them less than {r.jitter_ms:.1f} ms late"
    lines.append(
        f"  {r.inferences:,} inferences in {r.groups} groups of blocks ({r.groups_dropped} dropped), {r.samples:,} "
        f"samples, one every {r.interval_s * 1e3:.3g} ms{jitter}, {r.missed} missed; 95 % intervals: bootstrap over "
        "groups"
    )
    cost = r.overhead
    if cost.cpu_share is not None:
        seen = f", {format_figure(cost.power_w, 1, 'W')} by idling at half the rate" if cost.power_w.known else ""
        lines.append(f"  reading the meter: {cost.cpu_share:.2%} of a core{seen}, in idle and total, not in above idle")
    return "\n".join(lines + [f"  note: {warning}" for warning in r.warnings])
