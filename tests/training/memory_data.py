"""Training data without audio files: clips by name, with noise or counted samples for waves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyscene.training.batches import TrainingData
from tinyscene.training.data.cache import SNIPPET_SAMPLES, SnippetCache
from tinyscene.training.data.corpus import Clip, Corpus, Fold, make_clip
from tinyscene.training.data.tables import Row


def clip_named(filename: str, scene: str | None = None) -> Clip:
    """The clip that a list's row with this name describes."""
    return make_clip(Row(0, filename, scene, None, None))


def memory_data(
    clips: Sequence[Clip],
    snippets: Sequence[int],
    path: Path,
    train: Sequence[int] | None = None,
    waves: NDArray[np.int16] | None = None,
) -> TrainingData:
    """Data of `clips` with so many `snippets` each; those not in `train` are to evaluate on. Waves are noise."""
    corpus = Corpus(Path("corpus"), tuple(clips), {})
    clip = np.repeat(np.arange(len(clips), dtype=np.int32), snippets)
    label = np.array([corpus.labels.index(entry.scene) for entry in clips])[clip]
    if waves is None:
        noise = np.random.default_rng(len(clip)).standard_normal((len(clip), SNIPPET_SAMPLES))
        waves = (3000 * noise).astype(np.int16)
    devices = tuple(sorted({entry.device for entry in clips}))
    device = np.array([devices.index(entry.device) for entry in clips])[clip]
    sides = set(range(len(clips)) if train is None else train)
    fold = Fold(tuple(sorted(sides)), tuple(i for i in range(len(clips)) if i not in sides))
    return TrainingData(corpus, SnippetCache(waves, clip, label, device, devices, "0" * 64, path), fold, 1)
