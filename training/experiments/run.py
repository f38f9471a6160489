"""Running a plan: each cell is trained, or gone on with, and scored; what is finished is not done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ...runtime.atomic import write_file
from ...runtime.errors import GateError, InputError, TinysceneError
from ...runtime.output import Output
from ..augment import check_devices
from ..data.lock import lock
from ..run import Run, is_complete, load_run
from ..session import train_network
from .cells import Cell, Plan, data_identity
from .score import is_scored, score_cell
from .sides import OWN, Side

CELLS = "cells"
IDENTITY = "cell.json"


@dataclass(frozen=True)
class Workshop:
    """The folder that all grids of one --out share, and the recordings their cells are trained and scored on."""

    out: Path
    sides: tuple[Side, ...]
    threads: int = field(default_factory=torch.get_num_threads)  # of a training that leaves them to torch

    @property
    def own(self) -> Side:
        """The evaluation side of the corpus that is trained on."""
        return next(side for side in self.sides if side.name == OWN)

    @cached_property
    def data(self) -> dict[str, Any]:
        """What the identity of every cell says of the corpus."""
        return data_identity(self.own.data)

    def folder(self, cell: Cell) -> Path:
        """Where the cell's run and its answers lie."""
        return self.out / CELLS / cell.name(self.data)

    def run(self, cell: Cell) -> Run:
        """The finished run of `cell`; raises `InputError` when it was damaged."""
        return cell.run if cell.run is not None else load_run(self.folder(cell))

    def is_finished(self, cell: Cell) -> bool:
        """Whether `cell` is trained, and has answered on every side."""
        folder = self.folder(cell)
        return (cell.run is not None or is_complete(folder)) and is_scored(folder, self.sides)


def finish_cell(cell: Cell, workshop: Workshop, output: Output) -> None:
    """Train `cell`, whose teachers are finished, or go on with it, then score it on every side.

    Raises what `train_network` does.
    """
    folder = workshop.folder(cell)
    if cell.settings is None:
        run = workshop.run(cell)
    else:
        teachers = [workshop.run(teacher) for teacher in cell.teachers]
        data = workshop.own.data.with_holdout(cell.settings.holdout)
        # A training with threads of its own leaves them set: each cell starts with the same.
        torch.set_num_threads(workshop.threads)
        run = train_network(cell.kind, cell.settings, data, folder, output, teachers)
    text = json.dumps(cell.identity(workshop.data), indent=1)
    write_file(folder / IDENTITY, (text + "\n").encode())
    for side in workshop.sides:
        score_cell(folder, run, side, output)


class CellError(Exception):
    """A cell failed; why, and which one."""

    def __init__(self, cell: Cell, error: TinysceneError) -> None:
        super().__init__(str(error))
        self.cell, self.error = cell, error


def in_order(cells: Sequence[Cell], workshop: Workshop, output: Output) -> None:
    """Finish `cells` one after the other; raises `CellError`."""
    for number, cell in enumerate(cells, start=1):
        output.log(f"cell {number} of {len(cells)}: {cell.what} ({workshop.folder(cell).name})")
        try:
            finish_cell(cell, workshop, output)
        except TinysceneError as error:
            raise CellError(cell, error) from error


#: How cells are finished: `in_order`, or on a cluster.
Runner = Callable[[Sequence[Cell], Workshop, Output], None]


def check_data(plan: Plan, workshop: Workshop) -> None:
    """Raise `InputError` when the training side has not what a cell's settings ask of it, naming the cell's row."""
    data = workshop.own.data
    for cell in plan.cells:
        if cell.settings is None:
            continue
        try:
            kept = data.with_holdout(cell.settings.holdout)
            if cell.settings.dir_folder is not None:
                check_devices(cell.settings.dir_devices, kept.seen_devices)
            len(kept.train)  # dealing out what is kept aside may fail
        except InputError as error:
            raise InputError(f"{plan.wanted_by(cell)}: {error}") from error


def run_plan(plan: Plan, workshop: Workshop, output: Output, runner: Runner = in_order) -> None:
    """Finish every cell of `plan` that is not finished yet; a second process on the same folder waits.

    Raises `GateError` or `InputError` naming the row and seed of the cell that failed; finished ones stay.
    """
    workshop.out.mkdir(parents=True, exist_ok=True)
    with lock(workshop.out, f"running an experiment in {workshop.out}", output):
        todo = [cell for cell in plan.cells if not workshop.is_finished(cell)]
        output.log(f"{plan.grid}: {len(plan.cells)} cells, {len(plan.cells) - len(todo)} of them finished before")
        try:
            runner(todo, workshop, output)
        except CellError as failed:
            kind = GateError if isinstance(failed.error, GateError) else InputError
            where = f"{plan.wanted_by(failed.cell)} ({failed.cell.what}, in {workshop.folder(failed.cell)})"
            raise kind(f"{where}: {failed.error}") from failed.error
