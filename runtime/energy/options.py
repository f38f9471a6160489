"""The options that say which meter is read and how, for every verb that measures. Nothing heavy is imported before."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .result import Battery, EnergyResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the meter, of the method and of the battery."""
    energy = parser.add_argument_group("energy")
    energy.add_argument(
        "--meter",
        metavar="METER",
        help="pi5, pi5:fit, hwmon[:NAME], rapl, joulescope, ppk2:PORT,MODE,MILLIVOLTS, csv:FILE or mlperf:FILE "
        "(default: none, and no energy is reported)",
    )
    energy.add_argument("--meter-period-s", type=float, metavar="S", help="time between samples (default: the meter's)")
    energy.add_argument(
        "--energy-groups", type=int, default=8, metavar="N", help="groups of idle, active, active, idle blocks"
    )
    energy.add_argument("--energy-block-s", type=float, default=5.0, metavar="S", help="length of a block")
    energy.add_argument(
        "--energy-settle-s", type=float, default=1.0, metavar="S", help="dropped at both edges of every block"
    )
    energy.add_argument("--energy-order", choices=("abba", "random"), default="abba", help="order of the blocks")
    energy.add_argument("--energy-seed", type=int, default=0, metavar="N", help="of random order and of the interval")
    energy.add_argument(
        "--energy-overhead",
        action="store_true",
        help="also idle at half the meter's rate, which shows what its reading costs",
    )
    energy.add_argument(
        "--energy-marks",
        type=Path,
        metavar="FILE",
        help="write when each block ran, to be joined with an instrument's log by `tinyscene energy`",
    )
    add_battery_arguments(energy)


def add_battery_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the options that describe a battery."""
    parser.add_argument("--capacity-wh", type=float, metavar="WH", help="battery capacity in watt-hours")
    parser.add_argument("--capacity-mah", type=float, metavar="MAH", help="or in milliampere-hours, with --battery-v")
    parser.add_argument("--battery-v", type=float, metavar="V", help="nominal voltage that --capacity-mah is given at")
    parser.add_argument(
        "--battery-usable",
        type=float,
        default=0.85,
        metavar="SHARE",
        help="share that reaches the board (converter, age)",
    )


def open_battery(arguments: argparse.Namespace) -> Battery | None:
    """The battery that `arguments` describe, or None; raises `InputError` for one that cannot be meant."""
    from .result import battery_of

    return battery_of(arguments.capacity_wh, arguments.capacity_mah, arguments.battery_v, arguments.battery_usable)


def measure(
    arguments: argparse.Namespace, run_once: Callable[[], object], hop_s: float, log: Callable[[str], None]
) -> EnergyResult | None:
    """Measure what one `run_once` costs as `arguments` ask; None where they name no meter.

    `hop_s` is the time between inferences when listening, `log` takes a line of progress. With `--energy-marks` and a
    meter that logs to a file by itself, the marks are written and None is returned; the line logged says how to join
    the two. A file of marks that is there stays: the next is called FILE-2. Raises `InputError` and `UnavailableError`.
    """
    from ..errors import InputError
    from .catalogue import open_meter
    from .marks import write_marks
    from .method import Plan, measure_blocks, result_of

    battery = open_battery(arguments)
    plan = Plan(
        groups=arguments.energy_groups,
        block_s=arguments.energy_block_s,
        settle_s=arguments.energy_settle_s,
        order=arguments.energy_order,
        seed=arguments.energy_seed,
    )
    if arguments.meter is None:
        if arguments.energy_marks is not None:
            raise InputError(
                "--energy-marks without a meter: name the instrument whose log is joined, --meter csv:FILE"
            )
        return None
    meter = open_meter(arguments.meter, arguments.meter_period_s)
    if not meter.live and arguments.energy_marks is None:
        raise InputError(
            f"{arguments.meter} is a log that its instrument writes: say where the blocks' times go, "
            "--energy-marks FILE"
        )
    log(f"energy: {plan.describe()}, read by {meter.name}")
    run = measure_blocks(meter, run_once, plan, hop_s=hop_s, overhead=arguments.energy_overhead)
    marks = None if arguments.energy_marks is None else _unused(arguments.energy_marks)
    if marks is not None:
        write_marks(marks, run.unix_marks)
    if run.trace is None:
        log(
            f"energy: blocks marked in {marks}; when the log is complete run "
            f"`tinyscene energy {marks} --meter {arguments.meter}`"
        )
        return None
    return result_of(run, plan, battery)


def _unused(path: Path) -> Path:
    """`path`, or with the first number at its name that no file has: each engine of a bench has marks of its own."""
    number, unused = 1, path
    while unused.exists():
        number += 1
        unused = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return unused
