"""The verbs `firmware build`, `firmware run` and `firmware bench`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.cli import Verb
from ..runtime.errors import UnavailableError, require
from ..runtime.output import Output, format_table

if TYPE_CHECKING:
    from .benchmark.measure import Cost
    from .plan.planner import Plan

FORMS = ("plain", "cmake", "arduino", "zephyr")


def _model_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="BUNDLE", help="bundle, qat run, or any fully-int8 .tflite file")


def _target_arguments(parser: argparse.ArgumentParser, repeated: bool) -> None:
    targets = "host, aarch64, cortex-m0plus, cortex-m4, cortex-m7, cortex-m33, cortex-m55 or rv32"
    if repeated:
        parser.add_argument(
            "--target", action="append", default=[], metavar="NAME", help=f"{targets}; repeated (default: all)"
        )
    else:
        parser.add_argument("--target", default="cortex-m4", metavar="NAME", help=f"{targets} (default: %(default)s)")
    parser.add_argument(
        "--ram-limit", type=int, metavar="BYTES", help="the fastest plan whose arena fits (default: the smallest arena)"
    )
    parser.add_argument("--toolchain", metavar="NAME", help="zig, gcc or clang (default: the first that is installed)")


def _compared_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--inputs", type=int, default=4, metavar="N", help="real inputs to compare, and as many odd ones (%(default)s)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="recordings for them (default: the bundle's golden vectors)"
    )
    parser.add_argument("--emulator", metavar="NAME", help="unicorn or qemu (default: the target's own)")


def _build_arguments(parser: argparse.ArgumentParser) -> None:
    _model_argument(parser)
    _target_arguments(parser, repeated=False)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write, replaced whole")
    parser.add_argument("--form", choices=FORMS, default="plain", help="how the sources are laid out (default: plain)")
    parser.add_argument(
        "--board",
        metavar="NAME",
        help="for this board, in place of --target: firmware.elf with the serial protocol too",
    )
    parser.add_argument("--plans", action="store_true", help="show every plan that was weighed")


def _build(arguments: argparse.Namespace, output: Output) -> None:
    require("flatbuffers", "firmware")
    from ..export.formats.model_file import open_model
    from .boards.catalogue import board_port
    from .boards.image import build_image
    from .firmware import assemble
    from .generator.project import export_project
    from .generator.vectors import record
    from .targets.target import target
    from .targets.toolchains import choose_toolchain

    board = None if arguments.board is None else board_port(arguments.board)
    chosen = target(arguments.target if board is None else board.target)
    toolchain = None if board is None else choose_toolchain(chosen, arguments.toolchain)
    model = open_model(arguments.model)
    program = assemble(model, chosen, arguments.ram_limit)
    vectors = record(model, program.model.tensors)
    written = [*export_project(program.files, arguments.out, arguments.form, vectors=vectors)]
    text = f"{arguments.out}: {arguments.form} sources for {chosen.title}"
    if board is not None:
        build_image(board, program.model.files, arguments.out / "firmware.elf", toolchain=toolchain)
        written.append("firmware.elf")
        text += f"\n{arguments.out / 'firmware.elf'}: for {board.title}, serial port: {board.serial}"
        text += f"\nthis board's port was run on: {board.run_on}"
    plan = program.model.plan
    output.record(
        "tinyscene.firmware-build/1",
        f"{_plan_text(plan, arguments.plans)}\n{text}",
        out=str(arguments.out),
        form=arguments.form,
        target=chosen.key,
        board=arguments.board,
        family=chosen.family,
        listens=program.listens,
        arena_bytes=plan.arena_bytes,
        predicted_instructions=plan.instructions,
        plans=[vars(alternative) for alternative in plan.alternatives],
        files=sorted(written),
    )


def _plan_text(plan: Plan, every: bool) -> str:
    peak = plan.peak
    lines = [
        f"{plan.name}: arena of {plan.arena_bytes:,} bytes ({peak.rings:,} rows in rings, "
        f"{peak.planes:,} whole tensors, {peak.scratch:,} scratch, {peak.gaps:,} unused)",
        f"about {plan.instructions / 1e6:.1f} M instructions an inference (predicted)",
    ]
    if every:
        rows = [[a.arena_bytes, a.instructions / 1e6, ", ".join(a.whole) or "none"] for a in plan.alternatives]
        lines += ["", format_table(["arena bytes", "M instructions (predicted)", "whole tensors"], rows)]
    return "\n".join(lines)


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _model_argument(parser)
    _target_arguments(parser, repeated=False)
    _compared_arguments(parser)
    parser.add_argument(
        "--port", metavar="PORT", help="serial port of a board that runs the firmware, in place of an emulator"
    )
    parser.add_argument("--baud", type=int, default=115200, metavar="N", help="of --port (default: %(default)s)")
    parser.add_argument(
        "--inferences", type=int, default=20, metavar="N", help="timed on the board (default: %(default)s)"
    )


def _run(arguments: argparse.Namespace, output: Output) -> int:
    require("flatbuffers", "firmware")
    if arguments.port:
        return _run_on_board(arguments, output)
    from ..export.formats.model_file import open_model
    from .benchmark.inputs import gather
    from .benchmark.measure import measure
    from .benchmark.table import costs_table, notes, profile_table
    from .targets.target import target

    chosen = target(arguments.target)
    model = open_model(arguments.model)
    inputs = gather(model, arguments.data, arguments.inputs)
    cost = measure(model, chosen, inputs, arguments.toolchain, arguments.emulator, arguments.ram_limit)
    text = [costs_table([cost]), ""]
    if cost.by_function:
        text += [profile_table(cost), ""]
    output.record("tinyscene.firmware-cost/1", "\n".join([*text, *notes([cost], inputs.origin)]), **_fields(cost))
    return 0 if _holds(cost) else 1


def _run_on_board(arguments: argparse.Namespace, output: Output) -> int:
    require("serial", "firmware")
    from ..runtime.bundle import load_bundle
    from .boards.run import run_on_board

    session = run_on_board(
        load_bundle(arguments.model),
        arguments.port,
        baud=arguments.baud,
        inputs=arguments.inputs,
        inferences=arguments.inferences,
    )
    fields = session.to_dict()
    fields.pop("schema", None)
    output.record("tinyscene.firmware-board/1", session.text(), **fields)
    return 0 if session.passed else 1


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    _model_argument(parser)
    _target_arguments(parser, repeated=True)
    _compared_arguments(parser)
    parser.add_argument("--no-baselines", action="store_true", help="leave bakenn, TFLite-Micro and Vela out")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write bench.json and bench.svg there")
    parser.add_argument("--profile", action="store_true", help="show where the instructions are spent")


def _bench(arguments: argparse.Namespace, output: Output) -> int:
    require("flatbuffers", "firmware")
    from ..export.formats.model_file import open_model
    from .benchmark.bench import bench
    from .benchmark.table import baselines_table, costs_table, notes, profile_table
    from .targets.target import TARGETS, target

    targets = [target(key) for key in dict.fromkeys(arguments.target or TARGETS)]
    model = open_model(arguments.model)
    result = bench(
        model,
        targets,
        data=arguments.data,
        inputs=arguments.inputs,
        toolchain=arguments.toolchain,
        emulator=arguments.emulator,
        ram_limit_bytes=arguments.ram_limit,
        baselines=not arguments.no_baselines,
        log=output.log,
    )
    for cost in result.costs:
        output.record("tinyscene.firmware-cost/1", **_fields(cost))
    for other in result.baselines:
        output.record("tinyscene.firmware-baseline/1", **vars(other))
    if arguments.out is not None:
        result.write(arguments.out)
    if not output.as_json:
        text = [costs_table(result.costs), ""]
        if result.baselines:
            text += [baselines_table(result.costs, result.baselines), ""]
        if arguments.profile:
            text += [line for cost in result.costs if cost.by_function for line in (profile_table(cost), "")]
        text += [f"- {line}" for line in notes(result.costs, result.origin)]
        text += [f"- not measured: {key}: {reason}" for key, reason in result.missing.items()]
        print("\n".join(text), flush=True)
    if not result.costs:
        raise UnavailableError(f"no target could be measured: {'; '.join(result.missing.values())}")
    if arguments.target and result.missing:
        raise UnavailableError("; ".join(f"{key}: {reason}" for key, reason in result.missing.items()))
    return 0 if all(_holds(cost) for cost in result.costs) else 1


def _holds(cost: Cost) -> bool:
    """Whether every byte and every decision was the reference's."""
    heard = cost.listening
    return cost.parity.differing_bytes == 0 and (heard is None or heard.same_decisions == heard.decisions)


def _fields(cost: Cost) -> dict[str, Any]:
    from .benchmark.bench import fields

    return fields(cost)


BUILD = Verb(
    "the network as C sources for a microcontroller",
    "tinyscene firmware build build/bundle --target cortex-m4 --form cmake --out build/firmware",
    _build_arguments,
    _build,
)
RUN = Verb(
    "run the firmware in an emulator or on a board, and compare every byte",
    "tinyscene firmware run build/bundle --target cortex-m55",
    _run_arguments,
    _run,
)
BENCH = Verb(
    "instructions, RAM, flash and parity on every target, beside other tools",
    "tinyscene firmware bench build/bundle --target cortex-m4 --target rv32 --out build/firmware-bench",
    _bench_arguments,
    _bench,
)
