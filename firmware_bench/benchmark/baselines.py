"""What other tools make of the same network: bakenn's C in the same emulator, TFLite-Micro's arena, Vela's estimate."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...export.graph import Graph
from ...export.lint.operators import read_operators
from ...export.lint.targets import lint_view
from ...runtime.errors import TinysceneError
from ..targets.build import build
from ..targets.machine import open_machine
from ..targets.target import Target
from ..targets.toolchains import choose_toolchain
from .bakenn import bakenn


@dataclass(frozen=True)
class Baseline:
    """One other tool's figures; None where it has none, and `note` says why."""

    name: str
    target: str = ""
    instructions: int | None = None
    arena_bytes: int | None = None
    estimate_ms: float | None = None
    note: str = ""


def in_emulation(graph: Graph, target: Target, toolchain: str | None, emulator: str | None) -> Iterator[Baseline]:
    """bakenn's C for a microcontroller: portable, and on Arm's larger cores with the CMSIS-NN that it brings."""
    kinds = [False] + [True] * (target.family in ("dsp", "mve"))
    for cmsis_nn in kinds:
        name = f"bakenn{' + CMSIS-NN' if cmsis_nn else ', portable C'}"
        try:
            yield _bakenn(graph, target, cmsis_nn, name, toolchain, emulator)
        except TinysceneError as error:
            yield Baseline(name, target.key, note=str(error))


def on_paper(model: bytes, name: str) -> Iterator[Baseline]:
    """TFLite-Micro's own report of its arena, and Vela's estimate for an Ethos-U55 of 128 MACs."""
    for lint in lint_view(read_operators(model, name), ("tflite-micro", "ethos-u")):
        tool = lint.tool
        if tool is None:
            continue
        if tool.state != "run":
            yield Baseline(tool.name, note=f"{tool.state}: {tool.install or tool.detail}")
        elif lint.target == "tflite-micro":
            yield Baseline(
                tool.name, arena_bytes=tool.figures.get("arena_bytes"), note="its interpreter, on this machine"
            )
        else:
            figures = tool.figures
            note = f"{figures['accelerator']} at {figures['clock_mhz']:.0f} MHz, estimated by Vela"
            yield Baseline("Ethos-U", arena_bytes=figures["sram_bytes"], estimate_ms=figures["inference_ms"], note=note)


def _bakenn(
    graph: Graph, target: Target, cmsis_nn: bool, name: str, toolchain: str | None, emulator: str | None
) -> Baseline:
    made = bakenn(graph, cmsis_nn)
    with tempfile.TemporaryDirectory(prefix="tinyscene-firmware-") as folder:
        firmware = build(
            target,
            made.files,
            Path(folder) / "bakenn.elf",
            toolchain=choose_toolchain(target, toolchain),
            keep=(made.run,),
            strict=False,
        )
        with open_machine(firmware, emulator) as machine:
            result = machine.call(made.run)
    return Baseline(name, target.key, result.instructions, made.arena_bytes)
