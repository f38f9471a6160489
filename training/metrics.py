"""Accuracy in every cut that acoustic scene classification is judged by, on snippets and on whole clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Devices that are real recorders in the TAU data sets; all others there are simulated.
REAL_DEVICES = ("a", "b", "c")

#: How the names of devices begin that `unseen.simulate_devices` makes: whatever side they are on, no training has them.
UNSEEN_PREFIX = "unseen:"


def evaluate_logits(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    label_names: Sequence[str],
    *,
    device: NDArray[np.int64] | None = None,
    device_names: Sequence[str] = (),
    seen_devices: Sequence[str] = (),
    clip: NDArray[np.int32] | None = None,
) -> dict[str, Any]:
    """Every metric of (n, n_classes) `logits` against (n,) `labels`, as plain numbers for `run.json`.

    `accuracy`, `macro` (mean over the scenes that occur), `per_scene`, `confusion` (rows true, columns predicted), with
    `device` also `per_device` and `groups` (real: a, b, c; seen: further devices of the training side; unseen: the
    rest), and with `clip` `clip_accuracy` and `clip_macro`: a clip's answer is the mean of its snippets'
    log-probabilities. `n` says how many snippets were scored: those whose label is not -1 (a scene that the network
    does not know). Where there are none, the accuracies are None.
    """
    if not (known := labels >= 0).all():
        logits, labels = logits[known], labels[known]
        device = None if device is None else device[known]
        clip = None if clip is None else clip[known]
    predicted = logits.argmax(axis=1)
    correct = predicted == labels
    confusion = np.zeros((len(label_names), logits.shape[1]), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    metrics: dict[str, Any] = {
        "n": len(labels),
        "accuracy": _mean(correct),
        **_by_scene(correct, labels, label_names),
        "confusion": confusion.tolist(),
    }
    if device is not None:
        metrics["per_device"] = {
            name: float(correct[device == i].mean()) for i, name in enumerate(device_names) if np.any(device == i)
        }
        group_of = np.array([device_group(name, seen_devices) for name in device_names])[device]
        metrics["groups"] = {
            group: float(correct[group_of == group].mean())
            for group in ("real", "seen", "unseen")
            if np.any(group_of == group)
        }
    if clip is not None:
        clip_logits, first = pool_clips(logits, clip)
        clip_labels = labels[first]
        clip_correct = clip_logits.argmax(axis=1) == clip_labels
        metrics["n_clips"] = len(clip_labels)
        metrics["clip_accuracy"] = _mean(clip_correct)
        metrics["clip_macro"] = _by_scene(clip_correct, clip_labels, label_names)["macro"]
    return metrics


def pool_clips(logits: NDArray[np.float32], clip: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean log-probabilities of each clip, (k, n_classes), and the index of each clip's first snippet, (k,)."""
    _, first, group = np.unique(clip, return_index=True, return_inverse=True)
    sums = np.zeros((len(first), logits.shape[1]))
    np.add.at(sums, group, log_probabilities(logits))
    return sums / np.bincount(group)[:, None], first


def log_probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Logarithm of the softmax of each row, in double precision."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def agreement(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Share of rows whose largest logit is at the same place."""
    return float((first.argmax(axis=1) == second.argmax(axis=1)).mean())


def _by_scene(correct: NDArray[np.bool_], labels: NDArray[np.int64], names: Sequence[str]) -> dict[str, Any]:
    per_scene = {name: float(correct[labels == i].mean()) for i, name in enumerate(names) if np.any(labels == i)}
    return {"macro": _mean(np.array(list(per_scene.values()))), "per_scene": per_scene}


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def device_group(device: str, seen: Sequence[str]) -> str:
    """The group that a device is counted in: "real", "seen" (trained with, see `seen`) or "unseen"."""
    if device in REAL_DEVICES:
        return "real"
    return "seen" if device in seen and not device.startswith(UNSEEN_PREFIX) else "unseen"
