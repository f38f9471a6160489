"""Networks by name: what the command line, the configuration and `run.json` call an architecture."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from ...runtime.budget import Budget, LayerCost
from ...runtime.errors import InputError
from ...runtime.frontend_spec import CP_RESNET, EFFICIENTAT, PASST, STUDENT, FrontendSpec
from .counts import layer_costs, totals
from .cp_mobile import CPMobile
from .cp_resnet import CPResNet
from .crnn import CRNN
from .mobilenet import MobileNetV3
from .passt import PaSST
from .sizes import SIZES
from .vit import ViT

ARCHITECTURES: Mapping[str, tuple[type[nn.Module], FrontendSpec]] = {
    "cpm": (CPMobile, STUDENT),
    "cpr": (CPResNet, CP_RESNET),
    "passt": (PaSST, PASST),
    "vit": (ViT, PASST),
    "crnn": (CRNN, PASST),
    "mn": (MobileNetV3, EFFICIENTAT),
}


def build_model(arch: str, arguments: Mapping[str, Any], n_classes: int) -> nn.Module:
    """The network called `arch` with fresh weights from torch's random generator, in training mode.

    `arguments` are the constructor's; raises `InputError` on an unknown architecture or argument, or a bad value.
    """
    network, _ = _architecture(arch)
    known = [name for name in inspect.signature(network).parameters if name != "n_classes"]
    for name in arguments:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
            raise InputError(f"{arch} has no argument {name!r}: {hint}")
    try:
        return network(n_classes=n_classes, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"cannot build {arch} with {dict(arguments)}: {error}") from error


def frontend_for(arch: str) -> FrontendSpec:
    """The front end that `arch` was designed for; raises `InputError` on an unknown architecture."""
    return _architecture(arch)[1]


def check_budget(arch: str, arguments: Mapping[str, Any], n_classes: int, budget: Budget) -> None:
    """Raise `GateError` when the untrained network breaks `budget`, naming the largest one that keeps it.

    That is the widest by `base_channels` where there is such an argument, else the largest of the named sizes.
    """

    def costs(changes: Mapping[str, Any]) -> list[LayerCost]:
        model = build_model(arch, {**arguments, **changes}, n_classes)
        spec = frontend_for(arch)
        return layer_costs(model, spec.n_mels, spec.n_frames())

    asked = costs({})
    if not budget.exceeded(asked):
        return
    unit, smaller = _smaller(arch, arguments)
    fix = f"another architecture: no {unit} of {arch} keeps this limit"
    for name, changes in smaller:
        candidate = costs(changes)
        if budget.exceeded(candidate):
            break
        parameters, macs = totals(candidate)
        fix = f"{name} ({parameters:,} parameters, {macs / 1e6:.1f} M MACs)"
    budget.check(asked, fix)


def _smaller(arch: str, arguments: Mapping[str, Any]) -> tuple[str, list[tuple[str, Mapping[str, Any]]]]:
    """What makes `arch` smaller, and (setting, arguments) of its other sizes, the smallest first."""
    network, _ = _architecture(arch)
    width = inspect.signature(network).parameters.get("base_channels")
    if width is None:
        return "size", [(f"size={size}", changes) for size, changes in SIZES[arch].items()]
    asked = int(arguments.get("base_channels", width.default))
    return "base_channels", [(f"base_channels={width}", {"base_channels": width}) for width in range(8, asked, 8)]


def _architecture(arch: str) -> tuple[type[nn.Module], FrontendSpec]:
    try:
        return ARCHITECTURES[arch]
    except KeyError:
        raise InputError(f"unknown architecture {arch!r}, expected one of {', '.join(ARCHITECTURES)}") from None
