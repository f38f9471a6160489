"""How far the members of an ensemble disagree, and whether their mean is worth more than the best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.output import format_table
from .ensemble import combine
from .metrics import agreement, log_probabilities

#: Nats that the float32 answers of an ensemble of equals may differ from theirs.
ROUNDING = 1e-6


def disagreement(
    logits: Sequence[NDArray[np.float32]],
    weights: NDArray[np.float64],
    truth: NDArray[np.int64],
    clip: NDArray[np.int32],
    *,
    names: Sequence[str],
    labels: Sequence[str],
    temperature: float,
) -> dict[str, Any]:
    """Members, pairs and scenes of an ensemble in figures, as plain values for JSON.

    `logits` are the k members', each (n, n_classes) for the same snippets; `weights` (k, n_classes) as in `combine`;
    `truth` and `clip` (n,). Each pair of members has `agreement` (share of snippets with the same answer) and `kl`, the
    mean of the two Kullback-Leibler divergences between their probabilities softened by `temperature`, in nats, overall
    and per scene; `per_scene` is their mean over the pairs. `members` and `ensemble` have `accuracy` and
    `cross_entropy`. `warning` is None, or says that the ensemble teaches less than its best member (see `_warning`).
    """
    together = combine(logits, weights)
    scenes = [(label, truth == number) for number, label in enumerate(labels) if np.any(truth == number)]
    soft = [log_probabilities(member / temperature) for member in logits]
    pairs = []
    for first, second in combinations(range(len(logits)), 2):
        same = logits[first].argmax(axis=1) == logits[second].argmax(axis=1)
        kl = ((np.exp(soft[first]) - np.exp(soft[second])) * (soft[first] - soft[second])).sum(axis=1) / 2
        pairs.append(
            {
                "first": names[first],
                "second": names[second],
                "agreement": agreement(logits[first], logits[second]),
                "kl": float(kl.mean()),
                "per_scene": {
                    label: {"agreement": float(same[rows].mean()), "kl": float(kl[rows].mean())}
                    for label, rows in scenes
                },
            }
        )
    return {
        "n": len(truth),
        "temperature": temperature,
        "members": [
            {"model": name, **_figures(member, truth), "weights": weight.tolist()}
            for name, member, weight in zip(names, logits, weights, strict=True)
        ],
        "ensemble": _figures(together, truth),
        "pairs": pairs,
        "per_scene": {
            label: {
                figure: float(np.mean([pair["per_scene"][label][figure] for pair in pairs]))  # type: ignore[index]
                for figure in ("agreement", "kl")
            }
            for label, _ in scenes
        },
        "labels": list(labels),
        "warning": _warning(logits, together, truth, clip, names),
    }


def _figures(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> dict[str, float]:
    return {"accuracy": float(_right(logits, truth).mean()), "cross_entropy": float(-_score(logits, truth).mean())}


def _right(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    return (logits.argmax(axis=1) == truth).astype(np.float64)


def _score(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log-probability of the true scene, (n,)."""
    result: NDArray[np.float64] = np.take_along_axis(log_probabilities(logits), truth[:, None], axis=1)[:, 0]
    return result


def _warning(
    logits: Sequence[NDArray[np.float32]],
    together: NDArray[np.float32],
    truth: NDArray[np.int64],
    clip: NDArray[np.int32],
    names: Sequence[str],
) -> str | None:
    """That the ensemble is worse than its best member in accuracy or in cross-entropy, beyond chance; else None.

    Beyond chance: by more than two standard errors of the difference, taken over clips, whose snippets are alike.
    """
    reasons = []
    for word, figure, sign in (("accuracy", _right, 1), ("cross-entropy", _score, -1)):
        scores = [figure(member, truth) for member in logits]
        best = int(np.argmax([score.mean() for score in scores]))
        lost = scores[best] - figure(together, truth)
        if lost.mean() > 2 * _standard_error(lost, clip) + ROUNDING:
            values = f"{sign * figure(together, truth).mean():.3f} against {sign * scores[best].mean():.3f}"
            reasons.append(f"{word} {values} of {names[best]}")
    if not reasons:
        return None
    return (
        f"the ensemble teaches less than its best member alone ({', '.join(reasons)}): "
        "leave out the members that disagree most, or weigh them with ensemble 'learnt'"
    )


def _standard_error(values: NDArray[np.float64], clip: NDArray[np.int32]) -> float:
    """Of the mean of (n,) values whose clips are independent and whose snippets within a clip are not."""
    _, group = np.unique(clip, return_inverse=True)
    sums = np.bincount(group, weights=values - values.mean())
    return float(np.sqrt(np.square(sums).sum()) / len(values))


def disagreement_tables(report: Mapping[str, Any]) -> str:
    """The report of `disagreement` for people: members, pairs and scenes, members by number.

    Weights stand with the members, or with the scenes where they differ from scene to scene.
    """
    members = report["members"]
    numbers = range(1, len(members) + 1)
    by_scene = any(len(set(member["weights"])) > 1 for member in members)
    rows = [
        [number, member["model"], *([] if by_scene else member["weights"][:1]), *_values(member)]
        for number, member in zip(numbers, members, strict=True)
    ]
    rows.append(["-", "together", *([] if by_scene else [1.0]), *_values(report["ensemble"])])
    pairs = [
        [f"{first} and {second}", pair["agreement"], pair["kl"]]
        for (first, second), pair in zip(combinations(numbers, 2), report["pairs"], strict=True)
    ]
    scenes = [
        [label, figures["agreement"], figures["kl"]]
        + [member["weights"][report["labels"].index(label)] for member in members if by_scene]
        for label, figures in report["per_scene"].items()
    ]
    compared = ["agreement", f"KL (T = {report['temperature']:g})"]
    weight, weights = ([], [f"weight of {number}" for number in numbers]) if by_scene else (["weight"], [])
    return "\n\n".join(
        [
            format_table(["member", "model", *weight, "accuracy", "cross-entropy"], rows),
            format_table(["members", *compared], pairs),
            format_table(["scene", *compared, *weights], scenes),
        ]
    )


def _values(figures: Mapping[str, Any]) -> list[float]:
    return [figures["accuracy"], figures["cross_entropy"]]
