"""Accuracy of runs, bundles and model files side by side on one fold, alone and together, and how often they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..runtime.bundle import MANIFEST as BUNDLE_MANIFEST
from ..runtime.bundle import load_bundle
from ..runtime.engines.litert import LiteRTEngine, open_engine
from ..runtime.errors import InputError
from ..runtime.output import Output
from .batches import TrainingData
from .disagreement import disagreement
from .ensemble import combine, ensemble_weights, uniform_weights
from .label_map import translate
from .metrics import agreement, evaluate_logits
from .model_files import is_model_file, open_model_file
from .predict import choose_device, predict_engine, predict_run
from .run import load_run
from .settings import TrainSettings
from .unseen import simulate_devices


@dataclass(frozen=True)
class Predictions:
    """What one model said: logits (n, n_classes) in the order of its own labels."""

    name: str
    labels: tuple[str, ...]
    logits: NDArray[np.float32]


def predict_model(
    path: Path,
    data: TrainingData,
    kernels: Literal["default", "reference"],
    output: Output,
    like: Path | None = None,
) -> Predictions:
    """Predictions of the run, bundle or model file at `path` for the evaluation side of `data`.

    `like` is a bundle with the labels and the front end of model files.
    """
    indices = data.evaluate
    if is_model_file(path):
        file = open_model_file(path, kernels, like, data.labels)
        output.log(f"{path}: labels and front end of {file.origin}")
        logits = predict_engine(file.engine, file.frontend, data.cache, indices, output)
        return Predictions(f"{path} ({file.engine.name})", file.labels, logits)
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


def score(predictions: Predictions, data: TrainingData, label_map: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Metrics of `predictions`; with other labels than the corpus', on the scenes that both know.

    `label_map` says which of the model's scenes a corpus scene is, where it is not the one of that name. The snippets
    of those scenes are scored on all the model's answers: a scene that the corpus lacks is a wrong one. Raises
    `InputError` when model and corpus share no scene.
    """
    cache = data.cache
    known, truth = known_scenes(predictions, data, label_map)
    kept = data.evaluate[known]
    return evaluate_logits(
        predictions.logits[known],
        truth,
        predictions.labels,
        device=cache.device[kept],
        device_names=cache.devices,
        seen_devices=data.seen_devices,
        clip=cache.clip[kept],
    )


