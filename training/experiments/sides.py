"""Sides: the snippets that every model of a grid is scored on.

Its own evaluation side, the same heard through unseen microphones ("simulated"), another corpus ("independent").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ...runtime.output import Output
from ..augment import AUDIO_SUFFIXES
from ..batches import TrainingData, open_corpus
from ..data.cache import open_cache
from ..data.corpus import Corpus, Fold, read_corpus
from ..label_map import check_label_map, read_label_map, translate
from ..unseen import simulate_devices

OWN, SIMULATED, INDEPENDENT = "own", "simulated", "independent"


@dataclass(frozen=True)
class Place:
    """Where a grid's recordings lie: all that another process needs to open the same ones."""

    data: Path
    fold: int = 1
    split: int | None = None
    cache: Path | None = None
    unseen: Path | None = None
    independent: Path | None = None
    label_map: Path | None = None

    def absolute(self, cache: Path) -> Place:
        """The same for processes that were started in another folder, and perhaps with another place for caches."""
        optional = [path and path.resolve() for path in (self.unseen, self.independent, self.label_map)]
        return Place(self.data.resolve(), self.fold, self.split, cache.resolve(), *optional)


@dataclass(frozen=True)
class Side:
    """The evaluation side of `data`; `label_map` says which of the models' scenes its scenes are."""

    name: str
    data: TrainingData
    label_map: Mapping[str, str] | None = None

    @cached_property
    def key(self) -> str:
        """A hash of the snippets that are predicted, and of what their scenes are called."""
        clips = self.data.corpus.clips
        names = (clips[i].filename for i in self.data.fold.evaluate)
        meant = json.dumps(sorted((self.label_map or {}).items()))
        return hashlib.sha256("\n".join((self.data.cache.data_hash, meant, *names)).encode()).hexdigest()[:16]

    @cached_property
    def recording(self) -> NDArray[np.int64]:
        """The number of the recording that each snippet of the evaluation side is from, (n,)."""
        identifiers = np.array([clip.identifier for clip in self.data.corpus.clips])
        return np.unique(identifiers[self.data.cache.clip[self.data.evaluate]], return_inverse=True)[1]


def open_sides(place: Place, corpus: Corpus, output: Output | None) -> tuple[Side, ...]:
    """The sides of `place`, its own first; caches are built when there are none.

    Raises `InputError` for recordings, impulse responses or a label map that are no good.
    """
    data = open_corpus(corpus, place.fold, place.split, place.cache, output)
    sides = [Side(OWN, data)]
    if place.unseen is not None:
        sides.append(Side(SIMULATED, replace(data, cache=simulate_devices(data.cache, place.unseen))))
    if place.independent is not None:
        other = read_corpus(place.independent)
        label_map = None if place.label_map is None else read_label_map(place.label_map)
        check_label_map(label_map or {}, other.labels)
        cache = open_cache(other, place.cache, output)
        if cache.data_hash == data.cache.data_hash:
            raise InputError(f"--independent {place.independent} is the corpus of --data: give another one")
        # No model of the grid has heard any of it: all of it can judge.
        fold = Fold(train=(), evaluate=tuple(range(len(other.clips))))
        sides.append(Side(INDEPENDENT, TrainingData(other, cache, fold, fold_number=0), label_map))
    return tuple(sides)


def check_scenes(sides: Sequence[Side], models: Mapping[str, Sequence[str]]) -> None:
    """Raise `InputError` for a side of which one of the `models` (name -> its scenes) knows no scene."""
    for side in sides:
        for name, labels in models.items():
            if not translate(side.data.labels, labels, side.label_map):
                raise InputError(
                    f"{name} knows no scene of {side.data.corpus.root} ({', '.join(side.data.labels)}), only "
                    f"{', '.join(labels)}: say with --label-map FILE which of these they are, or leave it out"
                )


def check_unseen(unseen: Path, trained_with: Path) -> None:
    """Raise `InputError` when the folder `unseen` has an impulse response that is also `trained_with`."""
    known = {_digest(path): path for path in _responses(trained_with)}
    for path in _responses(unseen):
        if (twin := known.get(_digest(path))) is not None:
            raise InputError(
                f"{path} is also trained with, as {twin}: an unseen microphone is in none of the training folders, "
                "take it out of one of them"
            )


def _responses(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
