"""The verb `bench`. Nothing heavy is imported before it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli import Verb
from .default_bundle import DEFAULT_BUNDLE, bundle_path
from .energy.options import add_arguments as add_energy_arguments
from .output import Output, format_table

if TYPE_CHECKING:
    from .bundle import Bundle

DEFAULT_RESULTS = Path("build/results/bench.jsonl")


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", nargs="?", type=Path, help=f"bundle to time (default: {DEFAULT_BUNDLE} when it exists)"
    )
    parser.add_argument(
        "--clip",
        type=Path,
        help="audio file: rows use its first second, live runs its first minute (default: generated)",
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of each engine")
    live = parser.add_argument_group("live runs")
    live.add_argument("--engine", default="all", help="engine to listen with, or all that run here")
    live.add_argument(
        "--coral-model",
        type=Path,
        metavar="FILE",
        help="compiled model for --engine coral (default: the bundle's model_edgetpu.tflite)",
    )
    live.add_argument("--hop-ms", type=float, default=250.0, help="time from one decision to the next")
    live.add_argument("--listen-s", type=float, help="length of a live run, 0 for none (default: ten times --seconds)")
    live.add_argument("--fast", action="store_true", help="as fast as possible, not at a microphone's pace")
    live.add_argument("--starts", type=int, default=3, help="fresh processes whose start is timed")
    live.add_argument("--out", default=str(DEFAULT_RESULTS), help="results file to append to, - for none")
    rows = parser.add_argument_group("rows")
    rows.add_argument(
        "--rows", action=argparse.BooleanOptionalAction, default=True, help="also time each part by itself"
    )
    rows.add_argument("--seconds", type=float, default=2.0, help="time spent on each row")
    rows.add_argument("--advise", action="store_true", help="try engines, threads and hops, and recommend one")
    add_energy_arguments(parser)


def _bench(arguments: argparse.Namespace, output: Output) -> int:
    import math

    from .bench.rows import context
    from .bundle import load_bundle
    from .energy.options import open_battery
    from .errors import InputError

    bundle = load_bundle(bundle_path(arguments.bundle))
    on = context(bundle, arguments.clip, arguments.seconds, arguments.threads)
    listen_s = 10 * arguments.seconds if arguments.listen_s is None else arguments.listen_s
    if not (math.isfinite(listen_s) and listen_s >= 0):
        raise InputError(f"a live run of {listen_s} s, expected 0 or more: set --listen-s")
    open_battery(arguments)  # a mistake in it is told before minutes of measuring
    if arguments.energy_marks is not None and arguments.engine == "all":
        raise InputError("--energy-marks holds the blocks of one engine: name it with --engine")
    if arguments.coral_model is not None:
        _choose_coral_model(arguments.coral_model, arguments.engine)
    failed = False
    if arguments.rows:
        _rows(on, arguments, output)
    if listen_s > 0:
        failed = _live_runs(bundle, arguments, listen_s, output)
    if arguments.advise:
        from .bench.advise import advise

        advice = advise(bundle, on.log_mel, arguments.seconds, log=output.log)
        output.record("tinyscene.bench_advice/1", f"\n{advice.table()}\n\n{advice.text}", **advice.to_dict())
    return 3 if failed else 0


def _choose_coral_model(model: Path, engine: str) -> None:
    """Let every process that is started here open that model."""
    import os

    from .engines.catalogue import check_coral_model
    from .engines.coral import MODEL_VARIABLE

    check_coral_model(model, "coral" if engine == "all" else engine)
    os.environ[MODEL_VARIABLE] = str(model.absolute())


def _rows(on: Any, arguments: argparse.Namespace, output: Output) -> None:
    """Time each part by itself and print them as one table."""
    from .bench.rows import BASELINE, BenchRow, all_rows
    from .machine.identity import machine

    measured: list[BenchRow] = []
    baseline: float | None = None
    for row in all_rows(on):
        output.log(f"{row.name}: {row.note}" if row.p50_ms is None and row.value is None else f"measured {row.name}")
        measured.append(row)
        baseline = row.p50_ms if row.name == BASELINE else baseline
    table = []
    for row in measured:
        ratio = None if row.p50_ms is None or baseline is None else row.p50_ms / baseline
        output.record("tinyscene.bench/1", None, **vars(row), ratio=ratio)
        rate = None if row.value is None else f"{row.value:,.1f} {row.unit}"
        table.append([row.name, row.p50_ms, row.p95_ms, row.p99_ms, ratio, rate, row.note])
    bundle, clip = on.bundle, str(arguments.clip or "a generated clip")
    identity = machine()
    about = f"{bundle.path} on {clip}, {arguments.threads} thread(s); ratio to {BASELINE}"
    output.record(
        "tinyscene.bench_machine/1",
        format_table(["row", "p50 ms", "p95 ms", "p99 ms", "ratio", "rate", "note"], table)
        + f"\n\n{about}\n{_machine_text(identity)}\n",
        **identity,
        bundle=bundle.name,
        clip=clip,
        threads=arguments.threads,
        baseline=BASELINE,
    )


def _live_runs(bundle: Bundle, arguments: argparse.Namespace, listen_s: float, output: Output) -> bool:
    """Listen with each engine, print and keep what came of it; returns whether something asked for was not measured."""
    from .bench.report import run_text, runs_table
    from .bench.results import append_result
    from .bench.runner import RunSettings, run_engine
    from .energy.options import measure
    from .energy.result import EnergyResult, energy_text
    from .errors import TinysceneError
    from .machine.identity import machine

    names, unavailable = _engines(bundle, arguments.engine)
    runs, seen, failed = [], [], False
    for name in names:
        settings = RunSettings(
            name, arguments.threads, arguments.hop_ms, listen_s, not arguments.fast, arguments.clip, arguments.starts
        )
        energies: list[EnergyResult] = []

        def energy_of(run_once: Any, hop_s: float, kept: list[EnergyResult] = energies) -> EnergyResult | None:
            result = measure(arguments, run_once, hop_s, output.log)
            kept += [] if result is None else [result]
            return result

        output.log(f"listening with {name} for {listen_s:g} s, after {arguments.starts} starts")
        try:
            run = run_engine(bundle, settings, energy_of)
        except TinysceneError as error:
            if arguments.engine != "all":
                raise
            unavailable.append((name, str(error)))
            continue
        if arguments.out != "-":
            append_result(Path(arguments.out), run)
        failed |= run["energy_note"] is not None
        runs.append(run)
        output.record("tinyscene.bench_run/1", None, **run)
        if energies or arguments.meter is None:
            energy = energy_text(energies[0] if energies else None)
        else:
            energy = f"energy: {run['energy_note'] or f'blocks marked in {arguments.energy_marks}, to be joined'}"
        seen.append((run, energy))
    if not output.as_json:
        print(runs_table(runs, unavailable))
        for run, energy in seen:
            print(f"\n{run_text(run)}\n{energy}")
        print(f"\n{bundle.path}; {_machine_text(machine())}")
    for name, why in unavailable:
        output.record("tinyscene.bench_unavailable/1", None, engine=name, why=why)
    if runs and arguments.out != "-":
        output.log(f"appended {len(runs)} run(s) to {arguments.out}")
    return failed


def _engines(bundle: Bundle, wanted: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The engines to run, and of "all" those that do not run here with the reason."""
    if wanted != "all":
        return [wanted], []
    import os

    from .engines.catalogue import engine_choices

    choices = engine_choices(bundle, os.cpu_count() or 1)
    names = [choice.name for choice in choices if choice.available]
    return names, [(choice.name, choice.why) for choice in choices if not choice.available]


def _machine_text(on: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in on["versions"].items())
    return f"{on['processor']}, {on['cores']} cores, {on['os']}, {on['system']}; {versions}; {on['date']}"


BENCH = Verb(
    help="measure latency, load, memory, energy and start-up of every engine on this machine",
    example="tinyscene bench build/bundle --clip recording.wav --meter hwmon --capacity-wh 37",
    add_arguments=_bench_arguments,
    run=_bench,
)