def known_scenes(
    predictions: Predictions, data: TrainingData, label_map: Mapping[str, str] | None
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which evaluation snippets are of scenes the model knows, (n,), and their class numbers in the model, (k,)."""
    meanings = _meanings(predictions.name, predictions.labels, data, label_map)
    numbers = [predictions.labels.index(meanings[label]) if label in meanings else -1 for label in data.labels]
    truth = np.array(numbers)[data.cache.label[data.evaluate]]
    known = truth >= 0
    if not known.any():
        raise InputError(f"{data.corpus.root} has no evaluation snippets of the scenes {', '.join(meanings)}")
    return known, truth[known]


def _meanings(
    name: str, model_labels: Sequence[str], data: TrainingData, label_map: Mapping[str, str] | None
) -> dict[str, str]:
    meanings = translate(data.labels, model_labels, label_map)
    if not meanings:
        raise InputError(
            f"{name} knows none of the scenes of {data.corpus.root} ({', '.join(data.labels)}): "
            f"say with --label-map FILE which of its own they are: {', '.join(model_labels)}"
        )
    return meanings


@dataclass(frozen=True)
class Request:
    """What is asked beside the models' accuracy."""

    kernels: Literal["default", "reference"] = "default"
    label_map: Mapping[str, str] | None = None
    unseen: Path | None = None  # impulse responses: also as heard through them
    like: Path | None = None  # bundle with the labels and the front end of bare model files
    ensemble: str | None = None  # also what all models say together: "mean", "validation", "learnt"


@dataclass(frozen=True)
class Comparison:
    """Models side by side, one entry each, and with an ensemble one more; how far its members disagree."""

    entries: list[dict[str, Any]]
    disagreement: dict[str, Any] | None = None


def compare(paths: Sequence[Path], data: TrainingData, request: Request, output: Output) -> Comparison:
    """Name, metrics and top-1 agreement with the first model on all evaluation snippets, for each model.

    Agreement is None between models of different labels. `unseen` holds the metrics on the same snippets as heard
    through microphones that nobody was trained with. Raises `InputError` for an ensemble of models with different
    labels, or one whose weights cannot be found.
    """
    heard = data if request.unseen is None else replace(data, cache=simulate_devices(data.cache, request.unseen))
    # What is wrong with any model shows before one is asked.
    labels = [_labels(path, data, request) for path in paths]
    for path, known in zip(paths, labels, strict=True):
        _meanings(str(path), known, data, request.label_map)
    weights = None if request.ensemble is None else _weights(paths, labels, data, request.ensemble, output)
    own: list[Predictions] = []
    unseen: list[Predictions] = []
    for path in paths:
        own.append(predict_model(path, data, request.kernels, output, request.like))
        if heard is not data:
            unseen.append(predict_model(path, heard, request.kernels, output, request.like))
    report = None
    if weights is not None:
        report = _disagreement(own, weights, data, request)
        for said in filter(None, (own, unseen)):
            together = combine([predictions.logits for predictions in said], weights)
            said.append(Predictions(f"together ({request.ensemble})", labels[0], together))
    entries: list[dict[str, Any]] = []
    for number, predictions in enumerate(own):
        meanings = translate(data.labels, predictions.labels, request.label_map)
        comparable = predictions.labels == own[0].labels
        entry = {
            "model": predictions.name,
            "shared_scenes": list(meanings),
            "label_map": {scene: meant for scene, meant in meanings.items() if scene != meant},
            "agreement": agreement(own[0].logits, predictions.logits) if comparable else None,
            "agreement_n": len(predictions.logits),
            **score(predictions, data, request.label_map),
        }
        if unseen:
            entry["unseen"] = score(unseen[number], heard, request.label_map)
        entries.append(entry)
    return Comparison(entries, report)


def _labels(path: Path, data: TrainingData, request: Request) -> tuple[str, ...]:
    if is_model_file(path):
        return open_model_file(path, request.kernels, request.like, data.labels).labels
    return load_bundle(path).labels if (path / BUNDLE_MANIFEST).is_file() else load_run(path).labels


def _weights(
    paths: Sequence[Path], labels: Sequence[tuple[str, ...]], data: TrainingData, strategy: str, output: Output
) -> NDArray[np.float64]:
    if len(paths) < 2:
        raise InputError("--ensemble needs at least two models: one has nothing to be combined with")
    for path, known in zip(paths, labels, strict=True):
        if known != labels[0]:
            raise InputError(
                f"--ensemble: {path} knows other scenes than {paths[0]}, or has them in another order: "
                "give models that were trained on one corpus"
            )
    if strategy == "mean":
        return uniform_weights(len(paths), len(labels[0]))
    folders = [path for path in paths if not is_model_file(path) and not (path / BUNDLE_MANIFEST).is_file()]
    runs = [load_run(path) for path in folders]
    if len(runs) < len(paths) or any(run.kind == "qat" for run in runs) or labels[0] != data.labels:
        raise InputError(
            f"--ensemble {strategy} weighs float runs that were trained on {data.corpus.root}: "
            "give their runs, or use --ensemble mean"
        )
    return ensemble_weights(strategy, runs, data, device=choose_device("auto"), output=output)


def _disagreement(
    predictions: Sequence[Predictions], weights: NDArray[np.float64], data: TrainingData, request: Request
) -> dict[str, Any]:
    known, truth = known_scenes(predictions[0], data, request.label_map)
    return {
        "strategy": request.ensemble,
        **disagreement(
            [member.logits[known] for member in predictions],
            weights,
            truth,
            data.cache.clip[data.evaluate[known]],
            names=[member.name for member in predictions],
            labels=predictions[0].labels,
            temperature=TrainSettings.temperature,
        ),
    }
