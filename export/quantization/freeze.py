"""A student with global response normalisation as one that has none on the device: its normaliser becomes a constant.

`freeze_norm` sets the constant to the mean over calibration clips and fits the layers behind it (`layer_fit`);
`train_frozen` then teaches the frozen network to answer as its source does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor, nn

from ...runtime.errors import InputError
from ...runtime.output import Output
from ...training.batches import TrainingData
from ...training.models.build import build_model
from ...training.models.cp_mobile import Block, CPMobile
from ...training.models.norm import GRN, FrozenGRN, normalizer
from ...training.run import WEIGHTS, Run, load_run, save_run
from ...training.session import check_data, network_size, provenance, run_config
from ...training.settings import TrainSettings
from ...training.trainer import begin_run, fit
from ..clips import clips_of_data
from .layer_fit import MAX_CLIPS, fit_layers
from .unlabelled import agreements, check_unlabelled

_BATCH = 32


def freeze_norm(run: Run, log_mels: NDArray[np.float32], fitted: bool = True) -> tuple[CPMobile, dict[str, Any]]:
    """The run's network with `norm="frozen"`, and its arguments; the means are over `log_mels` (n, n_mels, n_frames).

    Unless `fitted` is false its layers are then fitted to the run's (`fit_layers`). The two networks give different
    answers until the frozen one has been fine-tuned. Raises `InputError` when the run has no global response
    normalisation to freeze.
    """
    source = run.build()
    if not isinstance(source, CPMobile) or not all(isinstance(block.norm, GRN) for block in source.blocks):
        norm = run.arguments.get("norm", "none")
        raise InputError(f"run {run.path} has norm {norm!r}: only a network with norm 'grn' can be frozen")
    arguments = {**run.arguments, "norm": "frozen"}
    frozen = build_model(run.arch, arguments, len(run.labels))
    assert isinstance(frozen, CPMobile)
    frozen.load_state_dict(source.state_dict(), strict=False)  # all but the normalisers' means
    sums: list[Tensor] = []
    hooks = []
    for block in source.blocks:
        assert isinstance(block, Block)
        sums.append(torch.zeros(block.project.conv.out_channels))
        hooks.append(block.norm.register_forward_hook(_adder(sums[-1])))
    with torch.inference_mode():
        for start in range(0, len(log_mels), _BATCH):
            source(torch.from_numpy(log_mels[start : start + _BATCH])[:, None])
    for hook in hooks:
        hook.remove()
    for block, total in zip(frozen.blocks, sums, strict=True):
        assert isinstance(block.norm, FrozenGRN)
        block.norm.n.copy_(total / len(log_mels))
    if fitted:
        fit_layers(frozen, source, log_mels)
    return frozen.eval(), arguments


def _adder(total: Tensor) -> Callable[..., None]:
    def add(module: object, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        total.add_(normalizer(inputs[0]).sum(dim=(0, 2, 3)))

    return add


@dataclass(frozen=True)
class FreezeSettings(TrainSettings):
    """Distillation of the frozen network from its source alone, so that any recordings serve.

    Both hear the same clips: shifted, louder or quieter, mixed with each other, which keeps the network from learning
    the few recordings there are by heart. For the same reason the rate is low, and statistics stay as they were fitted.
    """

    epochs: int = 20
    batch_size: int = 64
    lr: float = 3e-4
    weight_decay: float = 0.0
    final_factor: float = 0.01
    schedule: str = "cosine"
    device_generalisation: str = "none"
    fmax_jitter_hz: float = 0.0
    freq_mask: int = 0
    distill_lambda: float = 0.0
    teacher_logits: str = "online"
    gain_db: float = 6.0
    clip_mix: float = 0.7
    frozen_epochs: int | None = None  # at the end, with fixed statistics (batch norm's too); all of them when null

    def resolve(self) -> FreezeSettings:
        """The same settings with every phase given in epochs, checked for sense."""
        frozen = self.epochs if self.frozen_epochs is None else self.frozen_epochs
        warmup = round(0.05 * self.epochs, 2) if self.warmup_epochs is None else self.warmup_epochs
        settings = TrainSettings.resolve(replace(self, frozen_epochs=frozen, warmup_epochs=warmup))
        assert isinstance(settings, FreezeSettings)
        return settings

    def check(self) -> None:
        """Raise `InputError` naming the first setting that is out of its range."""
        super().check()
        if self.frozen_epochs is not None and not 0 <= self.frozen_epochs <= self.epochs:
            raise InputError(f"frozen_epochs is {self.frozen_epochs}, expected 0 to {self.epochs} (epochs)")


class StatisticsSchedule(Callback):
    """Holds the statistics of batch norm and `FrozenGRN` in the last epochs; a function of the epoch alone."""

    def __init__(self, frozen_epochs: int) -> None:
        self.frozen_epochs = frozen_epochs

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the epoch's mode."""
        assert trainer.max_epochs is not None
        follow = trainer.current_epoch < trainer.max_epochs - self.frozen_epochs
        for module in pl_module.modules():
            if isinstance(module, nn.BatchNorm2d | FrozenGRN):
                module.train(follow)


def train_frozen(source: Run, settings: FreezeSettings, data: TrainingData, out: Path, output: Output) -> Run:
    """The student of `source` with its normalisation frozen, as a run of kind "student" at `out`, or go on with it.

    Starts with `freeze_norm` and learns to answer as `source` does. Any recordings of `data` serve; those of scenes
    that `source` knows are scored. A finished run is returned as it is. Raises `InputError` when `source` is no student
    with global response normalisation.
    """
    if source.kind not in ("student", "imported"):
        raise InputError(f"{source.path} is a {source.kind} run: freeze a student's, from `tinyscene train student`")
    data = check_unlabelled(settings, source, data).with_holdout(settings.holdout)
    check_data(settings, data)
    config = {**run_config("student", settings, data, [source]), "frozen_from": source.files[WEIGHTS]}
    if begin_run(out, config):
        output.log(f"{out} is finished already: nothing to train")
        return load_run(out)
    clips = clips_of_data(data, source.frontend, MAX_CLIPS)
    if settings.threads:  # the fit too has to give the same bits when a killed run goes on
        torch.set_num_threads(settings.threads)
    model, arguments = freeze_norm(source, clips.log_mel)
    parameters, macs = network_size(model, source.arch)
    output.log(
        f"freezing {source.path} on {clips.origin}; {len(data.train):,} snippets to train on, "
        f"{len(data.evaluate):,} to evaluate on"
    )
    before = agreements(model, source.frontend, settings, data, source, (), output)["agreement"]
    output.log(f"agreement with {source.path} before tuning: {before:.3f}")
    schedule = StatisticsSchedule(settings.frozen_epochs or 0)
    metrics: Mapping[str, Any] = fit(
        model.train(), source.frontend, settings, data, out, output, teachers=[source], callbacks=[schedule]
    )
    metrics = {**metrics, **agreements(model, source.frontend, settings, data, source, (), output)}
    return save_run(
        out,
        kind="student",
        arch=source.arch,
        arguments=arguments,
        labels=source.labels,
        frontend=source.frontend,
        weights=model.state_dict(),
        metrics={**metrics, "parameters": parameters, "macs": macs, "agreement_untuned": before},
        provenance={
            **provenance(settings, data, [source]),
            "source": source.path.name,
            "source_kind": source.kind,
            "source_weights": source.files[WEIGHTS],
            "statistics": clips.origin,
        },
    )
