"""Cells: the single trainings of a grid, each known by a hash of all that decides its result.

Rows, and grids with the same --out, that ask for the same training share its cell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..batches import TrainingData
from ..run import Run
from ..settings import NetworkSettings


@dataclass(frozen=True)
class Cell:
    """One training, or one existing run that is only scored."""

    kind: str  # "student", "teacher", "run"
    what: str = field(compare=False)  # for people: the row or teacher it was first asked for by, and its seed
    settings: NetworkSettings | None = None
    teachers: tuple[Cell, ...] = ()
    start: str = "null"  # JSON: where the initial weights come from, their hash among it
    responses: str | None = None  # digest of the impulse responses trained with
    run: Run | None = field(default=None, compare=False)  # the existing run ...
    files: str | None = None  # ... and a hash of its files

    @property
    def holdout(self) -> float:
        """The share of the training recordings that was kept aside."""
        if self.settings is not None:
            return self.settings.holdout
        return float((self.run.provenance.get("holdout") if self.run is not None else None) or 0.0)

    def identity(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """All that decides the result, as plain values; `data` is `data_identity`. Paths are not part of it."""
        if self.settings is None:
            return {"kind": self.kind, "files": self.files}
        return {
            "kind": self.kind,
            "settings": {**self.settings.to_dict(), "dir_folder": self.responses, "init": json.loads(self.start)},
            "teachers": [teacher.name(data) for teacher in self.teachers],
            "data": dict(data),
        }

    def name(self, data: Mapping[str, Any]) -> str:
        """The name of the cell's folder: a hash of its identity."""
        text = json.dumps(self.identity(data), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class PlannedRow:
    """A row of the table, and its cell at each of the grid's seeds (an existing run: one cell for all of them)."""

    name: str
    cells: tuple[Cell, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)  # what the row sets itself
    members: tuple[str, ...] = ()  # its teachers, as the grid names them


@dataclass(frozen=True)
class Plan:
    """What is to be trained and scored to fill a grid's table."""

    grid: str
    question: str
    seeds: tuple[int, ...]
    rows: tuple[PlannedRow, ...]
    baseline: str | None

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell once, teachers before their students."""
        return tuple(_with_teachers(cell for row in self.rows for cell in row.cells))

    def existing_labels(self) -> dict[str, tuple[str, ...]]:
        """The scenes of each existing run among the cells, by what it is called."""
        return {cell.what: cell.run.labels for cell in self.cells if cell.run is not None}

    def wanted_by(self, cell: Cell) -> str:
        """The first row and seed that need `cell`, for messages: "row 'cpr', seed 0"."""
        for row in self.rows:
            for seed, own in zip(self.seeds, row.cells, strict=False):
                if cell in _with_teachers([own]):
                    return f"row {row.name!r}, seed {seed}"
        raise ValueError(f"{cell.what} is not in the grid {self.grid}")


def data_identity(data: TrainingData) -> dict[str, Any]:
    """What a training sees of its corpus: the audio, the scenes, and which clips it trains on."""
    clips = data.corpus.clips
    trained_on = hashlib.sha256("\n".join(clips[i].filename for i in data.fold.train).encode())
    return {
        "labels": list(data.labels),
        "data_hash": data.cache.data_hash,
        "fold": data.fold_number,
        "split": data.split,
        "training_clips": trained_on.hexdigest(),
    }


def _with_teachers(cells: Iterable[Cell]) -> dict[Cell, None]:
    ordered: dict[Cell, None] = {}
    for cell in cells:
        ordered |= _with_teachers(cell.teachers)
        ordered[cell] = None
    return ordered
