"""The verb `energy`: the meters there are, and a log joined with its marks. Nothing heavy is imported before."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..cli import Verb
from ..output import Output, format_table
from .options import add_battery_arguments


def _energy_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("marks", nargs="?", type=Path, help="file that `tinyscene bench --energy-marks` wrote")
    parser.add_argument(
        "--meter", metavar="METER", help="the instrument's log: csv:FILE or mlperf:FILE (default: list)"
    )
    parser.add_argument("--settle-s", type=float, default=1.0, help="dropped at both edges of every block")
    parser.add_argument("--hop-s", type=float, help="time between inferences when listening (default: the marks')")
    parser.add_argument("--seed", type=int, default=0, help="of the interval's bootstrap")
    add_battery_arguments(parser)


def _energy(arguments: argparse.Namespace, output: Output) -> int:
    from .catalogue import METERS

    if arguments.meter is None:
        table = format_table(["--meter", "what it reads", "column", "needs"], METERS)
        output.record(
            "tinyscene.energy_meters/1",
            table,
            meters=[dict(zip(("meter", "reads", "kind", "needs"), row, strict=True)) for row in METERS],
        )
        return 0
    from .join import join
    from .options import open_battery
    from .result import energy_text

    result = join(
        arguments.marks,
        arguments.meter,
        settle_s=arguments.settle_s,
        hop_s=arguments.hop_s,
        battery=open_battery(arguments),
        seed=arguments.seed,
    )
    output.record("tinyscene.energy/1", energy_text(result), **result.as_dict())
    return 0


ENERGY = Verb(
    help="list the power meters, or join an instrument's log with the marks of a run",
    example="tinyscene energy marks.jsonl --meter csv:power.csv",
    add_arguments=_energy_arguments,
    run=_energy,
)
