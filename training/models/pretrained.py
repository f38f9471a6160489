"""Published weights of other projects, read by path and renamed to the names of this project's networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...runtime.errors import InputError
from .build import build_model

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Published:
    """Weights that somebody published for an architecture."""

    name: str  # as they call it
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    sizes: Sequence[Mapping[str, Any]]  # arguments of the networks that they belong to


def read_published(arch: str, arguments: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    """Weights in `file` for the network `arch` built with `arguments`, head left out, by this project's names.

    Raises `InputError` when nobody publishes weights for `arch`, or the file is not there, is not what was published,
    or belongs to other `arguments`.
    """
    weights = read_with_head(arch, arguments, file)
    return {name: tensor for name, tensor in weights.items() if not name.startswith("head.")}


def read_with_head(arch: str, arguments: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    """The same with the published head, of as many classes as it has."""
    published = PUBLISHED.get(arch)
    if not file.exists():
        hint = "" if published is None else f", or the file of {published.name}"
        raise InputError(f"init {file} does not exist: expected a trained run{hint}")
    if published is None:
        raise InputError(f"no published weights are known for {arch}: init must be a run folder, not {file}")
    weights = published.rename(_read(file, published))
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    n_classes = found.get("head.bias", (1,))[0]
    candidates = [_shapes(arch, size, n_classes) for size in published.sizes]
    if found not in candidates:
        raise InputError(f"{file} is not {published.name}: {_difference(found, candidates[0])}")
    size = published.sizes[candidates.index(found)]
    if any(arguments.get(name) != value for name, value in size.items()):
        setting = " ".join(f"{name}={value}" for name, value in size.items())
        given = ", ".join(f"{name} {arguments.get(name)}" for name in size)
        raise InputError(f"{file} does not fit {arch} with {given}: set {setting}")
    return weights


def _read(file: Path, published: Published) -> dict[str, Tensor]:
    try:
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds here, from zipfile's to pickle's
        raise InputError(f"{file} is not {published.name}: {error!s:.200}") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InputError(f"{file} is not {published.name}: expected a state_dict of tensors")
    return state


def _shapes(arch: str, arguments: Mapping[str, Any], n_classes: int) -> Shapes:
    with torch.random.fork_rng(devices=[]):
        model = build_model(arch, arguments, n_classes)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _difference(found: Shapes, expected: Shapes) -> str:
    """What is wrong with the first tensor by name that is not as expected."""
    name = min(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if name not in found:
        return f"it has no {name}"
    if name not in expected:
        return f"{name} is unknown"
    return f"{name} has shape {found[name]}, expected {expected[name]}"


_PASST_NAMES = (
    (re.compile(r"patch_embed\.proj\."), "patches.projection."),
    (re.compile(r"blocks\.(\d+)\.attn\.qkv\."), r"transformer.blocks.\1.self_attn.in_proj_"),
    (re.compile(r"blocks\.(\d+)\.attn\.proj\."), r"transformer.blocks.\1.self_attn.out_proj."),
    (re.compile(r"blocks\.(\d+)\.mlp\.fc([12])\."), r"transformer.blocks.\1.linear\2."),
    (re.compile(r"(blocks\.\d+\.norm[12]|norm)\."), r"transformer.\1."),
    (re.compile(r"head\.0\."), "pooled_norm."),
    (re.compile(r"head\.1\."), "head."),
)


def _rename_passt(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names and shapes of `PaSST`; the distillation token's own head, which the published forward leaves out, goes."""
    rest = {name: tensor for name, tensor in state.items() if not name.startswith("head_dist.")}
    renamed: dict[str, Tensor] = {}
    if "cls_token" in rest and "dist_token" in rest:
        renamed["special"] = torch.cat([rest.pop("cls_token"), rest.pop("dist_token")], dim=1)[0]
    for name, table in (
        ("new_pos_embed", "special_position"),
        ("freq_new_pos_embed", "frequency_position"),
        ("time_new_pos_embed", "time_position"),
    ):
        if name in rest:
            tensor = rest.pop(name)
            # (1, 2, dim) as it is; (1, dim, rows, 1) and (1, dim, 1, columns) with dim last.
            renamed[table] = tensor[0] if tensor.dim() == 3 else tensor[0].flatten(1).T
    for name, tensor in rest.items():
        renamed[_substitute(name, _PASST_NAMES)] = tensor
    return renamed


_MN_NAMES = ((re.compile(r"(.*)\.conc_se_layers\.0\."), r"\1."), (re.compile(r"classifier\.5\."), "head."))


def _rename_mn(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_substitute(name, _MN_NAMES): tensor for name, tensor in state.items()}


def _substitute(name: str, names: Sequence[tuple[re.Pattern[str], str]]) -> str:
    for pattern, replacement in names:
        if pattern.match(name):
            return pattern.sub(replacement, name, count=1)
    return name


#: Architecture -> its published weights.
PUBLISHED: Mapping[str, Published] = {
    "passt": Published(
        "PaSST's passt_s_swa_p16_128_ap476",
        _rename_passt,
        [{"dim": 768, "depth": 12, "heads": 12, "patch_stride": 10}],
    ),
    "mn": Published(
        "EfficientAT's mn04_as, or another of its widths",
        _rename_mn,
        [{"width": width} for width in (0.4, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0)],
    ),
}
