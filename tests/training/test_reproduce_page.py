"""Every command of docs/reproduce.md is one that the program takes, with settings that load and runs that it made."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tinyscene.export.quantization.qat import QatSettings
from tinyscene.training.config import load_settings
from tinyscene.training.settings import StudentSettings, TeacherSettings, TrainSettings

REPOSITORY = Path(__file__).parents[2]
SECTIONS: dict[str, type[TrainSettings]] = {"teacher": TeacherSettings, "student": StudentSettings, "qat": QatSettings}


def page() -> str:
    return (REPOSITORY / "docs" / "reproduce.md").read_text()


def commands() -> list[list[str]]:
    return [shlex.split(line)[1:] for line in re.findall(r"^tinyscene .*$", page(), re.MULTILINE)]


@pytest.fixture
def parsed(
    monkeypatch: pytest.MonkeyPatch, tinyscene: Callable[..., int]
) -> list[tuple[str, argparse.Namespace, TrainSettings | None]]:
    """(verb, its parsed arguments, the settings of a training) of each command, in the page's order; nothing is run."""
    monkeypatch.chdir(REPOSITORY)
    found: list[tuple[str, argparse.Namespace, TrainSettings | None]] = []
    names = {"data.check", "train.teacher", "train.student", "train.qat", "evaluate", "export", "verify"}
    for entry in entry_points(group="tinyscene.verbs"):
        if entry.name not in names:
            continue

        def remember(arguments: argparse.Namespace, _: Any, name: str = entry.name) -> int:
            found.append((name, arguments, None))
            return 0

        if entry.name not in ("train.teacher", "train.student"):
            module = importlib.import_module(entry.module)
            monkeypatch.setattr(module, entry.attr, replace(getattr(module, entry.attr), run=remember))

    def train(kind: str, settings: TrainSettings, arguments: argparse.Namespace, _: Any) -> None:
        found.append((f"train.{kind}", arguments, settings))

    # These two verbs read their settings themselves, options of their own included: only the training is left out.
    monkeypatch.setattr("tinyscene.training.verbs._train", train)
    for words in commands():
        assert tinyscene(*words) == 0, words
    return found


def test_commands_parse_and_their_settings_load(
    parsed: list[tuple[str, argparse.Namespace, TrainSettings | None]],
) -> None:
    verbs = [verb for verb, _, _ in parsed]
    assert verbs.count("train.teacher") == 6
    assert {"data.check", "train.student", "train.qat", "export", "verify", "evaluate"} < set(verbs)
    targets = re.findall(r"^make (\S+)$", page(), re.MULTILINE)
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert targets
    assert all(f"\n{target}:" in makefile for target in targets)
    made: set[Path] = set()
    for verb, arguments, settings in parsed:
        used = [*getattr(arguments, "teacher", []), *getattr(arguments, "models", [])]
        used += [path for name in ("run", "bundle") if (path := getattr(arguments, name, None)) is not None]
        assert set(used) <= made, f"{verb} uses a run that no command before it makes"
        if verb == "train.qat":
            assert load_settings(QatSettings, "qat", arguments.config, arguments.settings).lr == 5e-5
        if settings is not None:
            assert settings.epochs in (25, 150)  # the configuration's, not some default
        if verb.startswith("train") or verb == "export":
            assert arguments.out not in made
            made.add(arguments.out)


def test_teachers_are_three_of_each_with_each_method(
    parsed: list[tuple[str, argparse.Namespace, TrainSettings | None]],
) -> None:
    teachers = [settings for verb, _, settings in parsed if verb == "train.teacher"]
    assert all(isinstance(settings, TeacherSettings) for settings in teachers)
    members = sorted((s.arch, s.device_generalisation) for s in teachers if isinstance(s, TeacherSettings))
    assert members == [(arch, method) for arch in ("cpr", "passt") for method in ("dir", "dirfms", "fms")]
    for settings in teachers:
        assert isinstance(settings, TeacherSettings)
        assert (settings.init is not None) == (settings.arch == "passt")
    (student,) = [arguments for verb, arguments, _ in parsed if verb == "train.student"]
    assert len(student.teacher) == 6


def test_settings_in_the_text_exist() -> None:
    spans = re.findall(r"`([a-z_]+=[^`]+)`", page())
    assert len(spans) >= 6
    for span in spans:
        words = [word for word in span.split() if not word.endswith("=N")]
        if any(word.startswith("device_generalisation=dir") for word in words):
            words.append("dir_folder=micirp/train")
        load_settings(TeacherSettings, "teacher", None, words)


def test_the_page_says_that_it_was_not_run_and_what_is_second_hand() -> None:
    text = " ".join(page().split())
    for words in ("This has not been run", "65.81 %", "second-hand", "Not measured", "139,620", "29,680"):
        assert words in text
