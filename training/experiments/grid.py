"""A grid: which trainings answer one question."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from ...runtime.errors import InputError

#: Options of the command line that a grid may say it needs.
OPTIONS = ("responses", "unseen", "independent", "pretrained", "init", "run")

# What the grid's seeds decide for every cell.
_NOT_HERE = {"seed": "list it under seeds"}


@dataclass(frozen=True)
class Member:
    """A teacher of a row: "cpr" (trained with the row's seed), "cpr@7" (with seed 7), "cpr+1" (with the next one)."""

    name: str
    sign: str = "+"
    number: int = 0

    def seed(self, row_seed: int) -> int:
        """The seed that this member is trained with in the row's cell of `row_seed`."""
        return self.number if self.sign == "@" else row_seed + self.number

    def __str__(self) -> str:
        return self.name if (self.sign, self.number) == ("+", 0) else f"{self.name}{self.sign}{self.number}"


@dataclass(frozen=True)
class Teacher:
    """A teacher by name: how it is trained, or the existing run that it is."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = False  # starts from the weights of --pretrained
    run: str | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table: a student, or with `model` the teacher of that name."""

    name: str
    teachers: tuple[Member, ...] = ()
    model: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # the row's own, over everything else
    warm_start: bool = False  # starts from the run of --init
    optional: bool = False  # left out when the command line lacks what it needs


@dataclass(frozen=True)
class Grid:
    """A question, and the rows that answer it at each of the seeds."""

    name: str
    question: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    baseline: str | None = None
    needs: tuple[str, ...] = ()  # options without which the question has no answer
    teacher: Mapping[str, Any] = field(default_factory=dict)  # settings of all teachers
    student: Mapping[str, Any] = field(default_factory=dict)  # settings of all students
    teachers: Mapping[str, Teacher] = field(default_factory=dict)


def override(grid: Grid, words: Sequence[str]) -> Grid:
    """The grid with `teacher.key=value` and `student.key=value` over all but what its rows set themselves.

    Raises `InputError` for a word of another form.
    """
    for word in words:
        key, separator, text = word.partition("=")
        kind, dot, name = key.partition(".")
        if not separator or not dot or kind not in ("teacher", "student"):
            raise InputError(f"{word!r} is not a setting: expected teacher.key=value or student.key=value")
        try:
            given = settings_of({name: yaml.safe_load(text)}, f"{word!r}")
        except yaml.YAMLError as error:
            raise InputError(f"{word!r}: the value is not valid YAML: {' '.join(str(error).split()):.100}") from error
        grid = _with_settings(grid, kind, given)
    return grid


def with_seeds(grid: Grid, count: int) -> Grid:
    """The grid at `count` seeds: its first ones, and the numbers after its largest when it has fewer."""
    if count < 1:
        raise InputError(f"--seeds is {count}, expected at least 1")
    further = itertools.count(max(grid.seeds) + 1)
    return replace(grid, seeds=tuple(itertools.islice(itertools.chain(grid.seeds, further), count)))


def check_keys(entry: Iterable[Any], known: Sequence[str], where: str) -> None:
    """Raise `InputError` naming the first key that is not `known`, and the nearest that is."""
    for key in entry:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}: {nearest(str(key), known)}")


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint: the one of `known` that `word` may be a slip of, or all of them."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known) or 'none'}"


def _with_settings(grid: Grid, kind: str, given: Mapping[str, Any]) -> Grid:
    if kind == "student":
        return replace(grid, student={**grid.student, **given})
    teachers = {
        name: replace(teacher, settings={key: value for key, value in teacher.settings.items() if key not in given})
        for name, teacher in grid.teachers.items()
    }
    return replace(grid, teacher={**grid.teacher, **given}, teachers=teachers)


def mapping_of(entry: Any, where: str) -> Mapping[str, Any]:
    """`entry` when it is keys with values, {} when it is nothing; raises `InputError` otherwise."""
    if entry is None:
        return {}
    if not isinstance(entry, dict):
        raise InputError(f"{where} is {entry!r:.60}, expected keys with their values")
    return entry


def settings_of(entry: Any, where: str) -> Mapping[str, Any]:
    """`entry` as settings of a training, which are checked later; raises `InputError` for what is never one."""
    settings = mapping_of(entry, where)
    for key, instead in _NOT_HERE.items():
        if key in settings:
            raise InputError(f"{where}: {key} is not a setting of a grid: {instead}")
    return settings
