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
from .features import LogMel
from .predict import predict
from .run import WEIGHTS, Run

LOGITS = "teacher_logits.npy"
LOGITS_KEY = "teacher_logits.json"


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


def teacher_key(teachers: Sequence[Run], data: TrainingData) -> str:
    """What precomputed logits depend on: each teacher's weights and front end, the audio, and the training snippets."""
    parts = [f"{run.files[WEIGHTS]} {run.frontend.hash()} {run.arch}" for run in teachers]
    parts += [data.cache.data_hash, hashlib.sha256(data.train.tobytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def precompute_logits(
    teachers: Sequence[Run], data: TrainingData, out: Path, device: torch.device, output: Output
) -> NDArray[np.float32]:
    """Mean logits of the teachers for each training snippet as it is, (n_train, n_classes) float32, memory-mapped.

    They are kept in the run folder `out` and taken from there when teachers, audio and fold are the same.
    """
    key = teacher_key(teachers, data)
    file, key_file = out / LOGITS, out / LOGITS_KEY
    shape = (len(data.train), len(data.labels))
    if (kept := _read_logits(file, key_file, key, shape)) is not None:
        return kept
    total = np.zeros(shape, dtype=np.float32)
    for number, run in enumerate(teachers, start=1):
        output.log(f"teacher {number} of {len(teachers)} ({run.path}): logits of {len(data.train):,} snippets")
        total += predict(run.build(), run.frontend, data.cache, data.train, device=device, output=output)
    total /= len(teachers)
    buffer = _npy(total)
    write_file(file, buffer)
    # The key comes last: without it the logits are of nobody knows what.
    write_file(key_file, json.dumps({"key": key, "sha256": hashlib.sha256(buffer).hexdigest()}).encode())
    return np.load(file, mmap_mode="r", allow_pickle=False)


def _npy(values: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _read_logits(file: Path, key_file: Path, key: str, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    try:
        entry: Any = json.loads(key_file.read_bytes())
        if entry != {"key": key, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}:
            return None
        logits: NDArray[np.float32] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return logits if logits.shape == shape else None
