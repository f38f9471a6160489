"""The runtime's verbs: listen, devices, bench. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Verb
from .errors import InputError
from .output import Output, format_table

if TYPE_CHECKING:
    from .bundle import Bundle
    from .live.terminal import LiveView
    from .sources.source import Source
    from .stream.stream import Decision, SceneStream

#: Where `make export-tflite` leaves its bundle, from the checkout.
DEFAULT_BUNDLE = Path("build/bundle")


def _listen_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", nargs="?", type=Path, help=f"bundle to run (default: {DEFAULT_BUNDLE} when it exists)"
    )
    source = parser.add_argument_group("source")
    source.add_argument("--source", default="mic", help="mic, an audio FILE, or - for raw s16le samples on stdin")
    source.add_argument("--device", help="microphone by index or (part of) its name (default: the system's)")
    source.add_argument("--rate", type=int, metavar="HZ", help="rate of raw samples, or to open the microphone at")
    source.add_argument("--channels", type=int, default=1, help="channels of raw samples")
    source.add_argument("--realtime", action="store_true", help="play a file at the pace of a microphone")
    source.add_argument("--duration-s", type=float, help="stop after this much audio")
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
    bundle = load_bundle(_bundle_path(arguments.bundle))
    engine = open_named_engine(bundle, arguments.engine, arguments.kernels, arguments.threads)
    source = _open_source(arguments, bundle, output)
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


def _bundle_path(path: Path | None) -> Path:
    if path is not None:
        return path
    if not DEFAULT_BUNDLE.is_dir():
        raise InputError(
            f"no bundle given and none at {DEFAULT_BUNDLE}: run `make export-tflite` to make one, "
            "or name yours: `tinyscene listen BUNDLE`"
        )
    return DEFAULT_BUNDLE


def _open_source(arguments: argparse.Namespace, bundle: Bundle, output: Output) -> Source:
    from .sources.files import FileSource
    from .sources.pcm import PcmSource

    wanted = arguments.source
    if arguments.realtime and wanted in ("mic", "-"):
        raise InputError(f"--realtime paces a file, but the source is {wanted}: leave it out")
    if arguments.device is not None and wanted != "mic":
        raise InputError(f"--device chooses a microphone, but the source is {wanted}: use --source mic")
    if wanted == "mic":
        from .sources.microphone import Microphone

        return Microphone(arguments.device, arguments.rate, output.log)
    if wanted == "-":
        if sys.stdin.isatty():
            raise InputError(
                "standard input is a terminal, expected raw s16le samples: "
                "`arecord -t raw -f S16_LE -r 48000 | tinyscene listen --source - --rate 48000`"
            )
        rate = bundle.frontend.sample_rate_hz if arguments.rate is None else arguments.rate
        return PcmSource(sys.stdin.buffer, rate, arguments.channels, output.log)
    if arguments.rate is not None:
        raise InputError(f"--rate is for raw samples and microphones, {wanted} says its own: leave it out")
    return FileSource(Path(wanted), arguments.realtime)


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


def _devices_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def _devices(arguments: argparse.Namespace, output: Output) -> int:
    from .errors import UnavailableError
    from .sources.devices import input_devices

    devices = input_devices()
    if not devices:
        raise UnavailableError("this machine has no audio input: plug in a microphone, or listen to --source FILE")
    for device in devices:
        text = f"{device.index:3}  {device.name}  ({device.host_api}, {device.channels} ch, {device.sample_rate_hz} Hz)"
        output.record("tinyscene.device/1", text + ("  default" if device.is_default else ""), **vars(device))
    return 0


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

    bundle = load_bundle(_bundle_path(arguments.bundle))
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


LISTEN = Verb(
    help="classify what a microphone, a file or a pipe hears, live",
    example="tinyscene listen build/bundle --source recording.wav --json",
    add_arguments=_listen_arguments,
    run=_listen,
)

DEVICES = Verb(
    help="list the microphones that `listen --device` takes",
    example="tinyscene devices",
    add_arguments=_devices_arguments,
    run=_devices,
)

BENCH = Verb(
    help="measure front end, engines and end-to-end latency on this machine",
    example="tinyscene bench build/bundle --clip recording.wav",
    add_arguments=_bench_arguments,
    run=_bench,
)
