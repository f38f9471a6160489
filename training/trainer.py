"""The training loop: Lightning with progress, logs and a checkpoint after each epoch that a killed run goes on from."""

from __future__ import annotations

import contextlib
import csv
import ctypes
import io
import logging
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from ..runtime.atomic import write_file
from ..runtime.errors import InputError
from ..runtime.frontend_spec import FrontendSpec
from ..runtime.output import Output
from .augment import DeviceImpulseResponses, check_devices, read_impulse_responses
from .batches import TrainingData, evaluate_loader, train_loader
from .config import differing
from .distill import TeacherEnsemble, check_teachers, precompute_logits
from .early_check import EarlyCheck
from .metrics import evaluate_logits
from .module import SceneModule
from .predict import choose_device, predict, to_channels_last
from .run import CONFIG, Run, is_complete, write_config
from .settings import TrainSettings

CHECKPOINT = Path("checkpoints") / "last.ckpt"
METRICS_LOG = Path("logs") / "metrics.csv"


def begin_run(out: Path, config: Mapping[str, Any]) -> bool:
    """Make or take up the run folder `out`; whether it is finished already.

    `config` is all that decides the result. Raises `InputError` when `out` is another thing, or a run with another
    configuration, naming the keys that differ.
    """
    file = out / CONFIG
    if not file.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out} exists and is not a training run: choose another --out")
        write_config(out, config)
        return False
    try:
        old = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} cannot be read ({' '.join(str(error).split()):.100}): choose another --out"
        ) from error
    if not isinstance(old, dict):
        raise InputError(f"{file} is not a run's configuration: choose another --out")
    if changed := differing(old, config):
        raise InputError(
            f"{out} was started with other settings ({'; '.join(changed)}): repeat its command, or choose another --out"
        )
    return is_complete(out)


