"""From a grid and what the command line gives to the cells to train: everything that can be refused is refused here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ...runtime.errors import GateError, InputError, TinysceneError
from ...runtime.output import Output
from ..augment import responses_digest
from ..config import make_settings
from ..data.corpus import Corpus
from ..distill import check_teachers
from ..models.sizes import ARGUMENTS
from ..run import Run, load_run
from ..session import check_request
from ..settings import NetworkSettings, StudentSettings, TeacherSettings
from .cells import Cell, Plan, PlannedRow
from .grid import Grid, Row

#: Settings of a student that the run of a warm start brings itself.
_OF_THE_START = ("arch", "size", *ARGUMENTS)


@dataclass(frozen=True)
class Given:
    """What a grid may need and only the command line can give."""

    responses: Path | None = None  # impulse responses to train with
    init: Path | None = None  # run that warm starts begin with
    pretrained: Mapping[str, Path] = field(default_factory=dict)  # architecture -> published weights
    runs: Sequence[Path] = ()  # existing runs, each a row of its own


class _NotGivenError(Exception):
    """A row needs an option that the command line lacks."""


def make_plan(grid: Grid, given: Given, corpus: Corpus, output: Output) -> Plan:
    """The cells of `grid` on `corpus`, their settings resolved and checked.

    Optional rows that lack an option are left out with a line in the log. Raises `InputError` for unknown settings, bad
    values, options that nothing uses, teachers and initial weights that do not fit and folders without impulse
    responses, `GateError` for networks over their budget; each names its row.
    """
    planner = _Planner(grid, given, corpus)
    rows = []
    for row in grid.rows:
        try:
            rows.append(planner.row(row))
        except _NotGivenError as missing:
            if not row.optional:
                raise InputError(f"grid {grid.name}, row {row.name!r} needs {missing}") from None
            output.log(f"row {row.name!r} is left out: it needs {missing}")
        except TinysceneError as error:
            raise _in_row(error, f"grid {grid.name}, row {row.name!r}") from error
    if not rows or (grid.baseline is not None and grid.baseline not in {row.name for row in rows}):
        raise InputError(f"grid {grid.name} has no row to compare with: give the options that the log asks for")
    if unused := planner.unused():
        raise InputError(f"grid {grid.name} has no use for {unused}: leave it out")
    rows += planner.existing()
    return Plan(grid.name, grid.question, grid.seeds, tuple(rows), grid.baseline)


def _in_row(error: TinysceneError, where: str) -> TinysceneError:
    kind = GateError if isinstance(error, GateError) else InputError
    return kind(f"{where}: {error}")


class _Planner:
    """Makes cells, each kind of teacher once, and remembers which options were of use."""

    def __init__(self, grid: Grid, given: Given, corpus: Corpus) -> None:
        self.grid, self.given, self.corpus = grid, given, corpus
        self.used: set[str] = set()
        self.teacher = cache(self._teacher)
        # Rows differ in their teachers as often as in their student: each network is built and counted once.
        self.start = cache(lambda settings: check_request(settings, corpus.labels))

    def row(self, row: Row) -> PlannedRow:
        """The row with its cells at all seeds."""
        if row.model is not None:
            first = self.teacher(row.model)
            if row.settings and first.run is not None:
                raise InputError(f"{row.model!r} is an existing run: settings do not change it any more")
            if row.settings:
                first = self._teacher(row.model, row.settings)
            cells = [_at_seed(first, seed, f"teacher {row.name!r}") for seed in self.grid.seeds]
            return PlannedRow(row.name, tuple(cells), row.settings)
        student = self._student(row)
        assert student.settings is not None
        size = student.settings.ensemble_size
        if size is not None and size > len(row.teachers):
            raise InputError(f"ensemble_size is {size}, but the row has {len(row.teachers)} teachers: name more")
        # Cut here, students of the first k teachers are the same cell however they are written.
        members = row.teachers[:size]
        self._check_ensemble(student.settings, [self.teacher(member.name) for member in members])
        student = replace(student, settings=replace(student.settings, ensemble_size=None))
        cells = []
        for seed in self.grid.seeds:
            teachers = tuple(
                _at_seed(self.teacher(member.name), member.seed(seed), f"teacher {member.name!r}") for member in members
            )
            cells.append(replace(_at_seed(student, seed, f"student {row.name!r}"), teachers=teachers))
        return PlannedRow(row.name, tuple(cells), row.settings, tuple(map(str, members)))

    def existing(self) -> list[PlannedRow]:
        """A row for each run that is given by its path."""
        taken = {row.name for row in self.grid.rows}
        rows = []
        for path in [path.resolve() for path in self.given.runs]:
            name = str(path) if path.name in taken else path.name
            if name in taken:
                raise InputError(f"--run {path} is given twice: once is enough")
            taken.add(name)
            rows.append(PlannedRow(name, tuple(_existing(load_run(path)) for _ in self.grid.seeds)))
        return rows

    def unused(self) -> str | None:
        """An option that is given, but that no row had any use for."""
        options = {f"--pretrained {arch}": True for arch in self.given.pretrained}
        options |= {"--responses": self.given.responses is not None, "--init": self.given.init is not None}
        return next((name for name, is_given in options.items() if is_given and name not in self.used), None)

    def _teacher(self, name: str, own: Mapping[str, Any] | None = None) -> Cell:
        teacher = self.grid.teachers[name]
        if teacher.run is not None:
            run = load_run(Path(teacher.run).resolve())
            check_teachers([run], self.corpus.labels)
            return _existing(run)
        values = _layers(
            (self.grid.teacher, "settings of teachers"),
            (teacher.settings, f"teacher {name!r}"),
            (own or {}, "settings"),
        )
        if teacher.pretrained:
            arch = values.get("arch", (TeacherSettings().arch, ""))[0]
            if arch not in self.given.pretrained:
                raise _NotGivenError(f"published weights of {arch}: give --pretrained {arch}=FILE")
            self.used.add(f"--pretrained {arch}")
            values["init"] = str(self.given.pretrained[arch]), "--pretrained"
        return self._cell("teacher", TeacherSettings, values)

    def _student(self, row: Row) -> Cell:
        common = dict(self.grid.student)
        start: dict[str, Any] = {}
        if row.warm_start:
            if self.given.init is None:
                raise _NotGivenError("a trained run to start from: give --init RUN")
            self.used.add("--init")
            common = {key: value for key, value in common.items() if key not in _OF_THE_START}
            start = {"init": str(self.given.init), "arch": load_run(self.given.init).arch}
        values = _layers((common, "settings of students"), (start, "--init"), (row.settings, "settings"))
        return self._cell("student", StudentSettings, values)

    @staticmethod
    def _check_ensemble(student: NetworkSettings, teachers: Sequence[Cell]) -> None:
        """What `ensemble.check_ensemble` will ask of the teachers' runs, asked before they are trained."""
        shares = {cell.holdout for cell in teachers}
        if teachers and student.ensemble != "mean" and (len(shares) > 1 or 0.0 in shares):
            raise InputError(
                f"ensemble is {student.ensemble!r}, whose weights come from recordings that no teacher was trained on: "
                f"give all of its teachers the same holdout, such as 0.1 (now {', '.join(map(str, sorted(shares)))})"
            )

    def _cell(self, kind: str, settings: type[NetworkSettings], values: dict[str, tuple[Any, str]]) -> Cell:
        method = values.get("device_generalisation", ("", ""))[0]
        if method in ("dir", "dirfms") and "dir_folder" not in values:
            if self.given.responses is None:
                raise _NotGivenError("impulse responses to train with: give --responses DIR")
            self.used.add("--responses")
            values["dir_folder"] = str(self.given.responses), "--responses"
            if "dir_devices" not in values:
                # The published recipe convolves the reference device; a corpus without one has all convolved.
                known = {clip.device for clip in self.corpus.clips}
                values["dir_devices"] = ["a"] if "a" in known else ["*"], "--responses"
        resolved = make_settings(settings, values)
        if resolved.devices * resolved.nodes > 1:
            raise InputError(
                f"devices is {resolved.devices} and nodes {resolved.nodes}, but each cell of a grid is trained by one "
                "process: leave them at 1, and spread the cells over machines with --ray ADDRESS"
            )
        # Absolute, because a cell may be trained by a process that was started elsewhere.
        resolved = replace(resolved, dir_folder=_absolute(resolved.dir_folder), init=_absolute(resolved.init))
        start = self.start(resolved)
        folder = resolved.dir_folder
        digest = None if folder is None else responses_digest(Path(folder))
        return Cell(kind, kind, resolved, start=json.dumps(start.source, sort_keys=True), responses=digest)


def _layers(*layers: tuple[Mapping[str, Any], str]) -> dict[str, tuple[Any, str]]:
    return {key: (value, source) for values, source in layers for key, value in values.items()}


def _at_seed(cell: Cell, seed: int, what: str) -> Cell:
    if cell.settings is None:
        return cell
    return replace(cell, what=f"{what}, seed {seed}", settings=replace(cell.settings, seed=seed))


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


def _existing(run: Run) -> Cell:
    # All its files: the int8 network of a fine-tuned run lies beside the float weights that it came from.
    digest = hashlib.sha256(json.dumps(dict(run.files), sort_keys=True).encode()).hexdigest()
    return Cell("run", f"run {run.path}", run=run, files=digest)
