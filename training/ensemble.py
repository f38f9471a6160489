"""Ensembles: which teachers, with what weights, and what they say together.

The answer of an ensemble is a weighted mean of its members' log-probabilities, with weights that sum to one over the
members: "mean" has equal ones, which gives the softened probabilities of the mean of the logits; "validation" one a
member, by its accuracy; "learnt" one a member and scene. The latter two are found on recordings that no member was
trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..runtime.errors import InputError
from ..runtime.output import Output
from .batches import TrainingData
from .logits import teacher_logits
from .metrics import log_probabilities
from .run import Run
from .settings import TrainSettings

#: Pull of learnt weights towards equal ones: nats for each squared unit of a weight's logarithm. Held-out snippets are
#: many but come from few recordings, so the gain of a weight far from its neighbours is to be more than a hundredth.
REGULARISATION = 0.01


def members(teachers: Sequence[Run], settings: TrainSettings) -> tuple[Run, ...]:
    """The first `ensemble_size` teachers, all when that is null; raises `InputError` when there are fewer."""
    size = settings.ensemble_size
    if size is None or not teachers:
        return tuple(teachers)
    if size > len(teachers):
        raise InputError(
            f"ensemble_size is {size}, but there are {len(teachers)} teachers: give more with --teacher RUN"
        )
    return tuple(teachers[:size])


def combine(logits: Sequence[NDArray[np.float32]], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """The ensemble's answers, (n, n_classes) float32, from the members' logits, each (n, n_classes).

    `weights` are (k, n_classes) and sum to one over the k members.
    """
    total = np.zeros(logits[0].shape)
    for answers, weight in zip(logits, weights, strict=True):
        total += weight * log_probabilities(answers)
    return total.astype(np.float32)


def ensemble_weights(
    strategy: str,
    teachers: Sequence[Run],
    data: TrainingData,
    *,
    context_s: float = 1.0,
    device: torch.device,
    output: Output,
) -> NDArray[np.float64]:
    """Weights of the `teachers` by `strategy` ("mean", "validation", "learnt"), (k, n_classes).

    For the latter two the teachers' logits for the recordings that all of them kept aside are computed, or taken from
    where they are kept. Raises `InputError` when there are no such recordings.
    """
    if strategy == "mean" or len(teachers) == 1:
        return uniform_weights(len(teachers), len(data.labels))
    share, reason = shared_holdout(teachers, data)
    if reason is not None:
        raise InputError(_needs_holdout(strategy, reason))
    aside = data.with_holdout(share).held_out
    logits = np.stack(
        [teacher_logits(run, data, aside, context_s=context_s, device=device, output=output)[aside] for run in teachers]
    )
    truth = data.cache.label[aside]
    return validation_weights(logits, truth) if strategy == "validation" else learnt_weights(logits, truth)


def uniform_weights(k: int, n_classes: int) -> NDArray[np.float64]:
    """Equal weights, (k, n_classes)."""
    return np.full((k, n_classes), 1.0 / k)


def validation_weights(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights by the accuracy of (k, n, n_classes) `logits` against (n,) `truth`, (k, n_classes), equal in each row.

    A member with accuracy a counts log(a / (1 - a)) + log(n_classes - 1), and nothing when that is negative, which is
    below chance (SAMME: Zhu et al., "Multi-class AdaBoost", 2009). One right and one wrong answer are added to what was
    counted, so that a faultless member is no infinity. Equal weights when no member is above chance.
    """
    k, n, n_classes = logits.shape
    correct = (logits.argmax(axis=2) == truth).sum(axis=1)
    accuracy = (correct + 1) / (n + 2)
    worth = np.maximum(np.log(accuracy / (1 - accuracy)) + np.log(max(n_classes - 1, 1)), 0.0)
    if not worth.any():
        return uniform_weights(k, n_classes)
    return np.repeat((worth / worth.sum())[:, None], n_classes, axis=1)


def learnt_weights(
    logits: NDArray[np.float32], truth: NDArray[np.int64], regularisation: float = REGULARISATION
) -> NDArray[np.float64]:
    """The weights that minimise the cross-entropy of the combined (k, n, n_classes) `logits`, (k, n_classes).

    They are the softmax over members of free numbers that start at 0 (equal weights) and cost `regularisation` times
    their square; L-BFGS in double precision finds them without a random draw.
    """
    k, _, n_classes = logits.shape
    answers = torch.from_numpy(np.stack([log_probabilities(member) for member in logits]))
    labels = torch.from_numpy(truth)
    free = torch.zeros(k, n_classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([free], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def cost() -> torch.Tensor:
        optimiser.zero_grad()
        combined = (free.softmax(dim=0)[:, None] * answers).sum(dim=0)
        loss = F.cross_entropy(combined, labels) + regularisation * free.square().sum()
        loss.backward()
        return loss

    optimiser.step(cost)
    weights: NDArray[np.float64] = free.detach().softmax(dim=0).numpy()
    return weights


def check_ensemble(settings: TrainSettings, teachers: Sequence[Run]) -> None:
    """Raise `InputError` when `settings` ask for an ensemble that `teachers` cannot be, as far as no data is needed."""
    chosen = members(teachers, settings)
    if len(chosen) > 1 and settings.ensemble != "mean":
        _, reason = shared_holdout(chosen)
        if reason is not None:
            raise InputError(_needs_holdout(settings.ensemble, reason))


def shared_holdout(teachers: Sequence[Run], data: TrainingData | None = None) -> tuple[float, str | None]:
    """The share of recordings that all `teachers` kept aside when they were trained on `data`.

    When there are no recordings that none of them was trained on, the share is 0 and a reason is given. Without `data`
    the teachers are compared among themselves.
    """
    sources = [(name, source) for run in teachers for name, source in _trainings(str(run.path), run.provenance)]
    keys = ("data_hash", "fold", "split", "holdout")
    first = {key: teachers[0].provenance.get(key) for key in keys}
    if data is not None:
        first |= {"data_hash": data.cache.data_hash, "fold": data.fold_number, "split": data.split}
    for name, source in sources:
        if not source.get("holdout"):
            return 0.0, f"{name} was trained on all of them"
        for key, words in zip(keys, ("version of the recordings", "fold", "split", "holdout"), strict=True):
            if source.get(key) != first[key]:
                return 0.0, f"{name} was trained with another {words} ({source.get(key)}, expected {first[key]})"
    return float(first["holdout"]), None  # type: ignore[arg-type]


def _trainings(name: str, provenance: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a network was trained on: in its own run, and in those that it started from on the same corpus."""
    yield name, provenance
    start = provenance.get("init")
    while isinstance(start, Mapping):
        if any(start.get(key) == provenance.get(key) for key in ("data", "data_hash") if key in start):
            yield f"what {name} started from", start
        start = start.get("init")


def _needs_holdout(strategy: str, reason: str) -> str:
    return (
        f"ensemble is {strategy!r}, whose weights come from recordings that no teacher was trained on, but {reason}: "
        "train every teacher on the same fold with the same holdout, as in "
        "`tinyscene train teacher --data DIR --out RUN holdout=0.1`"
    )
