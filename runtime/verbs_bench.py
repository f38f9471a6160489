"""The verb `bench`. Nothing heavy is imported before it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from .cli import Verb
from .default_bundle import DEFAULT_BUNDLE, bundle_path
from .output import Output, format_table


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", nargs="?", type=Path, help=f"bundle to time (default: {DEFAULT_BUNDLE} when it exists)"
    )
    parser.add_argument("--clip", type=Path, help="audio file whose first second is used (default: a generated one)")
    parser.add_argument("--seconds", type=float, default=2.0, help="time spent on each row")
    parser.add_argument("--threads", type=int, default=1, help="threads of each engine")


def _bench(arguments: argparse.Namespace, output: Output) -> int:
    from .bench.rows import BASELINE, BenchRow, all_rows, context
    from .bundle import load_bundle
    from .machine.identity import machine

    bundle = load_bundle(bundle_path(arguments.bundle))
    measured: list[BenchRow] = []
    baseline: float | None = None
    for row in all_rows(context(bundle, arguments.clip, arguments.seconds, arguments.threads)):
        output.log(f"{row.name}: {row.note}" if row.p50_ms is None and row.value is None else f"measured {row.name}")
        measured.append(row)
        baseline = row.p50_ms if row.name == BASELINE else baseline
    table = []
    for row in measured:
        ratio = None if row.p50_ms is None or baseline is None else row.p50_ms / baseline
        output.record("tinyscene.bench/1", None, **vars(row), ratio=ratio)
        rate = None if row.value is None else f"{row.value:,.1f} {row.unit}"
        table.append([row.name, row.p50_ms, row.p95_ms, row.p99_ms, ratio, rate, row.note])
    on, clip = machine(), str(arguments.clip or "a generated clip")
    versions = ", ".join(f"{name} {number}" for name, number in on["versions"].items())
    output.record(
        "tinyscene.bench_machine/1",
        format_table(["row", "p50 ms", "p95 ms", "p99 ms", "ratio", "rate", "note"], table)
        + f"\n\n{bundle.path} on {clip}, {arguments.threads} thread(s); ratio to {BASELINE}\n"
        + f"{on['processor']}, {on['cores']} cores, {on['system']}; {versions}; {on['date']}",
        **on,
        bundle=bundle.name,
        clip=clip,
        threads=arguments.threads,
        baseline=BASELINE,
    )
    return 0


BENCH = Verb(
    help="measure front end, engines and end-to-end latency on this machine",
    example="tinyscene bench build/bundle --clip recording.wav",
    add_arguments=_bench_arguments,
    run=_bench,
)
