"""docs/experiments.md: its commands are ones that the program takes, its grid is one that can be trained."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tinyscene.runtime.output import Output
from tinyscene.training.batches import TrainingData
from tinyscene.training.experiments import grid_file, intervals, verbs
from tinyscene.training.experiments.grid import override
from tinyscene.training.experiments.plan import Given, make_plan

PAGE = (Path(__file__).parents[3] / "docs" / "experiments.md").read_text()


def test_the_example_is_a_grid(tiny_data: TrainingData, output: Output) -> None:
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    contents = yaml.safe_load(example[1])
    for quick in (False, True):
        plan = make_plan(grid_file.parse_grid(contents, "mine", quick), Given(), tiny_data.corpus, output)
        names = [row.name for row in plan.rows]
        assert names[:5] == ["plain", "of long", "of short", "of large", "of long + large"]
        assert names[5:] == ["2 long", "3 long", "hot, T 8", "the teacher itself"]
    # The table of keys names each of them.
    keys = {key for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)}
    assert keys >= {"question", "seeds", "needs", "teacher", "student", "teachers", "rows", "each", "baseline", "quick"}


def test_the_commands_parse(tinyscene: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[argparse.Namespace] = []
    remembering = replace(verbs.EXPERIMENT, run=lambda arguments, _: called.append(arguments))
    monkeypatch.setattr(verbs, "EXPERIMENT", remembering)
    commands = re.findall(r"^tinyscene (experiment .*)$", PAGE, re.MULTILINE)
    for command in commands:
        assert tinyscene(*shlex.split(command)) == 0, command
    assert len(called) == len(commands) >= 6
    for arguments in called:
        grid = override(grid_file.read_grid(arguments.name, arguments.quick), arguments.settings)
        assert set(grid.needs) <= {name for name, value in vars(arguments).items() if value}


def test_figures_are_those_of_the_code() -> None:
    shipped = PAGE.split("## The shipped grids")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", shipped, re.MULTILINE)) == set(grid_file.shipped_grids())
    assert f"{intervals.REPLICATES:,} draws" in PAGE
    assert f"{100 * intervals.LEVEL:g} %" in PAGE
