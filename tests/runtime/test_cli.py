"""The program's own behaviour: verbs found, exit codes kept, streams kept apart."""

from __future__ import annotations

import argparse
import json

import pytest

from tinyscene.runtime import cli
from tinyscene.runtime.cli import Verb
from tinyscene.runtime.errors import GateError, InputError, UnavailableError, require
from tinyscene.runtime.output import Output, format_table


class Entry:
    def __init__(self, name: str, verb: Verb) -> None:
        self.name, self._verb = name, verb

    def load(self) -> Verb:
        return self._verb


def use(monkeypatch: pytest.MonkeyPatch, run) -> None:  # type: ignore[no-untyped-def]
    def arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--size", type=int, default=3, help="how many")

    verb = Verb("weigh a thing", "tinyscene data weigh --size 4", arguments, run)
    monkeypatch.setattr(cli, "entry_points", lambda group: [Entry("data.weigh", verb), Entry("listen", verb)])


def test_two_word_verbs_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    use(monkeypatch, lambda args, out: out.record("tinyscene.weight/1", f"{args.size} g", size_g=args.size))
    assert cli.main(["data", "weigh", "--size", "5"]) == 0
    assert capsys.readouterr().out == "5 g\n"
    assert cli.main(["data", "weigh", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": "tinyscene.weight/1", "size_g": 3}


@pytest.mark.parametrize(("error", "code"), [(GateError, 1), (InputError, 2), (UnavailableError, 3)])
def test_errors_are_one_line_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[Exception], code: int
) -> None:
    def run(_: argparse.Namespace, __: Output) -> None:
        raise error("too heavy")

    use(monkeypatch, run)
    assert cli.main(["listen"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "tinyscene: too heavy\n"


def test_unknown_verbs_name_the_nearest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    use(monkeypatch, lambda args, out: None)
    assert cli.main(["lisen"]) == 2
    assert "did you mean 'listen'" in capsys.readouterr().err
    assert cli.main(["data"]) == 2
    assert "data weigh" in capsys.readouterr().err


def test_help_shows_the_default_and_an_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, lambda args, out: None)
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "weigh", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "how many (default: 3)" in text
    assert "tinyscene data weigh --size 4" in text


def test_a_missing_package_names_the_install_line() -> None:
    with pytest.raises(UnavailableError, match=r"pip install 'tinyscene\[train\]'"):
        require("no_such_package_here", "train")


def test_every_installed_verb_has_help_and_an_example() -> None:
    from importlib.metadata import entry_points

    names = set()
    for entry in entry_points(group="tinyscene.verbs"):
        verb = entry.load()
        assert verb.help
        assert verb.example.startswith(f"tinyscene {entry.name.replace('.', ' ')}")
        names.add(entry.name)
    assert {"data.synth", "data.check", "train.teacher", "train.student", "train.qat", "import.cpjku"} <= names
    assert {"export", "verify", "evaluate", "bench", "listen", "devices"} <= names


def test_tables_align_numbers_right() -> None:
    table = format_table(["layer", "MACs"], [["stem", 12_000], ["head", 9]])
    assert table.splitlines() == [
        "| layer |   MACs |",
        "|-------|-------:|",
        "| stem  | 12,000 |",
        "| head  |      9 |",
    ]


def test_json_carries_numpy_and_never_nan(capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    Output(as_json=True).record("x/1", "ignored", a=np.float32(0.5), b=np.array([1, 2]), c=float("nan"))
    assert json.loads(capsys.readouterr().out) == {"schema": "x/1", "a": 0.5, "b": [1, 2], "c": None}
