"""Networks by name: what the command line, the configuration and `run.json` call an architecture."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from ...runtime.budget import Budget
from ...runtime.errors import InputError
from ...runtime.frontend_spec import CP_RESNET, STUDENT, FrontendSpec
from .counts import layer_costs, totals
from .cp_mobile import CPMobile
from .cp_resnet import CPResNet

ARCHITECTURES: Mapping[str, tuple[type[nn.Module], FrontendSpec]] = {
    "cpm": (CPMobile, STUDENT),
    "cpr": (CPResNet, CP_RESNET),
}


def build_model(arch: str, arguments: Mapping[str, Any], n_classes: int) -> nn.Module:
    """The network `arch` ("cpm", "cpr") with fresh weights from torch's random generator, in training mode.

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
    """Raise `GateError` when the untrained network breaks `budget`, naming the widest one that keeps it."""

    def costs(base_channels: int) -> list[Any]:
        model = build_model(arch, {**arguments, "base_channels": base_channels}, n_classes)
        spec = frontend_for(arch)
        return layer_costs(model, spec.n_mels, spec.n_frames())

    network, _ = _architecture(arch)
    base = int(arguments.get("base_channels", inspect.signature(network).parameters["base_channels"].default))
    asked = costs(base)
    if not budget.exceeded(asked):
        return
    for narrower in range((base - 1) // 8 * 8, 0, -8):
        candidate = costs(narrower)
        if not budget.exceeded(candidate):
            parameters, macs = totals(candidate)
            budget.check(asked, f"base_channels={narrower} ({parameters:,} parameters, {macs / 1e6:.1f} M MACs)")
    budget.check(asked, "fewer blocks: no width keeps this limit")


def _architecture(arch: str) -> tuple[type[nn.Module], FrontendSpec]:
    try:
        return ARCHITECTURES[arch]
    except KeyError:
        raise InputError(f"unknown architecture {arch!r}, expected one of {', '.join(ARCHITECTURES)}") from None
