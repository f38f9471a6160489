"""Knowledge distillation: the loss, and where the teachers' logits come from.

Hinton et al., "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531), with the weights of the published
recipe.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..runtime.atomic import write_file
from ..runtime.errors import InputError
from ..runtime.output import Output
from .batches import TrainingData
from .context import check_context
from .disagreement import disagreement, disagreement_tables
from .ensemble import check_ensemble, combine, ensemble_weights, members, shared_holdout, uniform_weights
from .features import LogMel
from .logits import teacher_logits
from .run import WEIGHTS, Run
from .settings import TrainSettings

LOGITS = "teacher_logits.npy"
LOGITS_KEY = "teacher_logits.json"
ENSEMBLE = "teacher_ensemble.json"

#: Snippets whose targets are combined at once.
ROWS_AT_ONCE = 16_384


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 times the mean over classes of p_teacher (log p_teacher - log p_student), both softened by T; (batch,).

    Both are (batch, n_classes) logits. The mean is over classes, as in the published training: a tenth of the
    textbook divergence for ten scenes, which the published weight of the labels (0.02) goes with.
    """
    soft_student = F.log_softmax(student / temperature, dim=1)
    soft_teacher = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(soft_student, soft_teacher, reduction="none", log_target=True)
    return divergence.mean(dim=1) * temperature**2


class TeacherEnsemble(nn.Module):
    """Teachers that hear the student's augmented waveform, each through its own front end; logits are averaged."""

    def __init__(self, teachers: Sequence[Run]) -> None:
        super().__init__()
        self.models = nn.ModuleList(run.build() for run in teachers)
        self.frontends = nn.ModuleList(LogMel(run.frontend) for run in teachers)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> TeacherEnsemble:
        """Stay in evaluation mode, whatever the trainer asks of the modules it holds."""
        return super().train(False)

    def forward(self, wave: Tensor) -> Tensor:
        """(batch, n_samples) float32 -> (batch, n_classes) mean logits."""
        pairs = zip(self.models, self.frontends, strict=True)
        return torch.stack([model(frontend(wave)) for model, frontend in pairs]).mean(dim=0)


def check_teachers(teachers: Sequence[Run], labels: Sequence[str]) -> None:
    """Raise `InputError` when a teacher does not know exactly the scenes `labels`, in their order."""
    for run in teachers:
        if run.labels != tuple(labels):
            odd = sorted(set(run.labels) ^ set(labels)) or ["their order"]
            raise InputError(
                f"teacher {run.path} knows other scenes than the corpus ({', '.join(odd[:4])} differ): "
                "train a teacher on this corpus with `tinyscene train teacher`"
            )


def check_distillation(settings: TrainSettings, teachers: Sequence[Run], labels: Sequence[str]) -> None:
    """Raise `InputError` when `teachers` cannot teach as `settings` say, as far as that shows without audio.

    They know other scenes, are fewer than `ensemble_size`, were trained without the holdout that weights need, or
    cannot hear `teacher_context_s`.
    """
    check_teachers(teachers, labels)
    check_ensemble(settings, teachers)
    if settings.teacher_context_s > 1.0:
        for run in members(teachers, settings):
            check_context(run, settings.teacher_context_s)


def precompute_logits(
    teachers: Sequence[Run],
    data: TrainingData,
    settings: TrainSettings,
    out: Path,
    device: torch.device,
    output: Output,
) -> NDArray[np.float32]:
    """What the ensemble says of each training snippet as it is, (n_train, n_classes) float32, memory-mapped.

    Log-probabilities, weighted and combined as `settings` say. They are kept in the run folder `out` and taken from
    there when teachers, settings, audio and fold are the same. Each teacher's own logits are kept beside the cache, see
    `logits`.
    """
    teachers = members(teachers, settings)
    key = _targets_key(teachers, data, settings)
    file, key_file = out / LOGITS, out / LOGITS_KEY
    shape = (len(data.train), len(data.labels))
    if (kept := _read_logits(file, key_file, key, shape)) is not None:
        return kept
    context_s = settings.teacher_context_s
    weights = ensemble_weights(settings.ensemble, teachers, data, context_s=context_s, device=device, output=output)
    describe_ensemble(teachers, weights, data, settings, out, device, output)
    logits = [
        teacher_logits(run, data, data.train, context_s=context_s, device=device, output=output) for run in teachers
    ]
    targets = np.empty(shape, dtype=np.float32)
    for start in range(0, len(targets), ROWS_AT_ONCE):
        rows = data.train[start : start + ROWS_AT_ONCE]
        targets[start : start + ROWS_AT_ONCE] = combine([answers[rows] for answers in logits], weights)
    buffer = _npy(targets)
    write_file(file, buffer)
    # The key comes last: without it the logits are of nobody knows what.
    write_file(key_file, json.dumps({"key": key, "sha256": hashlib.sha256(buffer).hexdigest()}).encode())
    return np.load(file, mmap_mode="r", allow_pickle=False)


