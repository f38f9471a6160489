"""Grids in YAML files, checked word by word; the shipped ones lie in `grids/`, `docs/experiments.md` has the format."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError
from ..config import read_yaml
from .grid import OPTIONS, Grid, Member, Row, Teacher, check_keys, mapping_of, nearest, settings_of

SHIPPED = Path(__file__).parent / "grids"

_KEYS = ("question", "seeds", "needs", "teacher", "student", "teachers", "rows", "baseline", "quick")
_QUICK_KEYS = ("seeds", "teacher", "student", "teachers", "rows")
_ROW_KEYS = ("name", "model", "teachers", "settings", "each", "warm_start", "optional")
_MEMBER = re.compile(r"(?P<name>[^@+]+?)(?:(?P<sign>[@+])(?P<number>\d+))?")


def shipped_grids() -> tuple[str, ...]:
    """Names of the grids that come with the program."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def read_grid(name: str, quick: bool = False) -> Grid:
    """The shipped grid `name`, or the one in the YAML file of that path; `quick` applies its replacements.

    Raises `InputError` for a name that is neither, a file that is no grid, an unknown key (naming the nearest), and a
    row, teacher or baseline that is not there.
    """
    file = SHIPPED / f"{name}.yaml"
    if name not in shipped_grids():
        file = Path(name)
        if file.suffix not in (".yaml", ".yml"):
            hint = nearest(name, shipped_grids())
            raise InputError(f"no experiment is called {name!r}: {hint}, or the path of a grid's .yaml file")
    contents = read_yaml(file, "grid")
    return parse_grid(contents, file.stem, quick)


def parse_grid(contents: Any, name: str, quick: bool = False) -> Grid:
    """The grid that a YAML file's `contents` describe; raises as `read_grid` does."""
    where = f"grid {name}"
    top = mapping_of(contents, where)
    check_keys(top, _KEYS, where)
    for key in ("question", "seeds", "rows"):
        if key not in top:
            raise InputError(f"{where} has no {key!r}: see docs/experiments.md for what a grid is made of")
    if not isinstance(top["question"], str) or not top["question"].strip():
        raise InputError(f"{where}: question is {top['question']!r}, expected a sentence")
    entries = mapping_of(top.get("teachers"), f"{where}, teachers")
    teachers = {str(key): _teacher(value, f"{where}, teacher {key!r}") for key, value in entries.items()}
    needs = top.get("needs", [])
    if not isinstance(needs, list):
        raise InputError(f"{where}: needs is {needs!r}, expected a list of options")
    check_keys(needs, OPTIONS, f"{where}, needs")
    grid = Grid(
        name=name,
        question=" ".join(top["question"].split()),
        seeds=_seeds(top["seeds"], where),
        rows=_rows(top["rows"], where),
        baseline=top.get("baseline"),
        needs=tuple(needs),
        teacher=settings_of(top.get("teacher"), f"{where}, teacher"),
        student=settings_of(top.get("student"), f"{where}, student"),
        teachers=teachers,
    )
    _check_references(grid, where)
    # Read in any case: a mistake in it should not wait for the day when somebody is in a hurry.
    quicker = _quick(grid, top.get("quick"), f"{where}, quick")
    return quicker if quick else grid


def _teacher(entry: Any, where: str) -> Teacher:
    settings = dict(settings_of(entry, where))
    pretrained = _flag(settings.pop("pretrained", False), f"{where}: pretrained")
    run = settings.pop("run", None)
    if run is not None and (settings or pretrained or not isinstance(run, str)):
        raise InputError(f"{where}: run is {run!r}, expected the path of an existing run, and nothing beside it")
    return Teacher(settings, pretrained, run)


def _rows(entries: Any, where: str) -> tuple[Row, ...]:
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{where}: rows is {entries!r:.60}, expected a list of rows")
    return tuple(row for number, entry in enumerate(entries, start=1) for row in _expanded(entry, number, where))


