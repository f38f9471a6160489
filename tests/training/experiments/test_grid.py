"""Grids: what they expand to, what is refused with which hint, and that every shipped one can be trained."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from tinyscene.runtime.errors import GateError, InputError
from tinyscene.runtime.output import Output
from tinyscene.training.data.corpus import Corpus, read_corpus
from tinyscene.training.experiments.cells import Plan
from tinyscene.training.experiments.grid import Member, override, with_seeds
from tinyscene.training.experiments.grid_file import parse_grid, read_grid, shipped_grids
from tinyscene.training.experiments.plan import Given, make_plan

SMALL: dict[str, Any] = {
    "question": "Is this a grid?",
    "seeds": [0, 1],
    "student": {"base_channels": 8, "epochs": 3},
    "teacher": {"base_channels": 8},
    "teachers": {"cpr": {"arch": "cpr"}, "vit": {"arch": "vit", "base_channels": None, "lr": 0.5}},
    "rows": [
        {"name": "plain"},
        {"name": "T {temperature}", "teachers": ["cpr@7"], "each": {"temperature": [1, 2.5]}},
        {"name": "{teachers}", "each": {"teachers": ["cpr", ["cpr", "cpr+1"]]}},
        {"name": "itself", "model": "cpr"},
    ],
    "baseline": "plain",
    "quick": {"seeds": [0], "student": {"epochs": 1}, "teachers": {"vit": {"lr": 0.25}}, "rows": [{"name": "plain"}]},
}


def small(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SMALL), **changes}


def rows(*entries: dict[str, Any]) -> dict[str, Any]:
    return small(rows=[{"name": "plain"}, *entries])


@pytest.fixture(scope="module")
def corpus(tiny_folder: Path) -> Corpus:
    return read_corpus(tiny_folder)


@pytest.fixture(scope="module")
def responses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("responses")
    soundfile.write(folder / "dull.wav", np.exp(-np.arange(64) / 8.0), 44_100)
    return folder


def plan_of(contents: dict[str, Any], corpus: Corpus, output: Output, given: Given | None = None) -> Plan:
    return make_plan(parse_grid(contents, "small"), given or Given(), corpus, output)


def test_a_grid_expands_to_its_rows() -> None:
    grid = parse_grid(small(), "small")
    assert [row.name for row in grid.rows] == ["plain", "T 1", "T 2.5", "cpr", "cpr + cpr+1", "itself"]
    assert grid.rows[2].settings == {"temperature": 2.5}
    assert grid.rows[2].teachers == (Member("cpr", "@", 7),)
    assert [[member.seed(seed) for member in grid.rows[4].teachers] for seed in grid.seeds] == [[0, 1], [1, 2]]
    assert [member.seed(5) for member in grid.rows[2].teachers] == [7]
    quick = parse_grid(small(), "small", quick=True)
    assert (quick.seeds, [row.name for row in quick.rows]) == ((0,), ["plain"])
    assert quick.student == {"base_channels": 8, "epochs": 1}
    assert (quick.teachers["vit"].settings["lr"], grid.teachers["vit"].settings["lr"]) == (0.25, 0.5)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (small(rosw=[]), "unknown key 'rosw': did you mean 'rows'"),
        (small(seeds=[0, 0]), "seeds is [0, 0], expected a list of different whole numbers"),
        (small(question=""), "question is '', expected a sentence"),
        (small(needs=["independant"]), "did you mean 'independent'"),
        (small(baseline="plane"), "no row is called 'plane': did you mean 'plain'"),
        (small(student={"seed": 3}), "seed is not a setting of a grid: list it under seeds"),
        (small(teachers={"old": {"run": "a", "lr": 1}}), "expected the path of an existing run, and nothing beside it"),
        (small(quick={"epochs": 3}), "quick: unknown key 'epochs'"),
        (small(quick={"teachers": {"crp": {}}}), "unknown key 'crp': did you mean 'cpr'"),
        (small(quick={"rows": [{"name": "other"}]}), "quick: no row is called 'plain'"),
        (rows({"name": "x", "techers": ["cpr"]}), "row 'x': unknown key 'techers': did you mean 'teachers'"),
        (rows({"name": "x", "teachers": ["crp"]}), "no teacher is called 'crp': did you mean 'cpr'"),
        (rows({"name": "x", "teachers": ["cpr@"]}), "teacher 'cpr@' is not NAME, NAME@SEED or NAME+STEP"),
        (rows({"name": "x", "each": {"lr": [1]}}), "put {lr} into it"),
        (rows({"name": "x {lr}", "each": {"lr": 1}}), "each lr is 1, expected a list of values"),
        (rows({"name": "x {lr}", "each": {"lr": [1, 1]}}), "two rows are called 'x 1'"),
        (rows({"name": "x {lr}", "each": {"lr": [1]}, "settings": {"lr": 2}}), "lr stands under settings and under"),
        (rows({"name": "x", "model": "cpr", "teachers": ["cpr"]}), "takes neither teachers nor warm_start"),
        (rows({"name": "x", "optional": "yes"}), "optional is 'yes', expected true or false"),
        (rows({"name": "plain"}), "two rows are called 'plain'"),
        ([], "grid small is [], expected keys with their values"),
    ],
)
def test_mistakes_in_a_grid_are_named(contents: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_grid(contents, "small")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"settings": {"temprature": 2}},
            "row 'x': settings: unknown setting 'temprature': did you mean 'temperature'",
        ),
        ({"settings": {"epochs": "many"}}, "epochs is 'many', expected a whole number"),
        ({"settings": {"lr": -1}}, "row 'x': lr is -1.0, expected a number that is positive"),
        ({"settings": {"rho": 3}}, "cpm has no rho"),
        ({"settings": {"size": "2m"}}, "cpm has no size '2m'"),
        ({"settings": {"devices": 2}}, "spread the cells over machines with --ray"),
        ({"settings": {"device_generalisation": "dir"}}, "needs impulse responses to train with: give --responses DIR"),
        ({"warm_start": True}, "needs a trained run to start from: give --init RUN"),
        ({"teachers": ["mn"]}, "needs published weights of mn: give --pretrained mn=FILE"),
        ({"teachers": ["old"]}, "nowhere: make one with"),
        ({"teachers": ["cpr"], "settings": {"ensemble_size": 2}}, "ensemble_size is 2, but the row has 1 teachers"),
        ({"teachers": ["cpr"], "settings": {"ensemble": "learnt"}}, "give all of its teachers the same holdout"),
    ],
)
def test_a_row_that_cannot_be_trained_is_refused_before_any_is(
    entry: dict[str, Any], message: str, corpus: Corpus, output: Output
) -> None:
    teachers = {**SMALL["teachers"], "mn": {"arch": "mn", "base_channels": None, "pretrained": True}}
    contents = rows({"name": "x", **entry}) | {"teachers": {**teachers, "old": {"run": "nowhere"}}}
    with pytest.raises(InputError) as caught:
        plan_of(contents, corpus, output)
    assert message in str(caught.value)


def test_a_budget_is_checked_before_any_row_is_trained(corpus: Corpus, output: Output) -> None:
    with pytest.raises(GateError, match=r"row 'wide': .*parameters exceed the default limit"):
        plan_of(rows({"name": "wide", "settings": {"base_channels": 40}}), corpus, output)


def test_optional_rows_are_left_out_aloud(
    corpus: Corpus, output: Output, responses: Path, capsys: pytest.CaptureFixture
) -> None:
    contents = rows(
        {
            "name": "{device_generalisation}",
            "each": {"device_generalisation": ["none", "dir"]},
            "optional": True,
        }
    )
    assert [row.name for row in plan_of(contents, corpus, output).rows] == ["plain", "none"]
    assert "row 'dir' is left out: it needs impulse responses" in capsys.readouterr().err
    planned = plan_of(contents, corpus, output, Given(responses=responses)).rows[2].cells[0].settings
    assert planned is not None
    assert (planned.dir_folder, planned.dir_devices) == (str(responses), ("a",))
    with pytest.raises(InputError, match="no row to compare with"):
        plan_of(contents | {"baseline": "dir", "quick": {}}, corpus, output)
    with pytest.raises(InputError, match="small has no use for --responses: leave it out"):
        plan_of(small(), corpus, output, Given(responses=responses))


def test_equal_trainings_are_one_cell(corpus: Corpus, output: Output) -> None:
    contents = rows(
        {"name": "one", "teachers": ["cpr"]},
        {"name": "first of two", "teachers": ["cpr", "cpr+1"], "settings": {"ensemble_size": 1}},
        {"name": "two", "teachers": ["cpr", "cpr+1"]},
        {"name": "default", "teachers": ["cpr"], "settings": {"temperature": 2.0}},
        {"name": "teacher", "model": "cpr"},
    )
    plan = plan_of(contents, corpus, output)
    by_name = {row.name: row.cells for row in plan.rows}
    assert by_name["one"] == by_name["first of two"] == by_name["default"]
    assert by_name["one"][1].teachers == (by_name["teacher"][1],)
    assert by_name["two"][0].teachers == (by_name["teacher"][0], by_name["teacher"][1])
    # Two seeds of plain, one and two; teachers of seeds 0, 1 and 2.
    assert len(plan.cells) == 9
    for position, cell in enumerate(plan.cells):
        assert all(plan.cells.index(teacher) < position for teacher in cell.teachers)
    data = {"data_hash": "x"}
    assert len({cell.name(data) for cell in plan.cells}) == 9
    assert {cell.name(data) for cell in plan.cells}.isdisjoint(cell.name({"data_hash": "y"}) for cell in plan.cells)


def test_the_command_line_wins_but_over_what_rows_compare() -> None:
    grid = override(parse_grid(small(), "small"), ["student.temperature=9", "teacher.lr=1e-2", "student.epochs=5"])
    assert grid.student == {"base_channels": 8, "epochs": 5, "temperature": 9}
    assert grid.rows[1].settings == {"temperature": 1}
    assert "lr" not in grid.teachers["vit"].settings
    assert grid.teacher["lr"] == "1e-2"
    for word, message in (
        ("epochs=5", "expected teacher.key=value or student.key=value"),
        ("student.seed=1", "list it under seeds"),
    ):
        with pytest.raises(InputError, match=message):
            override(grid, [word])


def test_how_many_seeds() -> None:
    grid = parse_grid(small(seeds=[4, 2]), "small")
    assert [with_seeds(grid, count).seeds for count in (1, 2, 4)] == [(4,), (4, 2), (4, 2, 5, 6)]
    with pytest.raises(InputError, match="--seeds is 0"):
        with_seeds(grid, 0)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", shipped_grids())
def test_shipped_grids_can_be_trained(
    name: str, quick: bool, corpus: Corpus, output: Output, responses: Path, capsys: pytest.CaptureFixture
) -> None:
    grid = read_grid(name, quick)
    uses_responses = name == "device-generalisation"
    plan = make_plan(grid, Given(responses=responses if uses_responses else None), corpus, output)
    left_out = [line for line in capsys.readouterr().err.splitlines() if "is left out" in line]
    # Only published weights and a run to start from are not at hand here.
    assert bool(left_out) == (name == "baselines")
    assert len(plan.rows) == len(grid.rows) - len(left_out) >= 2
    assert grid.baseline in [row.name for row in plan.rows]
    assert grid.question.endswith("?")
    if quick:
        assert len(plan.cells) <= 11
        epochs = [cell.settings.epochs for cell in plan.cells if cell.settings is not None]
        assert sum(epochs) <= 35  # minutes: docs/experiments.md has the estimate


def test_every_experiment_of_the_paper_is_shipped() -> None:
    assert set(shipped_grids()) == {
        "same-vs-different", "teacher-size", "device-generalisation", "ensemble-size", "ensemble-strategy",
        "kd-settings", "student-norm", "independent", "baselines",
    }  # fmt: skip


def test_baselines_with_published_weights(shared: Path, output: Output, tmp_path: Path, tinyscene: Callable) -> None:
    published = shared / "weights" / "cp_mobile_tau22" / "c0a7nzin_epoch149.ckpt"
    assert tinyscene("import", "cpjku", published, "--out", tmp_path / "tau22") == 0
    weights = next((shared / "weights" / "efficientat_mn04").glob("*.pt"))
    given = Given(pretrained={"mn": weights}, init=tmp_path / "tau22", runs=[tmp_path / "tau22"])
    corpus = read_corpus(shared / "data" / "tut2017")
    for quick in (False, True):
        plan = make_plan(read_grid("baselines", quick), given, corpus, output)
        assert [row.name for row in plan.rows][-2:] == ["warm start", "tau22"]
        start = plan.rows[-2].cells[0]
        assert start.settings is not None
        assert (start.settings.base_channels, start.settings.arch) == (None, "cpm")  # the run's, not the grid's
        assert '"head": false' in start.start
        assert plan.rows[-1].cells[0].run is not None


def test_a_grid_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(SMALL, sort_keys=False))
    assert read_grid(str(file)).name == "mine"
    for name, text, message in (
        ("same-vs-diferent", None, "did you mean 'same-vs-different'"),
        (str(tmp_path / "none.yaml"), None, "cannot read the grid"),
        (str(file), "rows: [", "is not valid YAML"),
    ):
        if text is not None:
            file.write_text(text)
        with pytest.raises(InputError, match=message):
            read_grid(name)
