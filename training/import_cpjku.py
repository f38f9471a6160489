"""The published CP-Mobile student as a run: the weights of the DCASE 2023 submission that this project starts from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..runtime.errors import InputError
from .models.build import build_model, frontend_for
from .run import Run, save_run

#: The ten scenes of TAU Urban Acoustic Scenes, in the order of the published network's logits.
TAU_LABELS = (
    "airport", "bus", "metro", "metro_station", "park",
    "public_square", "shopping_mall", "street_pedestrian", "street_traffic", "tram",
)  # fmt: skip

ARCH = "cpm"
ARGUMENTS = {
    "base_channels": 32,
    "channels_multiplier": 2.3,
    "expansion_rate": 3.0,
    "norm": "grn",
    "padding": "symmetric",
}

_LAYERS = {"0": "conv", "1": "bn"}
_PARTS = {"0": "expand", "1": "depthwise", "2": "project"}
_NAMES = (
    (re.compile(r"in_c\.(\d)\.([01])\.(\w+)"), lambda m: f"stem.{m[1]}.{_LAYERS[m[2]]}.{m[3]}"),
    (
        re.compile(r"stages\.s\d\.b(\d)\.block\.([012])\.([01])\.(\w+)"),
        lambda m: f"blocks.{int(m[1]) - 1}.{_PARTS[m[2]]}.{_LAYERS[m[3]]}.{m[4]}",
    ),
    (re.compile(r"stages\.s\d\.b(\d)\.after_block_norm\.(\w+)"), lambda m: f"blocks.{int(m[1]) - 1}.norm.{m[2]}"),
    (re.compile(r"feed_forward\.([01])\.(\w+)"), lambda m: f"head.{_LAYERS[m[1]]}.{m[2]}"),
)


def import_checkpoint(checkpoint: Path, out: Path) -> Run:
    """Turn the published Lightning checkpoint into a run of kind "imported" at `out`.

    Tensors are matched by name and only tensors are read; raises `InputError` when the file is no checkpoint, or not
    one of the published network.
    """
    state = _translate(checkpoint, _read_state(checkpoint))
    model = build_model(ARCH, ARGUMENTS, len(TAU_LABELS))
    _check(checkpoint, state, model)
    model.load_state_dict(state)
    return save_run(
        out,
        kind="imported",
        arch=ARCH,
        arguments=ARGUMENTS,
        labels=TAU_LABELS,
        frontend=frontend_for(ARCH),
        weights=model.state_dict(),
        metrics={},
        provenance={"imported_from": checkpoint.name, "torch": torch.__version__},
    )


def _read_state(checkpoint: Path) -> dict[str, Tensor]:
    if not checkpoint.is_file():
        raise InputError(f"no checkpoint at {checkpoint}: name the .ckpt file of the published student")
    try:
        contents: Any = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds here, from zipfile's to pickle's
        raise InputError(f"{checkpoint} is not a checkpoint that can be read safely: {error!s:.200}") from error
    state = contents.get("state_dict", contents) if isinstance(contents, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InputError(f"{checkpoint} holds no state_dict of tensors: expected a Lightning checkpoint")
    return state


def _translate(checkpoint: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    translated = {}
    for key, tensor in state.items():
        name = key.removeprefix("model.")
        for pattern, rename in _NAMES:
            if match := pattern.fullmatch(name):
                translated[rename(match)] = tensor
                break
        else:
            if key.startswith("model."):
                raise InputError(f"{checkpoint}: {key!r} is no tensor of the published CP-Mobile student")
    return translated


def _check(checkpoint: Path, state: dict[str, Tensor], model: nn.Module) -> None:
    expected = model.state_dict()
    if missing := sorted(set(expected) - set(state)):
        raise InputError(f"{checkpoint} lacks {len(missing)} tensors of the published student, first {missing[0]!r}")
    if odd := sorted(set(state) - set(expected)):
        raise InputError(f"{checkpoint} has {len(odd)} tensors that the published student lacks, first {odd[0]!r}")
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            found, wanted = tuple(state[name].shape), tuple(tensor.shape)
            raise InputError(f"{checkpoint}: {name} is {found}, the published student's is {wanted}")
