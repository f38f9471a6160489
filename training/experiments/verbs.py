"""The verb `experiment`. Torch is imported when it runs."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.cli import Verb
from ...runtime.errors import InputError, require
from ...runtime.output import Output
from ..verbs import add_data_arguments

if TYPE_CHECKING:
    from .results import RowResult


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="a grid that `--list` names, or your own .yaml file")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="teacher.key=value, student.key=value")
    parser.add_argument("--list", action="store_true", help="print the grids with their questions and exit")
    add_data_arguments(parser, required=False)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of cells and tables; one that was interrupted is gone on with"
    )
    parser.add_argument("--quick", action="store_true", help="the grid in minutes: few epochs, small networks")
    parser.add_argument("--seeds", type=int, metavar="N", help="how many seeds (default: the grid's)")
    parser.add_argument(
        "--responses", type=Path, metavar="DIR", help="impulse responses of microphones to train with (dir, dirfms)"
    )
    parser.add_argument(
        "--unseen", type=Path, metavar="DIR", help="impulse responses never trained with, to score every model through"
    )
    parser.add_argument("--independent", type=Path, metavar="DIR", help="another corpus to score every model on")
    parser.add_argument(
        "--label-map", type=Path, metavar="FILE", help="YAML: scene of the independent corpus -> scene of --data"
    )
    parser.add_argument(
        "--pretrained",
        action="append",
        default=[],
        metavar="ARCH=FILE",
        help="published weights for teachers of that architecture",
    )
    parser.add_argument("--init", type=Path, metavar="RUN", help="trained run that warm starts begin with")
    parser.add_argument(
        "--run", type=Path, action="append", default=[], metavar="RUN", help="existing run to score as a row of its own"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="train the cells on this Ray cluster ('auto': the one here)")


def _experiment(arguments: argparse.Namespace, output: Output) -> None:
    if arguments.list:
        _list(output)
        return
    require("lightning", "train")
    from ..data.corpus import read_corpus
    from .grid import override, with_seeds
    from .grid_file import read_grid
    from .plan import Given, make_plan
    from .plot import draw
    from .ray_grid import check_cluster, on_ray
    from .results import collect
    from .run import CELLS, Workshop, check_data, in_order, run_plan
    from .sides import Place, check_scenes, check_unseen, open_sides
    from .table import write_tables

    for name in ("name", "data", "out"):
        if getattr(arguments, name) is None:
            option = "NAME" if name == "name" else f"--{name} DIR"
            raise InputError(
                f"{option} is missing: `tinyscene experiment NAME --data DIR --out DIR`, names from --list"
            )
    if arguments.label_map is not None and arguments.independent is None:
        raise InputError("--label-map says what the scenes of --independent DIR are: give that too")
    grid = override(read_grid(arguments.name, arguments.quick), arguments.settings)
    if grid.name == CELLS:
        raise InputError(f"{arguments.name}: its tables would lie among the cells: give the file another name")
    for option in grid.needs:
        if not getattr(arguments, option):
            raise InputError(f"{grid.name} needs --{option}: {grid.question}")
    if arguments.seeds is not None:
        grid = with_seeds(grid, arguments.seeds)
    if arguments.ray is not None:
        check_cluster(arguments.ray)
    corpus = read_corpus(arguments.data)
    given = Given(arguments.responses, arguments.init, _pretrained(arguments.pretrained), arguments.run)
    plan = make_plan(grid, given, corpus, output)
    if arguments.unseen is not None:
        for folder in {
            Path(cell.settings.dir_folder) for cell in plan.cells if cell.settings and cell.settings.dir_folder
        }:
            check_unseen(arguments.unseen, folder)
    place = Place(
        arguments.data, arguments.fold, arguments.split, arguments.cache,
        arguments.unseen, arguments.independent, arguments.label_map,
    )  # fmt: skip
    workshop = Workshop(arguments.out, open_sides(place, corpus, output))
    check_scenes(workshop.sides, {"a model trained here": corpus.labels, **plan.existing_labels()})
    check_data(plan, workshop)
    run_plan(plan, workshop, output, in_order if arguments.ray is None else partial(on_ray, arguments.ray, place))
    results = collect(plan, workshop, output)
    folder = arguments.out / plan.grid
    text = write_tables(folder, plan, results, workshop)
    draw(folder, plan, results)
    for row in results:
        output.record("tinyscene.experiment/1", experiment=plan.grid, folder=str(folder), **_record(row))
    if not output.as_json:
        print(text, end="")
    output.log(f"results.csv, table.md, plot.png and times.csv are in {folder}")


def _list(output: Output) -> None:
    require("yaml", "train")
    from .grid_file import read_grid, shipped_grids

    width = max(map(len, shipped_grids()))
    for name in shipped_grids():
        question = read_grid(name).question
        output.record("tinyscene.grid/1", f"{name:<{width}}  {question}", name=name, question=question)


def _pretrained(words: list[str]) -> dict[str, Path]:
    from ..models.sizes import SIZES
    from .grid import nearest

    files = {}
    for word in words:
        arch, separator, file = word.partition("=")
        if not separator or arch not in SIZES:
            raise InputError(f"--pretrained {word}: expected ARCH=FILE, {nearest(arch, tuple(SIZES))}")
        if not Path(file).is_file():
            raise InputError(f"--pretrained {word}: there is no file {file}")
        files[arch] = Path(file)
    return files


def _record(result: RowResult) -> dict[str, Any]:
    def named(estimates: Any) -> dict[str, Any]:
        return {f"{side} {metric}": estimate._asdict() for (side, metric), estimate in estimates.items()}

    cells = result.cells
    return {
        "row": result.row.name,
        "seeds": [cell.seed for cell in cells],
        "cells": [cell.folder for cell in cells],
        "estimates": named(result.estimates),
        "differences": named(result.differences),
        "teachers_accuracy": [cell.teachers_accuracy for cell in cells],
        "parameters": cells[0].parameters,
        "macs": cells[0].macs,
    }


EXPERIMENT = Verb(
    "train and score a declared grid of networks, and write its table with confidence intervals",
    "tinyscene experiment same-vs-different --quick --data build/synth --out build/experiments",
    _arguments,
    _experiment,
)
