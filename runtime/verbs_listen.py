"""The verb `listen`. Nothing heavy is imported before it runs."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Verb
from .default_bundle import DEFAULT_BUNDLE, bundle_path
from .errors import InputError
from .output import Output, format_table
from .sources.options import add_arguments as add_source
from .sources.options import open_source

if TYPE_CHECKING:
    from .bundle import Bundle
    from .live.terminal import LiveView
    from .sources.source import Source
    from .stream.stream import Decision, SceneStream


def _listen_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", nargs="?", type=Path, help=f"bundle to run (default: {DEFAULT_BUNDLE} when it exists)"
    )
    add_source(parser)
    decision = parser.add_argument_group("decision")
    decision.add_argument("--hop-ms", type=float, default=250.0, help="time from one decision to the next")
    decision.add_argument(
        "--average", choices=("exponential", "moving"), default="exponential", help="kind of smoothing"
    )
    decision.add_argument("--smoothing-s", type=float, default=2.0, help="time constant or length of the average")
    decision.add_argument("--enter", type=float, default=0.5, help="probability at which a scene is taken")
    decision.add_argument("--leave", type=float, default=0.35, help="probability under which it is given up")
    engine = parser.add_argument_group("engine")
    engine.add_argument("--engine", default="litert", help="litert, or native: the generated C, compiled here once")
    engine.add_argument("--kernels", choices=("default", "reference"), default="default", help="LiteRT's kernels")
    engine.add_argument("--threads", type=int, default=1, help="threads of the engine")
    engine.add_argument("--plain", action="store_true", help="print lines even on a terminal")


def _listen(arguments: argparse.Namespace, output: Output) -> int:
    from .bundle import load_bundle
    from .engines.catalogue import open_named_engine
    from .stream.smoothing import Thresholds
    from .stream.stream import SceneStream, StreamSettings, decisions

    if arguments.duration_s is not None and not (math.isfinite(arguments.duration_s) and arguments.duration_s > 0):
        raise InputError(f"duration is {arguments.duration_s} s, expected more than 0: set --duration-s")
    settings = StreamSettings(
        hop_ms=arguments.hop_ms,
        average=arguments.average,
        smoothing_s=arguments.smoothing_s,
        thresholds=Thresholds(arguments.enter, arguments.leave),
    )
    bundle = load_bundle(bundle_path(arguments.bundle))
    engine = open_named_engine(bundle, arguments.engine, arguments.kernels, arguments.threads)
    source = open_source(arguments, bundle.frontend.sample_rate_hz, output.log)
    stream = SceneStream(bundle.frontend, bundle.labels, engine, source.sample_rate_hz, settings)
    output.log(
        f"{bundle.path}: listening to {source.name} at {source.sample_rate_hz} Hz, one decision every "
        f"{1e3 * stream.hop_frames * bundle.frontend.hop_s:g} ms"
    )
    live = sys.stdout.isatty() and not arguments.plain and not output.as_json
    interrupted = False
    with _view(bundle, source, live) as view, closing(decisions(source, stream, arguments.duration_s)) as heard:
        show: Callable[[Decision], None]
        show = _print_decision(output) if view is None else lambda decision: view.update(decision, stream.meters)
        try:
            for decision in heard:
                show(decision)
        except KeyboardInterrupt:
            interrupted = True  # the usual way to stop listening
    _print_summary(stream, output, interrupted)
    return 0


def _view(bundle: Bundle, source: Source, live: bool) -> AbstractContextManager[LiveView | None]:
    if not live:
        return nullcontext(None)
    from .live.terminal import LiveView

    return LiveView(f"{bundle.name} - {source.name}", bundle.labels)


def _print_decision(output: Output) -> Callable[[Decision], None]:
    def show(decision: Decision) -> None:
        dropped = f"  dropped {decision.dropped_samples:,} samples" if decision.dropped_samples else ""
        name = decision.scene or f"{decision.top}?"
        output.record(
            "tinyscene.decision/1",
            f"{decision.t_s:9.2f} s  {name:<20} {decision.probability:4.2f}  {decision.state:<9} "
            f"{decision.latency_ms:6.1f} ms{dropped}",
            **vars(decision),
        )

    return show


def _print_summary(stream: SceneStream, output: Output, interrupted: bool) -> None:
    meters = stream.meters
    stages = meters.summary()
    rows = [
        [name, int(stage["count"]), stage["p50_ms"], stage["p95_ms"], stage["p99_ms"], stage["max_ms"]]
        for name, stage in stages.items()
    ]
    table = format_table(["stage", "count", "p50 ms", "p95 ms", "p99 ms", "max ms"], rows)
    output.record(
        "tinyscene.listen_summary/1",
        f"\n{table}\n\n{meters.audio_s:.2f} s of audio, {int(stages['latency']['count'])} decisions, "
        f"{meters.dropped_samples:,} samples dropped, load {100 * meters.real_time_factor:.2f} % of one core",
        audio_s=meters.audio_s,
        decisions=int(stages["latency"]["count"]),
        dropped_samples=meters.dropped_samples,
        real_time_factor=meters.real_time_factor,
        hop_ms=1e3 * stream.hop_frames * stream.spec.hop_s,
        interrupted=interrupted,
        stages=stages,
    )


LISTEN = Verb(
    help="classify what a microphone, a file or a pipe hears, live",
    example="tinyscene listen build/bundle --source recording.wav --json",
    add_arguments=_listen_arguments,
    run=_listen,
)
