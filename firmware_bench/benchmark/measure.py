"""One network on one target: built, run in an emulator, compared byte for byte, and counted."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...export.formats.model_file import ModelFile
from ..firmware import assemble
from ..targets.build import Firmware, build
from ..targets.machine import CallResult, Machine, open_machine
from ..targets.target import Target
from ..targets.toolchains import choose_toolchain
from .harness import MODEL, PREFIX, SCENE, Harness
from .inputs import Inputs


@dataclass(frozen=True)
class Parity:
    """How many outputs were compared with LiteRT's reference kernels, and how many bytes of them differ."""

    inputs: int
    differing_inputs: int
    differing_bytes: int


@dataclass(frozen=True)
class Listening:
    """The front end and the whole line: PCM in, decision out, beside numpy's front end and LiteRT's reference."""

    instructions_per_frame: int | None
    frames: int
    decisions: int
    same_decisions: int
    ram_bytes: int  # of the scene without the arena: frames, samples


@dataclass(frozen=True)
class Cost:
    """What the network costs on a target. Instructions are exact and those of the first input; `cycles` are modelled
    from the instruction set's published timings, and `modelled_ms` at the clock of the target's example part.

    `flash_bytes` is weights and other constants of the network, `tables_bytes` the front end's, `code_bytes` all code
    with the startup's. The RAM is what a program that listens needs: `arena_bytes`, the front end's and the stack.
    """

    target: Target
    toolchain: str
    emulator: str
    macs: int
    arena_bytes: int
    weights_bytes: int
    tables_bytes: int
    code_bytes: int
    parity: Parity
    instructions: int | None = None
    cycles: int | None = None
    modelled_ms: float | None = None
    stack_bytes: int | None = None
    by_function: Mapping[str, int] = field(default_factory=dict)
    listening: Listening | None = None

    @property
    def per_mac(self) -> float | None:
        """Instructions of each multiply-accumulate, everything else included."""
        return None if self.instructions is None else self.instructions / self.macs

    @property
    def ram_bytes(self) -> int:
        """RAM of a program that listens, or of the network alone where there is no front end."""
        front_end = 0 if self.listening is None else self.listening.ram_bytes
        return self.arena_bytes + front_end + (self.stack_bytes or 0)

    @property
    def flash_bytes(self) -> int:
        """Flash of the same program."""
        return self.weights_bytes + self.tables_bytes + self.code_bytes


def measure(
    model: ModelFile,
    target: Target,
    inputs: Inputs,
    toolchain: str | None = None,
    emulator: str | None = None,
    ram_limit_bytes: int | None = None,
) -> Cost:
    """Build `model` for `target`, run `inputs` through it in an emulator, and count.

    Raises `UnavailableError` where no compiler or emulator is installed, `InputError` for a network that the generator
    does not take, `MachineError` for a program that faults.
    """
    program = assemble(model, target, ram_limit_bytes)
    harnesses = (MODEL, SCENE) if program.listens else (MODEL,)
    with tempfile.TemporaryDirectory(prefix="tinyscene-firmware-") as name:
        firmware = _build(program.files, target, harnesses, toolchain, Path(name))
        with open_machine(firmware, emulator) as machine:
            first, parity = _network(machine, inputs)
            heard, stack = _listen(machine, inputs) if program.listens else (None, 0)
    sizes = firmware.sizes
    tables = firmware.bytes_of("ts_frontend_", "ts_fft_", kind="constants")
    return Cost(
        target=target,
        toolchain=firmware.toolchain,
        emulator=emulator or target.emulators[0],
        macs=sum(cost.macs for cost in model.graph.costs()),
        arena_bytes=program.model.plan.arena_bytes,
        weights_bytes=sizes.constants - tables,
        tables_bytes=tables,
        code_bytes=sizes.code,
        parity=parity,
        instructions=first.instructions,
        cycles=first.cycles,
        modelled_ms=None if first.cycles is None else target.milliseconds(first.cycles),
        stack_bytes=None if first.stack_bytes is None else max(first.stack_bytes, stack),
        by_function=first.by_function,
        listening=heard,
    )


def _build(
    files: Mapping[str, str | bytes],
    target: Target,
    harnesses: tuple[Harness, ...],
    toolchain: str | None,
    folder: Path,
) -> Firmware:
    sources = {**files, **{harness.name: harness.text for harness in harnesses}}
    keep = [name for harness in harnesses for name in (*harness.functions, *harness.buffers)]
    chosen = choose_toolchain(target, toolchain)
    return build(target, sources, folder / "bench.elf", toolchain=chosen, keep=keep)


def _network(machine: Machine, inputs: Inputs) -> tuple[CallResult, Parity]:
    """The first input's cost, and all of them compared."""
    place, logits = machine.symbol(f"{PREFIX}input"), machine.symbol(f"{PREFIX}logits")
    first, differing = None, []
    for plane, expected in zip(inputs.planes, inputs.logits, strict=True):
        machine.write(place, plane.tobytes())
        result = machine.call(f"{PREFIX}run")
        first = first or result
        found = np.frombuffer(machine.read(logits, expected.size), np.int8)
        differing.append(int((found != expected.reshape(-1)).sum()))
    assert first is not None
    return first, Parity(len(differing), sum(count > 0 for count in differing), sum(differing))


def _listen(machine: Machine, inputs: Inputs) -> tuple[Listening, int]:
    """Each wave as a stream of its own until a decision is due; the largest stack on the way."""
    pcm, found = machine.symbol(f"{PREFIX}pcm"), machine.symbol(f"{PREFIX}decision")
    hop = machine.firmware.symbol(f"{PREFIX}pcm").size // 2
    scene = machine.firmware.symbol(f"{PREFIX}scene").size
    arena = machine.firmware.symbol(f"{PREFIX}arena").size
    frames = spent = same = stack = 0
    counted = True
    for wave, decision in zip(inputs.waves, inputs.decisions, strict=True):
        machine.call(f"{PREFIX}start")
        ready, start = 0, 0
        while not ready and start + hop <= len(wave):
            machine.write(pcm, wave[start : start + hop].astype("<i2").tobytes())
            result = machine.call(f"{PREFIX}feed")
            start += hop
            frames += result.value
            counted = counted and result.instructions is not None
            spent += result.instructions or 0
            stack = max(stack, result.stack_bytes or 0)
            if result.value and start >= inputs.needed_samples:
                answer = machine.call(f"{PREFIX}infer")
                ready, stack = answer.value, max(stack, answer.stack_bytes or 0)
        logits: NDArray[np.int8] = np.frombuffer(machine.read(found, inputs.classes), np.int8)
        same += bool(ready) and int(logits.argmax()) == decision
    per_frame = round(spent / frames) if frames and counted else None
    return Listening(per_frame, frames, len(inputs.waves), same, scene - arena), stack
