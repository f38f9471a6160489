"""What listening takes of one processor core, and what for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .meters import Meters


@dataclass(frozen=True)
class CpuShare:
    """Shares of one core, 1.0 being all of it, had the stream come at the pace of a microphone."""

    total: float  # of the whole process, every thread
    parts: dict[str, float]  # by stage; "rest" is everything else: the source, the loop, those who are told


def cpu_split(meters: Meters, time_s: float) -> CpuShare:
    """Split the process's processor time since `meters.begin()` over `time_s` of the stream; NaN when that is none.

    The stages are timed by the wall clock, so on a busy machine they show too much and the rest too little.
    """
    load = meters.load
    scale = 1.0 / time_s if time_s > 0 else math.nan
    parts = {name: spent_s * scale for name, spent_s in meters.spent_s.items() if name != "latency"}
    total = load.cpu_share * load.wall_s * scale
    return CpuShare(total, {**parts, "rest": max(0.0, total - sum(parts.values()))})
