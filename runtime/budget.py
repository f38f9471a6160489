"""Limits that a model has to keep, checked layer by layer on the untrained network and again on the artefact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import GateError, InputError


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs: parameters (all, biases and norms included), multiply-accumulates, bytes of weights."""

    name: str
    parameters: int
    macs: int
    weight_bytes: int


@dataclass(frozen=True)
class Budget:
    """Named upper limits; None leaves a quantity unlimited."""

    name: str
    max_parameters: int | None = None
    max_macs: int | None = None

    def exceeded(self, costs: Sequence[LayerCost]) -> list[str]:
        """One line for each limit that `costs` break, with its three heaviest layers; empty when all are kept."""
        lines = []
        for unit, attribute, limit in (
            ("parameters", "parameters", self.max_parameters),
            ("MACs", "macs", self.max_macs),
        ):
            total = sum(getattr(cost, attribute) for cost in costs)
            if limit is None or total <= limit:
                continue
            worst = sorted(costs, key=lambda cost: -getattr(cost, attribute))[:3]
            layers = ", ".join(f"{cost.name} ({getattr(cost, attribute):,})" for cost in worst)
            lines.append(f"{total:,} {unit} exceed the {self.name} limit of {limit:,}; heaviest layers: {layers}")
        return lines

    def check(self, costs: Sequence[LayerCost], fix: str) -> None:
        """Raise `GateError` when a limit is broken, naming the layers and the cheapest `fix`."""
        lines = self.exceeded(costs)
        if lines:
            raise GateError("; ".join(lines) + f"; cheapest fix: {fix}")


#: The toolkit's own gate.
DEFAULT = Budget("default", max_parameters=128_000, max_macs=32_000_000)

#: DCASE low-complexity rules: 128 kB and 30 MMACs for a 1-s clip. They count an int8 network's parameters, biases too,
#: as a byte each; what the file really holds (int32 biases) is reported beside the gate.
DCASE = Budget("dcase", max_parameters=128_000, max_macs=30_000_000)

PRESETS = {budget.name: budget for budget in (DEFAULT, DCASE)}


def preset(name: str) -> Budget:
    """The budget called `name`; raises `InputError` naming the known ones."""
    try:
        return PRESETS[name]
    except KeyError:
        raise InputError(f"unknown budget {name!r}, expected one of {', '.join(PRESETS)}") from None
