"""What a finished cell answers on each side, kept beside it, and how often it is right."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.atomic import write_file
from ...runtime.output import Output
from ..evaluate import Predictions, known_scenes, predict_model, score
from ..metrics import device_group, pool_clips
from ..run import Run
from .intervals import Tally, tally
from .sides import Side

SCHEMA = "tinyscene.cell/1"
SCORES = "scores.json"


@dataclass(frozen=True)
class Answers:
    """What one cell answers on one side, and its metrics."""

    predictions: Predictions
    metrics: Mapping[str, Any]


def score_cell(folder: Path, run: Run, side: Side, output: Output) -> Answers:
    """What `run` answers on the evaluation side of `side`, taken from the cell's `folder` when it is there.

    `scores.json` lists what is there, with the metrics; an entry whose logits are damaged is made anew.
    """
    file = folder / f"logits-{side.key}.npy"
    entries = _entries(folder)
    try:
        entry, buffer = entries[side.key], file.read_bytes()
        if hashlib.sha256(buffer).hexdigest() == entry["logits_sha256"]:
            logits = np.load(io.BytesIO(buffer), allow_pickle=False)
            return Answers(Predictions(str(run.path), run.labels, logits), entry["metrics"])
    except (OSError, KeyError, TypeError):
        pass
    output.log(f"scoring {run.path.name} on {len(side.data.evaluate):,} snippets ({side.name})")
    predictions = predict_model(run.path, side.data, "default", output)
    metrics = score(predictions, side.data, side.label_map)
    saved = io.BytesIO()
    np.save(saved, predictions.logits, allow_pickle=False)
    write_file(file, saved.getvalue())
    entries[side.key] = {
        "side": side.name,
        "corpus": side.data.corpus.root.resolve().name,
        "logits": file.name,
        "logits_sha256": hashlib.sha256(saved.getvalue()).hexdigest(),
        "metrics": metrics,
    }
    text = json.dumps({"schema": SCHEMA, "sides": entries}, indent=1, allow_nan=False)
    write_file(folder / SCORES, (text + "\n").encode())
    return Answers(predictions, metrics)


def is_scored(folder: Path, sides: Sequence[Side]) -> bool:
    """Whether the cell in `folder` has answered on all `sides`."""
    return set(_entries(folder)) >= {side.key for side in sides}


def count_right(answers: Sequence[Answers], side: Side) -> dict[str, Tally]:
    """Right answers on `side` by recording, for each metric that is a share of them.

    `answers` are those of one row, one a seed. Metrics are called as in `evaluate_logits`: "accuracy", "macro",
    "clip_accuracy", "clip_macro", and "real", "seen", "unseen" for the groups of devices that there are.
    """
    data = side.data
    known, truth = known_scenes(answers[0].predictions, data, side.label_map)
    n_recordings = int(side.recording.max()) + 1
    recording, indices = side.recording[known], data.evaluate[known]
    logits = [entry.predictions.logits[known] for entry in answers]
    right = np.stack([entry.argmax(axis=1) == truth for entry in logits])
    pooled = [pool_clips(entry, data.cache.clip[indices]) for entry in logits]
    first = pooled[0][1]
    clip_right = np.stack([entry.argmax(axis=1) == truth[first] for entry, _ in pooled])
    scene = np.unique(truth, return_inverse=True)[1]
    tallies = {
        "accuracy": tally(right, recording, n_recordings),
        "macro": tally(right, recording, n_recordings, scene),
        "clip_accuracy": tally(clip_right, recording[first], n_recordings),
        "clip_macro": tally(clip_right, recording[first], n_recordings, scene[first]),
    }
    devices = [device_group(name, data.seen_devices) for name in data.cache.devices]
    group = np.array(devices)[data.cache.device[indices]]
    for name in ("real", "seen", "unseen"):
        if np.any(chosen := group == name):
            tallies[name] = tally(right[:, chosen], recording[chosen], n_recordings)
    return tallies


def _entries(folder: Path) -> dict[str, Any]:
    try:
        contents = json.loads((folder / SCORES).read_bytes())
        return dict(contents["sides"]) if contents["schema"] == SCHEMA else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
