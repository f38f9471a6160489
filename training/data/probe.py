"""How far a linear classifier gets on the average spectrum alone: what a corpus gives away for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...runtime.frontend import log_mel
from ...runtime.frontend_spec import STUDENT
from ...runtime.output import Output
from .corpus import Corpus
from .progress import track
from .snippets import WORKERS, cut_file

#: The student's front end with every fourth frame, whose mean is as good and takes a quarter of the time.
SPEC = replace(STUDENT, hop_length=4 * STUDENT.hop_length)

#: Ridge penalty per training snippet, on features of unit variance.
PENALTY = 0.1


@dataclass(frozen=True)
class ProbeResult:
    """Accuracy of the linear probe on 1-s snippets of a fold's evaluation side, and what guessing would give."""

    accuracy: float
    chance: float
    train_snippets: int
    evaluate_snippets: int


def probe(corpus: Corpus, fold: int, output: Output | None = None) -> ProbeResult:
    """Fit a ridge classifier to the time-averaged log-mel (256 values) of 1-s snippets and score it on the other side.

    Raises `InputError` when the fold is not there or a file cannot be read.
    """
    sides = corpus.fold(fold)
    train, train_labels = _features(corpus, sides.train, output)
    evaluate, evaluate_labels = _features(corpus, sides.evaluate, output)
    predicted = ridge(train, train_labels, evaluate, len(corpus.labels))
    return ProbeResult(
        accuracy=float(np.mean(predicted == evaluate_labels)),
        chance=float(np.bincount(evaluate_labels).max() / len(evaluate_labels)),
        train_snippets=len(train),
        evaluate_snippets=len(evaluate),
    )


def ridge(
    train: NDArray[np.floating], labels: NDArray[np.integer], evaluate: NDArray[np.floating], n_classes: int
) -> NDArray[np.int64]:
    """Classes that least squares on one-hot targets gives to the rows of `evaluate`, (n,) int64."""
    mean, scale = train.mean(axis=0), train.std(axis=0) + 1e-6
    x = ((train - mean) / scale).astype(np.float64)
    targets = np.eye(n_classes)[labels]
    prior = targets.mean(axis=0)
    weights = np.linalg.solve(x.T @ x + PENALTY * len(x) * np.eye(x.shape[1]), x.T @ (targets - prior))
    scores = ((evaluate - mean) / scale) @ weights + prior
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def _features(
    corpus: Corpus, indices: Sequence[int], output: Output | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Mean log-mel of every snippet of the clips, (n, n_mels), and its label, (n,)."""
    number = {label: i for i, label in enumerate(corpus.labels)}
    clips = [corpus.clips[i] for i in indices]

    def means(i: int) -> NDArray[np.float32]:
        snippets = cut_file(corpus.path(clips[i]), SPEC.sample_rate_hz, SPEC.clip_samples)
        waves = snippets.astype(np.float32) / np.float32(32768)
        return np.stack([log_mel(wave, SPEC).mean(axis=1) for wave in waves])

    with ThreadPoolExecutor(WORKERS) as pool:
        rows = list(track(pool.map(means, range(len(clips))), "linear probe", len(clips), output))
    labels = np.repeat([number[clip.scene] for clip in clips], [len(row) for row in rows])
    return np.concatenate(rows), labels.astype(np.int64)
