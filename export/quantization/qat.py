"""Quantisation-aware fine-tuning: the int8 network learns from its float source, rounding in the forward pass.

It starts from the graph that post-training quantisation gives (`ptq.quantize_calibrated`), so that even a short
training can only go on from there. Ranges follow the batches until the last fifth of the epochs, then stand still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from ...runtime.errors import InputError
from ...runtime.output import Output
from ...training.batches import TrainingData
from ...training.distill import check_distillation
from ...training.run import WEIGHTS, Run, load_run, save_run
from ...training.session import check_data, network_size, provenance, run_config
from ...training.settings import TrainSettings
from ...training.trainer import begin_run, fit
from ..clips import clips_of_data
from ..formats.onnx_writer import write_onnx
from ..formats.tflite_writer import write_tflite
from ..lower import lower
from .ptq import CALIBRATORS, DEFAULT, quantize_calibrated
from .qat_engines import DEFAULT as ENGINE
from .qat_engines import ENGINES, QatNet, qat_net
from .unlabelled import agreements, check_unlabelled
from .widen import parse_layers

MODEL = "model.tflite"

#: The float source with its channels at the levels of the int8 network, so that their tensors have the same units.
FLOAT_MODEL = "model_float.onnx"


@dataclass(frozen=True)
class QatSettings(TrainSettings):
    """Schedule and rate of the published recipe, but learning from the float source alone, on unmasked clips.

    Batch norm is folded here, so nothing takes up the shift of masked or mixed spectra: with the student's augmentation
    the network drifts to fit it and loses a third of its accuracy. Labels (`distill_lambda` > 0) make it go on
    learning, which costs agreement with the float network. Phases left at null take the recipe's shares of `epochs`.
    """

    epochs: int = 20
    batch_size: int = 64
    lr: float = 5e-5
    weight_decay: float = 0.0  # pulling weights off their grid towards zero is no help here
    final_factor: float = 0.1
    device_generalisation: str = "none"
    fmax_jitter_hz: float = 0.0
    freq_mask: int = 0
    distill_lambda: float = 0.0
    teacher_logits: str = "online"
    frozen_epochs: int | None = None  # at the end, with fixed ranges; 4 of 20
    engine: str = ENGINE  # "own": ranges follow the batches; "nncf": NNCF's quantisers, ranges are trained
    calibrator: str = DEFAULT
    int16: str = ""  # layers in 16 bits: names or prefixes with commas, all, auto or auto:N

    def resolve(self) -> QatSettings:
        """The same settings with every phase given in epochs, checked for sense."""
        frozen = round(0.2 * self.epochs) if self.frozen_epochs is None else self.frozen_epochs
        phases: dict[str, Any] = {
            "warmup_epochs": 0.0,
            "rampdown_start": 0.0,
            "rampdown_epochs": round(0.8 * self.epochs, 2),
        }
        missing = {key: value for key, value in phases.items() if getattr(self, key) is None}
        settings = replace(self, frozen_epochs=frozen, **missing)
        settings.check()
        return settings

    def check(self) -> None:
        """Raise `InputError` naming the first setting that is out of its range."""
        super().check()
        self._check_choice("calibrator", CALIBRATORS)
        self._check_choice("engine", ENGINES)
        if self.int16 and self.engine != "own":
            raise InputError(f"engine is {self.engine!r}, which rounds to 8 bits only: leave int16 out, or engine=own")
        # Fake quantisation counts in float32, and the ranges it follows are those of one process.
        self._check_choice("precision", ("32-true",))
        for key in ("devices", "nodes"):
            if getattr(self, key) != 1:
                raise InputError(f"{key} is {getattr(self, key)}, expected 1: quantised networks train in one process")
        if self.frozen_epochs is not None and not 0 <= self.frozen_epochs <= self.epochs:
            raise InputError(f"frozen_epochs is {self.frozen_epochs}, expected 0 to {self.epochs} (epochs)")


class RangeSchedule(Callback):
    """Lets the ranges follow the batches until the last `frozen_epochs` epochs; a function of the epoch alone."""

    def __init__(self, net: QatNet, frozen_epochs: int) -> None:
        self.net = net
        self.frozen_epochs = frozen_epochs

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the epoch's mode."""
        assert trainer.max_epochs is not None
        self.net.observing = trainer.current_epoch < trainer.max_epochs - self.frozen_epochs


def train_qat(
    source: Run, settings: QatSettings, data: TrainingData, out: Path, output: Output, teachers: Sequence[Run] = ()
) -> Run:
    """Fine-tune the student of `source` as an int8 network, as a run of kind "qat" at `out`, or go on where it stopped.

    Distils from `teachers`, by default from `source` itself. The run holds the source's float weights and, as
    `model.tflite`, the int8 graph. Without weight on the labels (`distill_lambda` 0) any recordings of `data` serve;
    those of scenes that `source` knows are scored. Raises `InputError` when `source` is no student.
    """
    if source.kind not in ("student", "imported"):
        raise InputError(f"{source.path} is a {source.kind} run: quantise a student's, from `tinyscene train student`")
    teachers = tuple(teachers) or (source,)
    data = check_unlabelled(settings, source, data).with_holdout(settings.holdout)
    check_distillation(settings, teachers, data.labels)
    check_data(settings, data)
    config = {**run_config("qat", settings, data, teachers), "source": source.files[WEIGHTS]}
    if begin_run(out, config):
        output.log(f"{out} is finished already: nothing to train")
        return load_run(out)
    if settings.threads:  # calibration too has to give the same bits when a killed run goes on
        torch.set_num_threads(settings.threads)
    model, frontend = source.build(), source.frontend
    graph = lower(model, frontend.n_mels, frontend.n_frames())
    clips = clips_of_data(data, frontend)
    start = quantize_calibrated(graph, clips.log_mel, settings.calibrator, parse_layers(settings.int16))
    module, net = qat_net(settings.engine, start, clips.log_mel)
    parameters, macs = network_size(model, source.arch)
    output.log(
        f"qat of {source.path}: {len(graph.ops)} ops, calibrated on {clips.origin}; "
        f"{len(data.train):,} snippets to train on, {len(data.evaluate):,} to evaluate on"
    )
    schedule = RangeSchedule(net, settings.frozen_epochs or 0)
    metrics: Mapping[str, Any] = fit(
        module, frontend, settings, data, out, output, teachers=teachers, callbacks=[schedule]
    )
    metrics = {**metrics, **agreements(module, frontend, settings, data, source, teachers, output)}
    module.cpu()
    files = {MODEL: write_tflite(net.to_graph()), FLOAT_MODEL: write_onnx(start.level)}
    return save_run(
        out,
        kind="qat",
        arch=source.arch,
        arguments=source.arguments,
        labels=source.labels,
        frontend=frontend,
        weights=source.weights(),
        metrics={**metrics, "parameters": parameters, "macs": macs, "float_accuracy": source.metrics.get("accuracy")},
        provenance={
            **provenance(settings, data, teachers),
            "source": source.path.name,
            "source_kind": source.kind,
            "source_weights": source.files[WEIGHTS],
            "calibration": clips.origin,
        },
        files=files,
    )
