"""Joules out of a trace of power and the marks of its blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .interval import FEWEST, bootstrap
from .marks import Block, Marks
from .meter import PowerTrace
from .result import Battery, EnergyResult, Figure, Overhead

#: A block that lacks more than this share of its samples says nothing.
MAX_LACKING = 0.1

#: A gap between samples of more than this many intervals is samples that are lacking.
GAP_INTERVALS = 5

#: A change of idle power over the run of more than this share of what is added by activity is remarked on.
MAX_DRIFT = 0.1


@dataclass(frozen=True)
class _Kept:
    """A block without its edges: joules and seconds of what is left, and the middle of it."""

    block: Block
    energy_j: float
    seconds: float
    middle_s: float


def analyse(
    trace: PowerTrace,
    marks: Marks,
    *,
    settle_s: float = 1.0,
    hop_s: float | None = None,
    battery: Battery | None = None,
    overhead: Overhead | None = None,
    seed: int = 0,
) -> EnergyResult:
    """What the blocks of `marks` cost according to `trace`; both have to go by the same clock.

    `settle_s` is dropped at both edges of each block, and never less than two of the trace's intervals. Within a group,
    with mean idle power I, mean active power A, time T of its active blocks from the first inference's start to the
    last one's end: (A - I) * T above idle and A * T in all; sums over groups are divided by the inferences. A group
    with a block that the trace does not cover is dropped whole, so that drift keeps cancelling in the others. Raises
    `InputError` when fewer than three groups are left.
    """
    if trace.clock != marks.clock:
        raise InputError(
            f"the log counts time by the clock {trace.clock!r} and the marks by {marks.clock!r}: say when the log "
            "began, such as --meter csv:FILE,start=1700000000.5 (seconds since 1970)"
        )
    settle_s = max(settle_s, 2 * trace.interval_s)
    hop_s = marks.hop_s if hop_s is None else hop_s
    groups, dropped = _groups(trace, marks, settle_s)
    warnings = list(trace.warnings)
    if dropped:
        warnings.append(f"{len(dropped)} group(s) dropped: {dropped[0]}")
    if len(groups) < FEWEST:
        raise InputError(
            f"{len(groups)} group(s) of blocks can be used, expected {FEWEST} or more"
            + (f" ({dropped[0]})" if dropped else "")
            + f"; the log runs from {trace.t_s[0]:.3f} to {trace.t_s[-1]:.3f} s: measure longer, or settle "
            "for less"
        )
    sums = np.array([_sums(kept) for kept in groups])

    def figures(total: NDArray[np.float64]) -> NDArray[np.float64]:
        idle_j, idle_s, active_j, active_s, above_j, all_j, inferences = np.moveaxis(total, -1, 0)
        above, idle_w = above_j / inferences, _ratio(idle_j, idle_s)
        hour = idle_w * 3600 + (3600 / hop_s * above if hop_s is not None else math.nan)
        return np.stack([idle_w, active_j / active_s, above, all_j / inferences, hour], axis=-1)

    values, (low, high) = figures(sums.sum(axis=0)), bootstrap(sums, figures, seed=seed)
    idle, active, above, total, hour = (Figure(*map(float, ends)) for ends in zip(values, low, high, strict=True))
    actives = [kept.block for group in groups for kept in group if kept.block.kind == "active"]
    inferences = sum(block.inferences for block in actives)
    inference_s = sum(block.end_s - block.start_s for block in actives) / inferences
    if hop_s is not None and inference_s > hop_s:
        warnings.append(
            f"an inference takes {inference_s * 1e3:.1f} ms, longer than the hop of {hop_s * 1e3:g} ms: this cannot "
            "listen at that hop, so an hour of it is not known"
        )
        hour = Figure()
    drift_w_per_h, drifting = _drift(groups, active.value - idle.value)
    warnings += [drifting] if drifting else []
    warnings += _doubts(idle, active, above)
    days = None
    if battery is not None:
        days = (
            Figure(battery.days(hour.value), battery.days(hour.high), battery.days(hour.low))
            if hour.known
            else Figure()
        )
    return EnergyResult(
        meter=trace.name,
        kind=trace.kind,
        covers=trace.covers,
        idle_w=idle,
        active_w=active,
        above_idle_j=above,
        total_j=total,
        inference_s=inference_s,
        hop_s=hop_s,
        hour_j=hour,
        battery=battery,
        battery_days=days,
        groups=len(groups),
        groups_dropped=len(dropped),
        inferences=inferences,
        settle_s=settle_s,
        drift_w_per_h=drift_w_per_h,
        samples=len(trace.t_s),
        interval_s=trace.interval_s,
        jitter_ms=trace.jitter_ms,
        missed=trace.missed,
        overhead=overhead if overhead is not None else Overhead(trace.cpu_share),
        warnings=tuple(warnings),
    )


def _groups(trace: PowerTrace, marks: Marks, settle_s: float) -> tuple[list[list[_Kept]], list[str]]:
    """The groups whose blocks are all covered, and why each of the others is not used."""
    groups: dict[int, list[_Kept]] = {}
    refused: dict[int, str] = {}
    for block in marks.blocks:
        start_s, end_s = block.start_s + settle_s, block.end_s - settle_s
        reason = _lacking(trace, start_s, end_s)
        if reason:
            refused.setdefault(block.group, f"an {block.kind} block of group {block.group} {reason}")
            continue
        kept = _Kept(block, trace.energy_j(start_s, end_s), end_s - start_s, (start_s + end_s) / 2)
        groups.setdefault(block.group, []).append(kept)
    with_idle = any(block.kind == "idle" for block in marks.blocks)
    for group, kept_blocks in groups.items():
        kinds = {kept.block.kind for kept in kept_blocks}
        if group not in refused and ("active" not in kinds or (with_idle and "idle" not in kinds)):
            refused[group] = f"group {group} has no {'idle' if 'active' in kinds else 'active'} block"
    return [kept for group, kept in groups.items() if group not in refused], list(refused.values())


def _lacking(trace: PowerTrace, start_s: float, end_s: float) -> str:
    """Why the trace cannot tell the energy between two times, or ""."""
    if end_s <= start_s:
        return "is no longer than its settling at both edges"
    if start_s < trace.t_s[0] or end_s > trace.t_s[-1]:
        return "lies outside the log"
    inside = trace.t_s[np.searchsorted(trace.t_s, start_s) : np.searchsorted(trace.t_s, end_s, side="right")]
    gaps = np.diff(np.concatenate(([start_s], inside, [end_s])))
    lacking = float(gaps[gaps > GAP_INTERVALS * trace.interval_s].sum()) / (end_s - start_s)
    return f"lacks {lacking:.0%} of its samples" if lacking > MAX_LACKING else ""


def _sums(group: list[_Kept]) -> list[float]:
    """What a group adds: idle J and s, active J and s, J above idle and in all while active, and inferences."""
    idle = [kept for kept in group if kept.block.kind == "idle"]
    active = [kept for kept in group if kept.block.kind == "active"]
    idle_j, idle_s = math.fsum(k.energy_j for k in idle), math.fsum(k.seconds for k in idle)
    active_j, active_s = math.fsum(k.energy_j for k in active), math.fsum(k.seconds for k in active)
    whole_s = math.fsum(k.block.end_s - k.block.start_s for k in active)
    active_w = active_j / active_s
    idle_w = idle_j / idle_s if idle_s else math.nan
    inferences = sum(k.block.inferences for k in active)
    return [idle_j, idle_s, active_j, active_s, (active_w - idle_w) * whole_s, active_w * whole_s, inferences]


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quotient, NaN where nothing was summed."""
    return np.divide(top, bottom, out=np.full_like(top, np.nan, dtype=np.float64), where=bottom > 0)


