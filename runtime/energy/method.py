"""Running the blocks: idle and active in turns, with the meter on throughout.

Both kinds are seen by the same meter in the same minutes, so what the meter itself costs, the board's warming up and
the room are in both and cancel in their difference.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np

from ..errors import InputError, TinysceneError
from .analysis import analyse
from .interval import FEWEST, bootstrap
from .marks import Block, BlockKind, Marks
from .meter import Meter, PowerTrace
from .result import Battery, EnergyResult, Figure, Overhead


@dataclass(frozen=True)
class Plan:
    """Which blocks are run.

    "abba": each group is idle, active, active, idle, in which a steady drift cancels. "random": each group is one idle
    and one active block in an order drawn by `seed`, which keeps in step with nothing.
    """

    groups: int = 8
    block_s: float = 5.0
    settle_s: float = 1.0
    order: Literal["abba", "random"] = "abba"
    seed: int = 0
    warm_up: int = 3

    def __post_init__(self) -> None:
        if self.groups < FEWEST:
            raise InputError(f"{self.groups} groups of blocks, expected {FEWEST} or more: set --energy-groups")
        if not (math.isfinite(self.block_s) and math.isfinite(self.settle_s) and 0 <= 2 * self.settle_s < self.block_s):
            raise InputError(
                f"blocks of {self.block_s} s with {self.settle_s} s dropped at both edges leave nothing: set "
                "--energy-block-s above twice --energy-settle-s"
            )
        if self.order not in ("abba", "random"):
            raise InputError(f"order {self.order!r}, expected 'abba' or 'random'")

    def kinds(self) -> list[list[BlockKind]]:
        """The kinds of every group's blocks, in order of time."""
        draw = Random(self.seed)
        groups: list[list[BlockKind]] = []
        for _ in range(self.groups):
            group: list[BlockKind] = ["idle", "active"]
            groups.append(["idle", "active", "active", "idle"] if self.order == "abba" else draw.sample(group, 2))
        return groups

    def describe(self) -> str:
        """Such as "8 groups of blocks of 5 s, 160 s in all"."""
        blocks = sum(map(len, self.kinds()))
        return f"{self.groups} groups of blocks of {self.block_s:g} s, {blocks * self.block_s:g} s in all"


@dataclass(frozen=True, eq=False)
class Run:
    """What was run, by the steady clock, and seen: no trace where an instrument's log is joined later."""

    trace: PowerTrace | None
    marks: Marks
    unix_minus_monotonic_s: float
    overhead: Overhead | None = None

    @property
    def unix_marks(self) -> Marks:
        """The marks in seconds since 1970, for instruments with a clock of their own."""
        return self.marks.shifted(self.unix_minus_monotonic_s, "unix")


def measure_blocks(
    meter: Meter,
    run_once: Callable[[], object],
    plan: Plan,
    *,
    hop_s: float | None = None,
    idle: Callable[[float], object] | None = None,
    overhead: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
    wall: Callable[[], float] = time.time,
) -> Run:
    """Run `plan` with `meter` on; `idle(seconds)` is what is done in idle blocks, nothing unless it is given.

    `clock` has to be the one that a live meter's trace goes by. With `overhead`, idles some more at the meter's rate
    and at half of it. Raises what the meter and `run_once` raise; the meter is stopped in any case.
    """
    rest = sleep if idle is None else idle
    for _ in range(plan.warm_up):
        run_once()
    cost = meter_cost(meter, plan, rest) if overhead and meter.live else None
    unix_minus_monotonic_s = wall() - clock()
    blocks = []
    meter.start()
    try:
        for group, kinds in enumerate(plan.kinds()):
            for kind in kinds:
                start_s, inferences = clock(), 0
                if kind == "idle":
                    rest(plan.block_s)
                else:
                    while inferences == 0 or clock() - start_s < plan.block_s:
                        run_once()
                        inferences += 1
                blocks.append(Block(kind, group, start_s, clock(), inferences))
    except BaseException:
        with suppress(TinysceneError):
            meter.stop()
        raise
    marks = Marks(tuple(blocks), "monotonic", hop_s)
    trace = meter.stop() if meter.live else None
    return Run(trace, marks, unix_minus_monotonic_s, cost)


def result_of(run: Run, plan: Plan, battery: Battery | None = None) -> EnergyResult:
    """The result of a run of a live meter."""
    if run.trace is None:
        raise InputError(
            "an instrument that logs to a file is joined afterwards: run `tinyscene energy MARKS --meter ...`"
        )
    return analyse(
        run.trace, run.marks, settle_s=plan.settle_s, battery=battery, overhead=_with_share(run), seed=plan.seed
    )


def measure_energy(
    meter: Meter,
    run_once: Callable[[], object],
    plan: Plan | None = None,
    *,
    hop_s: float | None = None,
    idle: Callable[[float], object] | None = None,
    battery: Battery | None = None,
    overhead: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> EnergyResult:
    """What one `run_once` costs, in idle and active blocks in turns; see `measure_blocks` and `analyse`."""
    if not meter.live:
        raise InputError(
            f"{meter.name} is a log that its instrument writes: mark the blocks first, --energy-marks FILE"
        )
    plan = Plan() if plan is None else plan
    run = measure_blocks(meter, run_once, plan, hop_s=hop_s, idle=idle, overhead=overhead, clock=clock, sleep=sleep)
    return result_of(run, plan, battery)


def meter_cost(meter: Meter, plan: Plan, rest: Callable[[float], object]) -> Overhead | None:
    """What reading `meter` costs, from idling in turns at its rate and at half of it; None for a rate that is not ours.

    With a cost of c joules a reading, the two idle powers differ by c / period - c / (2 * period), half of the cost at
    the full rate: their difference is doubled. Two rates tell nothing of what the meter draws whatever its rate.
    """
    period_s = getattr(meter, "period_s", None)
    if period_s is None:
        return None
    means = np.zeros((plan.groups, 2))
    shares = []
    try:
        for group in range(plan.groups):
            # Which comes first changes from group to group, so that drift does not favour one.
            for column in (0, 1) if group % 2 == 0 else (1, 0):
                meter.period_s = period_s * (1 + column)  # type: ignore[attr-defined]
                meter.start()
                rest(plan.block_s)
                trace = meter.stop()
                start_s, end_s = trace.t_s[0] + plan.settle_s, trace.t_s[-1] - plan.settle_s
                if end_s <= start_s:
                    raise InputError(f"blocks of {plan.block_s} s are too short to tell the cost of {meter.name}")
                means[group, column] = trace.energy_j(start_s, end_s) / (end_s - start_s)
                if column == 0 and trace.cpu_share is not None:
                    shares.append(trace.cpu_share)
    finally:
        meter.period_s = period_s  # type: ignore[attr-defined]
    differences = np.stack([2 * (means[:, 0] - means[:, 1]), np.ones(plan.groups)], axis=1)
    low, high = bootstrap(differences, lambda sums: sums[..., :1] / sums[..., 1:], seed=plan.seed)
    power = Figure(float(differences[:, 0].mean()), float(low[0]), float(high[0]))
    return Overhead(float(np.mean(shares)) if shares else None, power)


def _with_share(run: Run) -> Overhead | None:
    """The run's own share of a core where the cost was measured without one."""
    if run.overhead is None or run.trace is None or run.trace.cpu_share is None:
        return run.overhead
    return Overhead(run.trace.cpu_share, run.overhead.power_w)
