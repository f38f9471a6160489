"""A training as the command line asks for it: data, settings, teachers, budget, network, and the run at the end."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from ..runtime.budget import preset
from ..runtime.output import Output
from .augment import check_devices, read_responses, responses_digest
from .batches import TrainingData
from .distill import check_distillation, ensemble_report
from .gates import check_target
from .initial import Start, read_start, start_from
from .models.build import build_model, check_budget, frontend_for
from .models.counts import layer_costs, totals
from .parallel import check_processes, voice
from .predict import choose_device
from .run import WEIGHTS, Run, load_run, save_run
from .settings import NetworkSettings, TrainSettings
from .trainer import begin_run, fit


def train_network(
    kind: str,
    settings: NetworkSettings,
    data: TrainingData,
    out: Path,
    output: Output,
    teachers: Sequence[Run] = (),
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train a new network as a run of `kind` ("student", "teacher") at `out`, or go on where it stopped.

    A finished run is returned as it is. The budget is checked on the untrained network before anything is written.
    Raises `GateError` when it is broken, `InputError` when `out` was started with other settings.
    """
    output = voice(settings, output)
    start = check_request(settings, data.labels, teachers)
    data = data.with_holdout(settings.holdout)
    check_data(settings, data)
    config = {**run_config(kind, settings, data, teachers), **start.arguments, "init": start.source}
    if begin_run(out, config):
        output.log(f"{out} is finished already: nothing to train")
        return load_run(out)
    # The start is the seed's alone: resuming builds the same network, then loads the checkpoint over it.
    torch.manual_seed(settings.seed)
    model = build_model(start.arch, start.arguments, len(data.labels))
    start_from(model, start)
    frontend = frontend_for(start.arch)
    parameters, macs = network_size(model, settings.arch)
    sides = f"{len(data.train):,} snippets to train on, {len(data.evaluate):,} to evaluate on"
    output.log(f"{kind} {settings.arch}: {parameters:,} parameters, {macs / 1e6:.2f} M MACs; {sides}")
    metrics = fit(model, frontend, settings, data, out, output, teachers=teachers, callbacks=callbacks)
    return save_run(
        out,
        kind=kind,
        arch=settings.arch,
        arguments=start.arguments,
        labels=data.labels,
        frontend=frontend,
        weights=model.state_dict(),
        metrics={**metrics, "parameters": parameters, "macs": macs},
        provenance={**provenance(settings, data, teachers), "init": start.source, "ensemble": ensemble_report(out)},
    )


def check_request(settings: NetworkSettings, labels: Sequence[str], teachers: Sequence[Run] = ()) -> Start:
    """The network that `settings` ask for, and its initial weights.

    Raises `GateError` when it would break its budget or its target does not run it, `InputError` when this machine
    cannot train so, a teacher knows other scenes, `init` does not fit or the impulse responses cannot be read. It needs
    no audio, so it comes before the cache is built.
    """
    check_processes(settings, choose_device(settings.device))
    start = read_start(settings, labels)
    if settings.budget != "none":
        check_budget(start.arch, start.arguments, len(labels), preset(settings.budget))
    if settings.target is not None:
        check_target(start.arch, start.arguments, len(labels), settings.target)
    check_distillation(settings, teachers, labels)
    if settings.dir_folder is not None:
        read_responses(Path(settings.dir_folder), frontend_for(start.arch).sample_rate_hz)
    return start


def check_data(settings: TrainSettings, data: TrainingData) -> None:
    """Raise `InputError` when `settings` convolve clips of certain devices, and there are none to train on."""
    if settings.dir_folder is not None:
        check_devices(settings.dir_devices, data.seen_devices)


def network_size(model: nn.Module, arch: str) -> tuple[int, int]:
    """(parameters, multiply-accumulates) of a network for one clip of its front end."""
    frontend = frontend_for(arch)
    return totals(layer_costs(model, frontend.n_mels, frontend.n_frames()))


def run_config(kind: str, settings: TrainSettings, data: TrainingData, teachers: Sequence[Run] = ()) -> dict[str, Any]:
    """All that decides a training's result, for `config.yaml`.

    Where data and impulse responses lie is not part of it, their hashes are.
    """
    return {
        "kind": kind,
        **{key: value for key, value in settings.to_dict().items() if key != "workers"},  # they only fetch batches
        "dir_folder": None if settings.dir_folder is None else responses_digest(Path(settings.dir_folder)),
        "teachers": [run.files[WEIGHTS] for run in teachers],
        "labels": list(data.labels),
        "fold": data.fold_number,
        "split": data.split,
        "data_hash": data.cache.data_hash,
    }


def provenance(settings: TrainSettings, data: TrainingData, teachers: Sequence[Run] = ()) -> dict[str, Any]:
    """Where a run comes from: data, seeds, teachers, versions, machine, date."""
    return {
        "data": data.corpus.root.resolve().name,
        "data_hash": data.cache.data_hash,
        "fold": data.fold_number,
        "split": data.split,
        "holdout": data.holdout,
        "snippets": {"train": len(data.train), "held_out": len(data.held_out), "evaluate": len(data.evaluate)},
        "seed": settings.seed,
        "settings": settings.to_dict(),
        "teachers": [_teacher(run) for run in teachers],
        "versions": {name: version(name) for name in ("tinyscene", "torch", "lightning", "numpy")},
        "machine": {"system": platform.platform(), "python": platform.python_version()},
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _teacher(run: Run) -> Mapping[str, Any]:
    return {
        "run": run.path.name,
        "arch": run.arch,
        "arguments": dict(run.arguments),
        "weights_sha256": run.files[WEIGHTS],
        "accuracy": run.metrics.get("accuracy"),
    }