def _drift(groups: list[list[_Kept]], added_w: float) -> tuple[float, str]:
    """Slope of idle power in W an hour by least squares over idle blocks, and a remark where it matters."""
    idle = [kept for group in groups for kept in group if kept.block.kind == "idle"]
    if len(idle) < FEWEST:
        return math.nan, ""
    t = np.array([kept.middle_s for kept in idle])
    p = np.array([kept.energy_j / kept.seconds for kept in idle])
    t = t - t.mean()
    slope = float(t @ p / (t @ t))
    left = p - p.mean() - slope * t
    error = math.sqrt(float(left @ left) / max(1, len(t) - 2) / float(t @ t))
    change_w = slope * float(t[-1] - t[0])
    if abs(change_w) > MAX_DRIFT * abs(added_w) and abs(slope) > 3 * error:
        return slope * 3600, (
            f"idle power changed by {change_w:+.3f} W during the run: let the board warm up first; above idle has the "
            "steady part of this taken out, total and idle have not"
        )
    return slope * 3600, ""


def _doubts(idle: Figure, active: Figure, above: Figure) -> list[str]:
    doubts = []
    if not idle.known:
        doubts.append("the log has no idle blocks: only the total is known, not what an inference adds")
    elif above.low <= 0 <= above.high:
        doubts.append("the interval of what an inference adds contains 0: use longer blocks or more groups")
    if active.value < 0:
        doubts.append("power is negative: the sensor's two wires are swapped, or the battery was being charged")
    return doubts