def _expanded(entry: Any, number: int, where: str) -> list[Row]:
    """The rows that one entry stands for: one, or one for each combination of its `each`."""
    row = mapping_of(entry, f"{where}, row {number}")
    name = row.get("name")
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}, row {number}: name is {name!r}, expected a word or two")
    where = f"{where}, row {name!r}"
    check_keys(row, _ROW_KEYS, where)
    each = mapping_of(row.get("each"), f"{where}, each")
    for key, values in each.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{where}: each {key} is {values!r}, expected a list of values")
        if "{" + str(key) + "}" not in name:
            raise InputError(f"{where}: its rows would have one name: put {{{key}}} into it")
    combinations = itertools.product(*each.values())
    return [_row(row, dict(zip(each, values, strict=True)), where) for values in combinations]


def _row(row: Mapping[str, Any], factors: Mapping[str, Any], where: str) -> Row:
    name = row["name"]
    for key, value in factors.items():
        name = name.replace("{" + key + "}", _text(value))
    chosen = {"model": row.get("model"), "teachers": row.get("teachers")}
    chosen |= {key: value for key, value in factors.items() if key in chosen}
    settings = settings_of(row.get("settings"), where)
    own = settings_of({key: value for key, value in factors.items() if key not in chosen}, where)
    if twice := [key for key in own if key in settings]:
        raise InputError(f"{where}: {twice[0]} stands under settings and under each: leave one out")
    if chosen["model"] is not None and (chosen["teachers"] or row.get("warm_start")):
        raise InputError(f"{where}: model is a teacher as it is, it takes neither teachers nor warm_start")
    named = chosen["teachers"] or []
    members = [named] if isinstance(named, str) else named
    if not isinstance(members, list):
        raise InputError(f"{where}: teachers is {members!r}, expected names of teachers")
    return Row(
        name=name,
        teachers=tuple(_member(member, where) for member in members),
        model=chosen["model"],
        settings={**settings, **own},
        warm_start=_flag(row.get("warm_start", False), f"{where}: warm_start"),
        optional=_flag(row.get("optional", False), f"{where}: optional"),
    )


def _member(text: Any, where: str) -> Member:
    match = _MEMBER.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InputError(f"{where}: teacher {text!r} is not NAME, NAME@SEED or NAME+STEP")
    return Member(match["name"], match["sign"] or "+", int(match["number"] or 0))


def _quick(grid: Grid, entry: Any, where: str) -> Grid:
    quick = mapping_of(entry, where)
    check_keys(quick, _QUICK_KEYS, where)
    teachers = dict(grid.teachers)
    entries = mapping_of(quick.get("teachers"), f"{where}, teachers")
    check_keys(entries, tuple(teachers), f"{where}, teachers")
    for key, value in entries.items():
        settings = settings_of(value, f"{where}, teacher {key!r}")
        teachers[key] = replace(teachers[key], settings={**teachers[key].settings, **settings})
    quicker = replace(
        grid,
        seeds=_seeds(quick["seeds"], where) if "seeds" in quick else grid.seeds,
        rows=_rows(quick["rows"], where) if "rows" in quick else grid.rows,
        teacher={**grid.teacher, **settings_of(quick.get("teacher"), f"{where}, teacher")},
        student={**grid.student, **settings_of(quick.get("student"), f"{where}, student")},
        teachers=teachers,
    )
    _check_references(quicker, where)
    return quicker


def _check_references(grid: Grid, where: str) -> None:
    seen: set[str] = set()
    known = tuple(grid.teachers)
    for row in grid.rows:
        if row.name in seen:
            raise InputError(f"{where}: two rows are called {row.name!r}: give one another name")
        seen.add(row.name)
        used = [row.model] if row.model is not None else [member.name for member in row.teachers]
        for name in used:
            if name not in known:
                raise InputError(
                    f"{where}, row {row.name!r}: no teacher is called {name!r}: {nearest(str(name), known)}"
                )
    if grid.baseline is not None and grid.baseline not in seen:
        names = tuple(row.name for row in grid.rows)
        raise InputError(f"{where}: no row is called {grid.baseline!r}: {nearest(str(grid.baseline), names)}")


def _seeds(entry: Any, where: str) -> tuple[int, ...]:
    good = isinstance(entry, list) and all(type(seed) is int and seed >= 0 for seed in entry)
    if not good or not entry or len(set(entry)) != len(entry):
        raise InputError(f"{where}: seeds is {entry!r}, expected a list of different whole numbers")
    return tuple(entry)


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{where} is {value!r}, expected true or false")
    return value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " + ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
