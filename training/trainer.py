"""The training loop: Lightning with progress, logs and a checkpoint after each epoch that a killed run goes on from."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from ..runtime.errors import InputError, TinysceneError
from ..runtime.frontend_spec import FrontendSpec
from ..runtime.output import Output
from .augment import DeviceImpulseResponses, read_impulse_responses
from .batches import TrainingData, evaluate_loader, train_loader
from .checkpoints import CHECKPOINT, SafeCheckpointIO
from .config import differing
from .distill import check_distillation, online_ensemble, precompute_logits
from .early_check import EarlyCheck
from .epoch_log import METRICS_LOG, EpochLog, StderrBar
from .metrics import evaluate_logits
from .module import SceneModule
from .parallel import Share, check_processes, launching, voice
from .predict import choose_device, predict, to_channels_last
from .run import CONFIG, Run, is_complete, write_config
from .settings import TrainSettings


def begin_run(out: Path, config: Mapping[str, Any]) -> bool:
    """Make or take up the run folder `out`; whether it is finished already.

    `config` is all that decides the result. Raises `InputError` when `out` is another thing, or a run with another
    configuration, naming the keys that differ.
    """
    file = out / CONFIG
    if not file.exists():
        # Other processes of the same training may be at this line too: what they write is no other thing.
        if out.exists() and not (out.is_dir() and all(path.name.startswith(f".{CONFIG}.") for path in out.iterdir())):
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
    if "data_hash" in old and "data_hash" in config and old["data_hash"] != config["data_hash"]:
        raise InputError(
            f"{out} was started on another version of the recordings (data_hash {str(old['data_hash'])[:12]}, now "
            f"{str(config['data_hash'])[:12]}): bring back the files and lists that it was started with, "
            "or choose another --out"
        )
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
    same CPU with as many threads). `settings` come resolved. Where several processes train, only the first returns:
    the others end here. Raises `InputError` for teachers of other scenes, damaged checkpoints and devices that are not
    there, `GateError` when the loss is no number any more.
    """
    output = voice(settings, output)
    device = choose_device(settings.device)
    check_processes(settings, device)
    check_distillation(settings, teachers, data.labels)
    responses = _responses(settings, frontend)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    keep_freed_memory()
    # Weight decay takes dead channels to denormal numbers, on which a CPU is slow (the published student: 7 times).
    torch.set_flush_denormal(True)
    logits = ensemble = None
    if teachers and settings.teacher_logits == "precomputed":
        logits = precompute_logits(teachers, data, settings, out, device, output)
    elif teachers:
        ensemble = online_ensemble(teachers, data, settings, out, device, output)
    to_channels_last(model)
    module = SceneModule(model, frontend, settings, data.labels, data.cache.devices, responses, ensemble)
    checkpoint = out / CHECKPOINT
    if checkpoint.exists():
        output.log(f"going on from {checkpoint}")
    with launching(settings), _quiet_lightning(), warnings.catch_warnings():
        _ignore_known_warnings()
        trainer = _make_trainer(settings, out, device, output, callbacks)
        share = Share(trainer.global_rank, trainer.world_size)
        interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(
                module,
                train_loader(data, settings.batch_size, settings.seed, logits, share, settings.workers),
                evaluate_loader(data.cache, data.evaluate, share=share, workers=settings.workers),
                ckpt_path=checkpoint if checkpoint.exists() else None,
                weights_only=True,
            )
        except SystemExit:
            # Lightning's answer to Ctrl-C; the command line has a better one.
            signal.signal(signal.SIGINT, interrupt)
            output.log(f"interrupted: the same command goes on from {checkpoint}")
            raise KeyboardInterrupt from None
        except TinysceneError:
            # All processes agree on what is wrong (see `parallel.everywhere`), and the first one says it.
            if share.rank:
                raise SystemExit(0) from None
            raise
    if share.rank:
        raise SystemExit(0)
    return evaluate_model(model, frontend, data, device, output)


def _responses(settings: TrainSettings, frontend: FrontendSpec) -> DeviceImpulseResponses | None:
    """The impulse responses to train with, None when `settings` convolve nothing."""
    if settings.dir_folder is None or not settings.dir_probability:
        return None
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
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=settings.strategy,
        precision=settings.precision,  # type: ignore[arg-type]  # checked with the settings
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
        ".*sync_dist=True.*",  # the accuracy is of all processes' snippets already
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*The dirpath has changed from.*",  # a run may be moved before it is gone on with
        ".*number of training batches .* is smaller than the logging interval.*",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message)
