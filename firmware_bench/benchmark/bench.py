"""The whole benchmark: every target, then the other tools, on the same inputs in one run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...export.formats.model_file import ModelFile
from ...runtime.atomic import directory
from ...runtime.errors import InputError, UnavailableError
from ...runtime.machine.identity import machine
from ...runtime.output import plain
from ..targets.target import Target
from .baselines import Baseline, in_emulation, on_paper
from .inputs import gather
from .measure import Cost, measure
from .plot import plot

SCHEMA = "tinyscene.firmware-bench/1"

_FILES = ("bench.json", "bench.svg")


@dataclass(frozen=True)
class Result:
    """`missing` has, by target, why it could not be measured."""

    name: str
    origin: str
    costs: tuple[Cost, ...]
    baselines: tuple[Baseline, ...]
    missing: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON takes it, with the machine that emulated."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "machine": machine(),
            "compared": self.origin,
            "targets": [fields(cost) for cost in self.costs],
            "baselines": [vars(other) for other in self.baselines],
            "missing": dict(self.missing),
        }

    def write(self, out: Path) -> None:
        """bench.json and bench.svg in the folder `out`, which is replaced whole.

        Raises `InputError` where `out` holds anything else.
        """
        if out.exists() and (not out.is_dir() or {file.name for file in out.iterdir()} - set(_FILES)):
            raise InputError(f"{out} holds other things than a benchmark's: choose another folder")
        with directory(out) as folder:
            (folder / "bench.json").write_text(json.dumps(plain(self.to_dict()), indent=1, allow_nan=False) + "\n")
            plot(folder / "bench.svg", self.name, self.costs, self.baselines)


def bench(
    model: ModelFile,
    targets: Sequence[Target],
    *,
    data: Path | None = None,
    inputs: int = 4,
    toolchain: str | None = None,
    emulator: str | None = None,
    ram_limit_bytes: int | None = None,
    baselines: bool = True,
    log: Callable[[str], None],
) -> Result:
    """Measure `model` on each of `targets`; one whose tools are missing is named, with the line that installs them.

    Raises what `gather` and `measure` raise for a wrong input or a program that faults.
    """
    compared = gather(model, data, inputs)
    costs: list[Cost] = []
    others: list[Baseline] = []
    missing: dict[str, str] = {}
    for number, target in enumerate(targets, 1):
        log(f"{target.key}: {number} of {len(targets)}")
        own_emulator = emulator if emulator in target.emulators else None
        try:
            costs.append(measure(model, target, compared, toolchain, own_emulator, ram_limit_bytes))
        except UnavailableError as error:
            missing[target.key] = str(error)
            continue
        if baselines and target.is_bare:
            others += in_emulation(model.graph, target, toolchain, own_emulator)
    if baselines:
        log("TFLite-Micro and Vela")
        others += on_paper(model.data, model.path.name)
    return Result(model.path.name, compared.origin, tuple(costs), tuple(others), missing)


def fields(cost: Cost) -> dict[str, Any]:
    """A target's figures under the names of the JSON."""
    heard = cost.listening
    return {
        "target": cost.target.key,
        "title": cost.target.title,
        "family": cost.target.family,
        "toolchain": cost.toolchain,
        "emulator": cost.emulator,
        "instructions": cost.instructions,
        "macs": cost.macs,
        "instructions_per_mac": cost.per_mac,
        "modelled_cycles": cost.cycles,
        "modelled_ms": cost.modelled_ms,
        "modelled_clock_mhz": cost.target.clock_mhz,
        "modelled_for": cost.target.example,
        "compared_inputs": cost.parity.inputs,
        "differing_inputs": cost.parity.differing_inputs,
        "differing_bytes": cost.parity.differing_bytes,
        "frontend_instructions_per_frame": None if heard is None else heard.instructions_per_frame,
        "decisions": None if heard is None else heard.decisions,
        "same_decisions": None if heard is None else heard.same_decisions,
        "ram_bytes": cost.ram_bytes,
        "arena_bytes": cost.arena_bytes,
        "frontend_ram_bytes": None if heard is None else heard.ram_bytes,
        "stack_bytes": cost.stack_bytes,
        "flash_bytes": cost.flash_bytes,
        "weights_bytes": cost.weights_bytes,
        "tables_bytes": cost.tables_bytes,
        "code_bytes": cost.code_bytes,
        "profile": dict(cost.by_function),
    }
