"""Metrics of models as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..runtime.output import format_table


def models_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a model: accuracies of `evaluate_logits`, with `agreement` when there is one, by the name given."""
    groups = [group for group in ("real", "seen", "unseen") if any(group in m["groups"] for m in models.values())]
    with_agreement = any("agreement" in metrics for metrics in models.values())
    rows = [
        [
            name,
            *([metrics.get("agreement")] if with_agreement else []),
            metrics["accuracy"],
            metrics["macro"],
            metrics["clip_accuracy"],
            *(metrics["groups"].get(group) for group in groups),
            metrics["n"],
        ]
        for name, metrics in models.items()
    ]
    agrees = ["agreement"] if with_agreement else []
    return format_table(["model", *agrees, "accuracy", "macro", "clip accuracy", *groups, "snippets"], rows)


def scenes_table(metrics: Mapping[str, Any]) -> str:
    """A row a scene: its accuracy."""
    return format_table(["scene", "accuracy"], metrics["per_scene"].items())
