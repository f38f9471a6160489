"""Bare model files among what is evaluated; packages above this one say how a kind of file is read.

An entry point of the group `tinyscene.model_files`, named after the ending of such files, is a function of (path,
kernels, bundle to be like or None, the corpus' labels) that gives a `FileModel`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol

from ..runtime.engines.engine import Engine
from ..runtime.engines.litert import Kernels
from ..runtime.errors import InputError, UnavailableError
from ..runtime.frontend_spec import FrontendSpec

GROUP = "tinyscene.model_files"


class FileModel(Protocol):
    """A network that runs, and what it hears and says."""

    labels: tuple[str, ...]
    frontend: FrontendSpec
    engine: Engine
    origin: str  # where labels and front end are from


def is_model_file(path: Path) -> bool:
    """Whether `path` is to be read as a file of its own, not as a bundle's or a run's folder."""
    return path.is_file() or (not path.is_dir() and path.suffix.removeprefix(".") in _readers())


def open_model_file(path: Path, kernels: Kernels, like: Path | None, corpus_labels: Sequence[str]) -> FileModel:
    """Read the model file at `path`; raises `InputError` for a kind that nobody reads, and as its reader does."""
    readers = _readers()
    entry = readers.get(path.suffix.removeprefix("."))
    if entry is None:
        known = ", ".join(f".{name}" for name in sorted(readers)) or "none"
        raise InputError(f"{path} is no model that can be evaluated: name a run, a bundle or a file ({known})")
    try:
        reader: Callable[[Path, Kernels, Path | None, Sequence[str]], FileModel] = entry.load()
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"reading {path} needs the Python package {error.name!r}: run `pip install 'tinyscene[export]'`"
        ) from error
    return reader(path, kernels, like, corpus_labels)


def _readers() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
