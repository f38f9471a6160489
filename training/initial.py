"""Where a training's weights start: drawn by the seed, taken from a trained run, or from published weights.

A run's head is kept when it was trained on the same scenes in the same order, and drawn anew otherwise (warm start);
published weights always get a new head.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..runtime.errors import InputError
from .models.build import frontend_for
from .models.pretrained import read_published
from .run import WEIGHTS, load_run
from .settings import NetworkSettings

#: What a run's provenance says of the recordings that its weights come from.
ORIGIN = ("data", "data_hash", "fold", "split", "holdout", "init")


@dataclass(frozen=True)
class Start:
    """The network to train, and the weights it starts from (none: what the seed draws)."""

    arch: str
    arguments: Mapping[str, Any]
    weights: Mapping[str, Tensor] | None = None
    source: Mapping[str, Any] | None = None  # what `run.json` says of where the weights come from


def read_start(settings: NetworkSettings, labels: Sequence[str]) -> Start:
    """The start that `settings` ask for; a run given as `init` brings its architecture's arguments.

    Raises `InputError` when `init` is neither a run nor published weights, of another architecture, or when settings
    contradict its arguments.
    """
    if settings.init is None:
        return Start(settings.arch, settings.network_arguments())
    path = Path(settings.init)
    if not path.is_dir():
        arguments = settings.network_arguments()
        weights = read_published(settings.arch, arguments, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Start(settings.arch, arguments, weights, {"file": path.name, "weights_sha256": digest})
    run = load_run(path)
    if run.arch != settings.arch:
        raise InputError(f"init {path} is a {run.arch} network, arch is {settings.arch!r}: set arch={run.arch}")
    if differences := run.frontend.differences(frontend_for(run.arch)):
        raise InputError(f"init {path} was trained with another front end ({'; '.join(differences)})")
    given = settings.given_arguments()
    if settings.size is not None:
        given = {**settings.network_arguments(), **given}
    for name, value in given.items():
        if run.arguments.get(name) != value:
            raise InputError(
                f"{name} is {value!r}, but init {path} has {run.arguments.get(name)!r}: leave {name} out, "
                "or train without init"
            )
    weights = run.weights()
    kept = run.labels == tuple(labels)
    if not kept:
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("head")}
    # What the weights were trained on goes with them: an ensemble's weights need recordings that none of them knows.
    origin = {key: run.provenance[key] for key in ORIGIN if key in run.provenance}
    source = {
        "run": path.name,
        "weights_sha256": run.files[WEIGHTS],
        "labels": list(run.labels),
        "head": kept,
        **origin,
    }
    return Start(run.arch, run.arguments, weights, source)


def start_from(model: nn.Module, start: Start) -> None:
    """Load the weights of `start` into `model`; raises `InputError` when they do not fit.

    What they lack must be the head alone.
    """
    if start.weights is None:
        return
    try:
        missing, unexpected = model.load_state_dict(dict(start.weights), strict=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"the initial weights do not fit {start.arch} {dict(start.arguments)}: {reason}") from error
    lost = [*unexpected, *(name for name in missing if not name.startswith("head"))]
    if lost:
        raise InputError(f"the initial weights do not fit {start.arch} {dict(start.arguments)}: {', '.join(lost[:5])}")
