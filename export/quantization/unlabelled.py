"""Learning from a source network instead of labels: on any recordings, with agreement as the measure.

Freezing and quantising a student change its form, not what it knows, so recordings of other scenes, or without any
labels, teach them too. Where a recording's scene is one that the network knows, its label still scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ...runtime.errors import InputError
from ...runtime.frontend_spec import FrontendSpec
from ...runtime.output import Output
from ...training.batches import TrainingData
from ...training.metrics import agreement
from ...training.predict import choose_device, predict
from ...training.run import Run
from ...training.settings import TrainSettings


def check_unlabelled(settings: TrainSettings, source: Run, data: TrainingData) -> TrainingData:
    """`data` with labels that count among the scenes of `source`, -1 for a scene that it does not know.

    Raises `InputError` when `settings` need labels and the corpus has other scenes than `source`.
    """
    if source.labels != data.labels:
        odd = ", ".join(sorted(set(source.labels) ^ set(data.labels))[:4]) or "their order"
        if settings.distill_lambda:
            raise InputError(
                f"the corpus has other scenes than {source.path} ({odd} differ), and distill_lambda is "
                f"{settings.distill_lambda}: leave it at 0 to learn from the network's answers alone"
            )
        if settings.check_epoch is not None and not set(source.labels) & set(data.labels):
            raise InputError(f"check_epoch needs scenes that {source.path} knows ({odd} differ): leave it out")
    return data.named_as(source.labels)


def agreements(
    model: nn.Module,
    frontend: FrontendSpec,
    settings: TrainSettings,
    data: TrainingData,
    source: Run,
    teachers: Sequence[Run],
    output: Output,
) -> dict[str, Any]:
    """How often `model` answers on the evaluation side of `data` as the networks it comes from do.

    `agreement` is with `source`, `teacher_agreement` with each of `teachers` that is another one (in their order);
    `scored` says how many snippets the accuracies are of.
    """
    device, indices = choose_device(settings.device), data.evaluate
    logits = predict(model, frontend, data.cache, indices, device=device)

    def with_run(run: Run) -> float:
        return agreement(logits, predict(run.build(), run.frontend, data.cache, indices, device=device, output=output))

    others = [run for run in teachers if run.path != source.path]
    return {
        "agreement": with_run(source),
        **({"teacher_agreement": [with_run(run) for run in others]} if others else {}),
        "scored": int((data.cache.label[indices] >= 0).sum()),
    }
