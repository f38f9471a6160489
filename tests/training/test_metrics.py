"""Metrics counted by hand on a few predictions."""

from __future__ import annotations

import numpy as np
import pytest

from tinyscene.training.metrics import agreement, evaluate_logits, pool_clips

NAMES = ("bus", "park", "tram", "never")
TRUTH = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 2, 0])
LOGITS = np.eye(4, dtype=np.float32)[PREDICTED]


def test_accuracies_and_confusion() -> None:
    metrics = evaluate_logits(LOGITS, TRUTH, NAMES)
    assert metrics["n"] == 6
    assert metrics["accuracy"] == pytest.approx(3 / 6)
    assert metrics["per_scene"] == pytest.approx({"bus": 2 / 3, "park": 1 / 2, "tram": 0.0})
    assert metrics["macro"] == pytest.approx((2 / 3 + 1 / 2) / 3)  # a scene that does not occur does not count
    assert metrics["confusion"] == [[2, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert "per_device" not in metrics


def test_device_groups() -> None:
    metrics = evaluate_logits(
        LOGITS,
        TRUTH,
        NAMES,
        device=np.array([0, 1, 1, 2, 3, 0]),
        device_names=("a", "s1", "s4", "c", "b"),
        seen_devices=("a", "s1"),
    )
    assert metrics["per_device"] == pytest.approx({"a": 0.5, "s1": 0.5, "s4": 1.0, "c": 0.0})
    # c is a real device though no training clip has it.
    assert metrics["groups"] == pytest.approx({"real": 1 / 3, "seen": 1 / 2, "unseen": 1.0})


def test_clips_are_judged_by_mean_log_probabilities() -> None:
    # Clip 5: two weak votes for class 1 against one strong one for class 0; clip 2: one snippet.
    logits = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 2.0]], dtype=np.float32)
    clip = np.array([5, 5, 5, 2], dtype=np.int32)
    pooled, first = pool_clips(logits, clip)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.stack([np.log(probabilities[3]), np.log(probabilities[:3]).mean(axis=0)])
    np.testing.assert_allclose(pooled, expected, rtol=1e-5)
    assert first.tolist() == [3, 0]
    metrics = evaluate_logits(logits, np.array([0, 0, 0, 1]), ("x", "y"), clip=clip)
    assert metrics["accuracy"] == pytest.approx(2 / 4)
    assert (metrics["n_clips"], metrics["clip_accuracy"], metrics["clip_macro"]) == (2, 1.0, 1.0)


def test_agreement() -> None:
    assert agreement(LOGITS, LOGITS * 7) == 1.0
    assert agreement(LOGITS, np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 0, 1]]) == pytest.approx(4 / 6)