def fit(
    model: nn.Module,
    frontend: FrontendSpec,
    settings: TrainSettings,
    data: TrainingData,
    out: Path,
    output: Output,
    *,
    teachers: Sequence[Run] = (),
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Train `model` in place on `data` and return its metrics on the evaluation side.

    Logs and the last epoch's checkpoint go into the run folder `out` (see `begin_run`); when there is a checkpoint,
    training goes on after it, and ends with the weights that an uninterrupted training ends with (bit for bit on the
    same CPU with as many threads). `settings` come resolved. Raises `InputError` for teachers of other scenes and
    damaged checkpoints, `GateError` when the loss is no number any more.
    """
    check_teachers(teachers, data.labels)
    responses = _responses(settings, frontend, data)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    keep_freed_memory()
    # Weight decay takes dead channels to denormal numbers, on which a CPU is slow (the published student: 7 times).
    torch.set_flush_denormal(True)
    device = choose_device(settings.device)
    logits = ensemble = None
    if teachers and settings.teacher_logits == "precomputed":
        logits = precompute_logits(teachers, data, out, device, output)
    elif teachers:
        ensemble = TeacherEnsemble(teachers)
    to_channels_last(model)
    module = SceneModule(model, frontend, settings, data.labels, data.cache.devices, responses, ensemble)
    checkpoint = out / CHECKPOINT
    if checkpoint.exists():
        output.log(f"going on from {checkpoint}")
    with _quiet_lightning(), warnings.catch_warnings():
        _ignore_known_warnings()
        trainer = _make_trainer(settings, out, device, output, callbacks)
        interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(
                module,
                train_loader(data, settings.batch_size, settings.seed, logits),
                evaluate_loader(data.cache, data.evaluate),
                ckpt_path=checkpoint if checkpoint.exists() else None,
                weights_only=True,
            )
        except SystemExit:
            # Lightning's answer to Ctrl-C; the command line has a better one.
            signal.signal(signal.SIGINT, interrupt)
            output.log(f"interrupted: the same command goes on from {checkpoint}")
            raise KeyboardInterrupt from None
    return evaluate_model(model, frontend, data, device, output)


def _responses(settings: TrainSettings, frontend: FrontendSpec, data: TrainingData) -> DeviceImpulseResponses | None:
    """The impulse responses to train with, None when `settings` convolve nothing."""
    if settings.dir_folder is None or not settings.dir_probability:
        return None
    check_devices(settings.dir_devices, data.seen_devices)
    return read_impulse_responses(Path(settings.dir_folder), frontend.sample_rate_hz, frontend.clip_samples)


def evaluate_model(
    model: nn.Module, frontend: FrontendSpec, data: TrainingData, device: torch.device, output: Output
) -> dict[str, Any]:
    """Every metric of `model` on the evaluation side of `data`."""
    cache, indices = data.cache, data.evaluate
    return evaluate_logits(
        predict(model, frontend, cache, indices, device=device, output=output),
        cache.label[indices],
        data.labels,
        device=cache.device[indices],
        device_names=cache.devices,
        seen_devices=data.seen_devices,
        clip=cache.clip[indices],
    )


class SafeCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent, and that load tensors and plain values only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path` in one step."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_file(Path(path), buffer.getvalue())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read the checkpoint at `path`; raises `InputError` when it is damaged."""
        try:
            contents: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except Exception as error:  # zipfile's, pickle's and torch's own kinds
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{path} is damaged ({reason}): delete it, the training then starts anew") from error
        return contents


class StderrBar(RichProgressBar):
    """Lightning's bar on stderr, without the logger's version."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """What stands behind the bar: loss, and the last evaluation's accuracy."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class EpochLog(Callback):
    """Keeps `logs/metrics.csv`, one row an epoch, and says each epoch in a line where there is no progress bar."""

    def __init__(self, file: Path, output: Output, speak: bool) -> None:
        self.file = file
        self.output = output
        self.speak = speak
        self.rows: list[dict[str, Any]] = []
        self.started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up the rows of the epochs that the checkpoint already has behind it."""
        if self.file.exists():
            with self.file.open(newline="") as handle:
                rows = list(csv.DictReader(handle))
            self.rows = [dict(row) for row in rows if row["epoch"] and int(row["epoch"]) < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the row of the epoch that ends (Lightning calls this before the module closes its sums)."""
        assert isinstance(pl_module, SceneModule)
        row: dict[str, Any] = {**pl_module.close_epoch(), "seconds": round(time.perf_counter() - self.started, 3)}
        self.rows.append(row)
        columns = list(dict.fromkeys(key for entry in self.rows for key in entry))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_file(self.file, text.getvalue().encode())
        if self.speak:
            scored = f", evaluation {row['evaluate_accuracy']:.3f}" if "evaluate_accuracy" in row else ""
            self.output.log(
                f"epoch {row['epoch'] + 1} of {trainer.max_epochs}: loss {row['train_loss']:.4f}, "
                f"training accuracy {row['train_accuracy']:.3f}{scored}, {row['seconds']:.1f} s"
            )


def _make_trainer(
    settings: TrainSettings, out: Path, device: torch.device, output: Output, callbacks: Sequence[Callback]
) -> pl.Trainer:
    terminal = sys.stderr.isatty()
    checkpoint = out / CHECKPOINT
    own: list[Callback] = [
        EpochLog(out / METRICS_LOG, output, speak=not terminal),
        ModelCheckpoint(
            dirpath=checkpoint.parent,
            filename=checkpoint.stem,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        ),
    ]
    if settings.check_epoch is not None:
        own.append(EarlyCheck(settings.check_epoch, settings.check_accuracy))
    if terminal:
        own.append(StderrBar())
    return pl.Trainer(
        max_epochs=settings.epochs,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        logger=TensorBoardLogger(out / METRICS_LOG.parent, name=None, version="tensorboard"),
        callbacks=[*own, *callbacks],
        plugins=[SafeCheckpointIO()],
        check_val_every_n_epoch=settings.evaluate_every,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=terminal,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed: a network's activations come back every step.

    By default each large tensor is mapped anew and its pages zeroed by the kernel, a fifth of a step's time on a CPU.
    Elsewhere than on glibc nothing happens.
    """
    trim_threshold, mmap_threshold = -1, -3
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 2**31 - 1)


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advertisements and device lists; warnings stay."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _ignore_known_warnings() -> None:
    for message in (
        ".*does not have many workers.*",  # batches come from a memory map: a worker would only copy them
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*The dirpath has changed from.*",  # a run may be moved before it is gone on with
        ".*number of training batches .* is smaller than the logging interval.*",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message)
