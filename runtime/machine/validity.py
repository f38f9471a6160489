"""Whether figures measured on a machine may be quoted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .state import MachineState
from .throttle import throttled_since
from .usage import Load


@dataclass(frozen=True)
class Validity:
    """An invalid run is shown and kept, but never averaged in; `notes` are what a reader should know of a valid one."""

    valid: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What a run has to keep to."""

    others_share: float = 0.1  # of one core, taken by other processes
    fewest_runs: int = 20  # under this the tail of a distribution is chance
    # The machine's processor time comes in ticks of 10 ms a core; what may be two of them is not somebody's work.
    tick_slack_s: float = 0.02


def judge(
    states: Sequence[MachineState], load: Load | None = None, runs: int | None = None, limits: Limits | None = None
) -> Validity:
    """Judge a run by the machine's `states` from before it to after it, its `load` and the number of its `runs`."""
    limits = limits or Limits()
    reasons = [*_throttling(states), *_scaling(states)]
    if load is not None and load.others_share is not None:
        slack = limits.tick_slack_s * load.cores / load.wall_s
        if load.others_share > limits.others_share + slack:
            reasons.append(
                f"other processes took {100 * load.others_share:.0f} % of a core "
                f"(at most {100 * limits.others_share:.0f} %)"
            )
    if runs is not None and runs < limits.fewest_runs:
        reasons.append(f"{runs} runs are too few for percentiles (at least {limits.fewest_runs})")
    return Validity(not reasons, tuple(reasons), tuple(_notes(states, load)))


def _throttling(states: Sequence[MachineState]) -> list[str]:
    found: dict[str, None] = {}
    for state in states:
        found |= dict.fromkeys(state.throttle.flags if state.throttle else ())
    for before, after in pairwise(states):
        found |= dict.fromkeys(throttled_since(before.throttle, after.throttle))
    hottest = max((state.temperature_c for state in states if state.temperature_c is not None), default=None)
    at = "" if hottest is None else f" (at most {hottest:.1f} C)"
    return [f"{words}{at if words != 'under-voltage' else ''}" for words in found]


def _scaling(states: Sequence[MachineState]) -> list[str]:
    reasons = []
    governors = list(dict.fromkeys(state.governor for state in states if state.governor is not None))
    if len(governors) > 1:
        reasons.append(f"the governor changed: {', then '.join(governors)}")
    capped: dict[int, tuple[float, float]] = {}  # by core: the lowest limit seen, and what it could run at
    for core in (core for state in states for core in state.cores):
        if core.limit_mhz is not None and core.highest_mhz is not None and core.limit_mhz < core.highest_mhz:
            limits = (core.limit_mhz, core.highest_mhz)
            capped[core.number] = min(capped.get(core.number, limits), limits)
    if capped:
        limit_mhz, highest_mhz = min(capped.values())
        cores = ", ".join(map(str, sorted(capped)))
        reasons.append(f"the frequency of core {cores} is capped at {limit_mhz:.0f} of {highest_mhz:.0f} MHz")
    return reasons


def _notes(states: Sequence[MachineState], load: Load | None) -> list[str]:
    notes = []
    if not any(state.throttle for state in states):
        notes.append("throttling is not known on this machine")
    if not any(state.temperature_c is not None for state in states):
        notes.append("temperature is not known on this machine")
    governors = {state.governor for state in states}
    if governors == {None}:
        notes.append("governor and frequency are not known on this machine")
    elif "performance" not in governors:
        notes.append("the governor lets the frequency follow the load: figures vary more than with `performance`")
    before = states[0].throttle if states else None
    if before is not None and before.occurred and before.source == "vcgencmd":
        words = ", ".join(before.occurred)
        notes.append(f"since its start this machine has seen: {words}; a short one during the run would not show")
    if load is not None and load.others_share is None:
        notes.append("the load of other processes is not known")
    return notes
