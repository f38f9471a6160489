"""The target that a network is for: asked before the first epoch whether it runs the network whole.

What targets run is known in the folders above this one; they register functions in the group `tinyscene.gates`, each
`gate(model, frontend, target)`, which raise `GateError` naming the modules that the target does not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from ..runtime.errors import UnavailableError
from .models.build import build_model, frontend_for

GROUP = "tinyscene.gates"


def check_target(arch: str, arguments: Mapping[str, Any], n_classes: int, target: str) -> None:
    """Put the untrained network before every gate; raises `GateError` when `target` does not run it whole.

    Raises `UnavailableError` when no gate is installed: a target nobody checks would be a promise that nobody keeps.
    """
    gates = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    if not gates:
        raise UnavailableError(
            f"target is {target!r}, but nothing that checks targets is installed: run `pip install 'tinyscene[export]'`"
        )
    model = build_model(arch, arguments, n_classes)
    for entry in gates:
        entry.load()(model, frontend_for(arch), target)