def online_ensemble(
    teachers: Sequence[Run],
    data: TrainingData,
    settings: TrainSettings,
    out: Path,
    device: torch.device,
    output: Output,
) -> TeacherEnsemble:
    """The teachers that hear each augmented batch, after a look at how far they disagree."""
    teachers = members(teachers, settings)
    describe_ensemble(teachers, uniform_weights(len(teachers), len(data.labels)), data, settings, out, device, output)
    return TeacherEnsemble(teachers)


def describe_ensemble(
    teachers: Sequence[Run],
    weights: NDArray[np.float64],
    data: TrainingData,
    settings: TrainSettings,
    out: Path,
    device: torch.device,
    output: Output,
) -> None:
    """Log how far two or more teachers disagree, and warn about those that were trained on other recordings.

    Judged on the recordings that all of them kept aside, else on the evaluation side. The report is kept in the run
    folder `out` (see `ensemble_report`); its `on` says which.
    """
    for run in teachers:
        if reason := other_version(run, data):
            output.log(f"warning: {reason}")
    if len(teachers) < 2:
        return
    share, _ = shared_holdout(teachers, data)
    indices = data.with_holdout(share).held_out if share else data.evaluate
    logits = [
        teacher_logits(run, data, indices, context_s=settings.teacher_context_s, device=device, output=output)[indices]
        for run in teachers
    ]
    report = disagreement(
        logits,
        weights,
        data.cache.label[indices],
        data.cache.clip[indices],
        names=[str(run.path) for run in teachers],
        labels=data.labels,
        temperature=settings.temperature,
    )
    where = "recordings that no teacher was trained on" if share else "the evaluation side"
    fitted = " (the weights come from them, too)" if share and settings.ensemble != "mean" else ""
    output.log(f"{len(teachers)} teachers on {report['n']:,} snippets of {where}{fitted}:\n")
    output.log(disagreement_tables(report) + "\n")
    if report["warning"]:
        output.log(f"warning: {report['warning']}")
    report = {"on": "holdout" if share else "evaluate", "strategy": settings.ensemble, **report}
    write_file(out / ENSEMBLE, (json.dumps(report, indent=1) + "\n").encode())


def other_version(run: Run, data: TrainingData) -> str | None:
    """Why `run` was trained on another version of the recordings in `data`; None when it was not, or on others."""
    name, trained_on = data.corpus.root.resolve().name, run.provenance.get("data_hash")
    if run.provenance.get("data") != name or trained_on in (None, data.cache.data_hash):
        return None
    return (
        f"teacher {run.path} was trained on another version of {name} (data_hash {trained_on[:12]}, now "
        f"{data.cache.data_hash[:12]}): recordings or labels changed since, so it may know those of the evaluation side"
    )


def ensemble_report(out: Path) -> dict[str, Any] | None:
    """What was found about the teachers of the run at `out` before it was distilled; None for one teacher, or none."""
    try:
        report: dict[str, Any] = json.loads((out / ENSEMBLE).read_bytes())
    except (OSError, ValueError):
        return None
    return report


def _targets_key(teachers: Sequence[Run], data: TrainingData, settings: TrainSettings) -> str:
    parts = [f"{run.files[WEIGHTS]} {run.frontend.hash()} {run.arch}" for run in teachers]
    parts += [data.cache.data_hash, hashlib.sha256(data.train.tobytes()).hexdigest()]
    parts += [settings.ensemble, str(settings.teacher_context_s)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _npy(values: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _read_logits(file: Path, key_file: Path, key: str, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    try:
        entry: Any = json.loads(key_file.read_bytes())
        if entry["key"] != key or entry["sha256"] != hashlib.sha256(file.read_bytes()).hexdigest():
            return None
        logits: NDArray[np.float32] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return logits if logits.shape == shape else None
