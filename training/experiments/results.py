"""What the rows of a finished grid amount to: metrics at each seed, estimates with their intervals, differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...runtime.output import Output
from ..ensemble import combine, ensemble_weights
from ..metrics import agreement
from ..predict import choose_device
from ..session import network_size
from .cells import Cell, Plan, PlannedRow
from .intervals import Tally, interval, replicates
from .run import Workshop
from .score import Answers, count_right, score_cell

#: A metric on a side: ("own", "accuracy").
Key = tuple[str, str]


class Estimate(NamedTuple):
    """A value, and the limits of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CellResult:
    """One cell as one row of `results.csv` says it."""

    cell: Cell
    seed: int | None  # None for an existing run
    folder: str
    arch: str
    parameters: int
    macs: int
    metrics: Mapping[str, Mapping[str, Any]]  # side -> metrics
    teachers_accuracy: float | None = None  # of what the teachers say together, on the own side
    teachers_agreement: float | None = None  # mean over pairs of them


@dataclass(frozen=True)
class RowResult:
    """A row of the table."""

    row: PlannedRow
    cells: tuple[CellResult, ...]
    tallies: Mapping[Key, Tally]
    estimates: Mapping[Key, Estimate]
    differences: Mapping[Key, Estimate]  # from the baseline; none of the baseline, nor of other snippets than its


def collect(plan: Plan, workshop: Workshop, output: Output) -> list[RowResult]:
    """The results of `plan`, whose cells are all finished."""
    answered = {
        row.name: {
            side.name: [score_cell(workshop.folder(cell), workshop.run(cell), side, output) for cell in row.cells]
            for side in workshop.sides
        }
        for row in plan.rows
    }
    tallies: dict[str, dict[Key, Tally]] = {}
    for row in plan.rows:
        tallies[row.name] = {
            (side.name, metric): entry
            for side in workshop.sides
            for metric, entry in count_right(answered[row.name][side.name], side).items()
        }
    drawn = _replicate(tallies)
    results = []
    for row in plan.rows:
        own = tallies[row.name]
        estimates = {key: Estimate(own[key].value(), *interval(drawn[row.name, key])) for key in own}
        differences = {}
        if plan.baseline is not None and row.name != plan.baseline:
            for key, entry in tallies[plan.baseline].items():
                # Of other snippets (a run that knows other scenes) the difference would be one of tasks.
                if key in own and np.array_equal(own[key].counts, entry.counts):
                    paired = drawn[row.name, key] - drawn[plan.baseline, key]
                    differences[key] = Estimate(own[key].value() - entry.value(), *interval(paired))
        cells = _cell_results(plan, row, answered[row.name], workshop, output)
        results.append(RowResult(row, tuple(cells), own, estimates, differences))
    return results


def _replicate(tallies: Mapping[str, Mapping[Key, Tally]]) -> dict[tuple[str, Key], NDArray[np.float64]]:
    """Bootstrap replicates of every tally by row and key; all of one side come from the same draws."""
    drawn: dict[tuple[str, Key], NDArray[np.float64]] = {}
    for side in dict.fromkeys(side for entries in tallies.values() for side, _ in entries):
        keys = [(row, key) for row, entries in tallies.items() for key in entries if key[0] == side]
        drawn |= dict(zip(keys, replicates([tallies[row][key] for row, key in keys]), strict=True))
    return drawn


def _cell_results(
    plan: Plan, row: PlannedRow, answered: Mapping[str, Sequence[Answers]], workshop: Workshop, output: Output
) -> list[CellResult]:
    results = []
    existing = row.cells[0].run is not None
    for number, cell in enumerate(row.cells[:1] if existing else row.cells):
        run = workshop.run(cell)
        # An imported run says nothing of its size.
        parameters, macs = run.metrics.get("parameters"), run.metrics.get("macs")
        if parameters is None or macs is None:
            parameters, macs = network_size(run.build(), run.arch)
        accuracy, agree = _teaching(cell, workshop, output) if cell.teachers else (None, None)
        results.append(
            CellResult(
                cell=cell,
                seed=None if existing else plan.seeds[number],
                folder=workshop.folder(cell).name,
                arch=run.arch,
                parameters=int(parameters),
                macs=int(macs),
                metrics={side: answers[number].metrics for side, answers in answered.items()},
                teachers_accuracy=accuracy,
                teachers_agreement=agree,
            )
        )
    return results


def _teaching(cell: Cell, workshop: Workshop, output: Output) -> tuple[float, float | None]:
    """Accuracy of what the teachers of `cell` say together on the own evaluation side, and how often pairs agree."""
    assert cell.settings is not None
    side = workshop.own
    runs = [workshop.run(teacher) for teacher in cell.teachers]
    logits = [
        score_cell(workshop.folder(teacher), run, side, output).predictions.logits
        for teacher, run in zip(cell.teachers, runs, strict=True)
    ]
    weights = ensemble_weights(
        cell.settings.ensemble,
        runs,
        side.data.with_holdout(cell.settings.holdout),
        context_s=cell.settings.teacher_context_s,
        device=choose_device(cell.settings.device),
        output=output,
    )
    truth = side.data.cache.label[side.data.evaluate]
    accuracy = float((combine(logits, weights).argmax(axis=1) == truth).mean())
    pairs = [agreement(first, second) for first, second in combinations(logits, 2)]
    return accuracy, float(np.mean(pairs)) if pairs else None
