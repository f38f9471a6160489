"""Accuracy of runs and bundles side by side on one fold, and how often they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..runtime.bundle import MANIFEST as BUNDLE_MANIFEST
from ..runtime.bundle import load_bundle
from ..runtime.engine import LiteRTEngine, open_engine
from ..runtime.errors import InputError
from ..runtime.output import Output
from .batches import TrainingData
from .metrics import agreement, evaluate_logits
from .predict import predict_engine, predict_run
from .run import load_run


@dataclass(frozen=True)
class Predictions:
    """What one model said: logits (n, n_classes) in the order of its own labels."""

    name: str
    labels: tuple[str, ...]
    logits: NDArray[np.float32]


def predict_model(
    path: Path, data: TrainingData, kernels: Literal["default", "reference"], output: Output
) -> Predictions:
    """Predictions of the run or bundle at `path` for the evaluation side of `data`."""
    indices = data.evaluate
    if (path / BUNDLE_MANIFEST).is_file():
        bundle = load_bundle(path)
        engine = open_engine(bundle, kernels)
        logits = predict_engine(engine, bundle.frontend, data.cache, indices, output)
        return Predictions(f"{path} ({engine.name})", bundle.labels, logits)
    run = load_run(path)
    if run.kind == "qat":
        # The network that this kind of run made is the int8 one; its float weights are the source's.
        engine = LiteRTEngine(run.file("model.tflite"), kernels)
        logits = predict_engine(engine, run.frontend, data.cache, indices, output)
        return Predictions(f"{path} ({engine.name})", run.labels, logits)
    return Predictions(f"{path} ({run.arch} float)", run.labels, predict_run(run, data.cache, indices, output))


def score(predictions: Predictions, data: TrainingData) -> dict[str, Any]:
    """Metrics of `predictions`; with other labels than the corpus', on the scenes that both know.

    The snippets of those scenes are scored on all the model's answers: a scene that the corpus lacks is a wrong one.
    Raises `InputError` when model and corpus share no scene.
    """
    cache, indices = data.cache, data.evaluate
    number_of = {label: i for i, label in enumerate(predictions.labels)}
    translate = np.array([number_of.get(label, -1) for label in data.labels])
    truth = translate[cache.label[indices]]
    known = truth >= 0
    if not known.any():
        raise InputError(f"{predictions.name} knows none of the scenes of {data.corpus.root}: {', '.join(data.labels)}")
    kept = indices[known]
    return evaluate_logits(
        predictions.logits[known],
        truth[known],
        predictions.labels,
        device=cache.device[kept],
        device_names=cache.devices,
        seen_devices=data.seen_devices,
        clip=cache.clip[kept],
    )


def compare(
    paths: Sequence[Path], data: TrainingData, kernels: Literal["default", "reference"], output: Output
) -> list[dict[str, Any]]:
    """One entry a model: name, metrics and top-1 agreement with the first model on all evaluation snippets.

    Agreement is None between models of different labels.
    """
    entries: list[dict[str, Any]] = []
    first: Predictions | None = None
    for path in paths:
        predictions = predict_model(path, data, kernels, output)
        first = first or predictions
        comparable = predictions.labels == first.labels
        entries.append(
            {
                "model": predictions.name,
                "shared_scenes": [label for label in data.labels if label in predictions.labels],
                "agreement": agreement(first.logits, predictions.logits) if comparable else None,
                "agreement_n": len(predictions.logits),
                **score(predictions, data),
            }
        )
    return entries
