"""A corpus small enough to train on in a test: three scenes of tones in noise, told apart by how fast they pulse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_corpus import write_corpus

from tinyscene.runtime.output import Output
from tinyscene.training.batches import TrainingData, open_data


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny corpus: 24 snippets to train on, 12 to evaluate on; device s4 only in the latter."""
    return write_corpus(tmp_path_factory.mktemp("tiny") / "corpus")


@pytest.fixture(scope="session")
def tiny_data(tiny_folder: Path, cache_in_temporary_folder: None) -> TrainingData:
    """The tiny corpus with its cache, fold 1."""
    return open_data(tiny_folder, 1, None, None, None)


@pytest.fixture
def output() -> Output:
    """An output for people."""
    return Output()


@pytest.fixture
def tinyscene() -> Callable[..., int]:
    """The command line, in this process: `tinyscene("train", "student", ...)` returns its exit code."""
    from tinyscene.runtime.cli import main

    return lambda *arguments: main([str(argument) for argument in arguments])
