"""The verb `listen`. Nothing heavy is imported before it runs."""

from __future__ import annotations

import argparse
import math
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli import Verb
from .default_bundle import DEFAULT_BUNDLE, bundle_path
from .errors import InputError
from .events.options import add_arguments as add_events
from .live.options import add_arguments as add_live
from .output import Output, format_table
from .sources.options import add_arguments as add_source
from .sources.options import open_source
from .stream.defaults import ENTER, HOP_MS, LEAVE, SMOOTHING_S

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .events.event import Event
    from .stream.decision import Decision
    from .stream.listener import Listened
    from .stream.meters import Meters
    from .stream.stream import SceneStream


def _listen_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", nargs="?", type=Path, help=f"bundle to run (default: {DEFAULT_BUNDLE} when it exists)"
    )
    add_source(parser)
    decision = parser.add_argument_group("decision")
    decision.add_argument("--hop-ms", type=float, default=HOP_MS, help="time from one decision to the next")
    decision.add_argument(
        "--average", choices=("exponential", "moving"), default="exponential", help="kind of smoothing"
    )
    decision.add_argument(
        "--smoothing-s", type=float, default=SMOOTHING_S, help="time constant or length of the average"
    )
    decision.add_argument("--enter", type=float, default=ENTER, help="probability at which a scene is taken")
    decision.add_argument("--leave", type=float, default=LEAVE, help="probability under which it is given up")
    decision.add_argument("--changes", action="store_true", help="print what changes instead of every decision")
    engine = parser.add_argument_group("engine")
    engine.add_argument(
        "--engine", default="litert", help="litert, tflite-runtime, onnx, coral, or native: the generated C"
    )
    engine.add_argument("--kernels", choices=("default", "reference"), default="default", help="LiteRT's kernels")
    engine.add_argument("--threads", type=int, default=1, help="threads of the engine")
    engine.add_argument(
        "--coral-model", type=Path, metavar="FILE", help="compiled model (default: the bundle's model_edgetpu.tflite)"
    )
    add_live(parser)
    add_events(parser)


def _listen(arguments: argparse.Namespace, output: Output) -> int:
    from .bundle import load_bundle
    from .engines.catalogue import open_named_engine
    from .events.options import open_sinks
    from .events.systemd import watched
    from .live.options import open_observers
    from .stream.listener import listen
    from .stream.smoothing import Thresholds
    from .stream.stream import SceneStream, StreamSettings

    if arguments.duration_s is not None and not (math.isfinite(arguments.duration_s) and arguments.duration_s > 0):
        raise InputError(f"duration is {arguments.duration_s} s, expected more than 0: set --duration-s")
    settings = StreamSettings(
        hop_ms=arguments.hop_ms,
        average=arguments.average,
        smoothing_s=arguments.smoothing_s,
        thresholds=Thresholds(arguments.enter, arguments.leave),
    )
    bundle = load_bundle(bundle_path(arguments.bundle))
    engine = open_named_engine(bundle, arguments.engine, arguments.kernels, arguments.threads, arguments.coral_model)
    source = open_source(arguments, bundle.frontend.sample_rate_hz, output.log)
    stream = SceneStream(bundle.frontend, bundle.labels, engine, source.sample_rate_hz, settings)
    observers = open_observers(arguments, bundle, source.name, stream, output)
    if not observers or arguments.plain or output.as_json:
        observers.append(Lines(output, arguments.changes))
    sinks = open_sinks(arguments, bundle.name, bundle.labels, output.log)
    output.log(
        f"{bundle.path}: listening to {source.name} at {source.sample_rate_hz} Hz, one decision every "
        f"{1e3 * stream.hop_s:g} ms"
    )
    about = {"bundle": bundle.name, "engine": engine.name}
    # A service manager asks with SIGTERM for what a person asks with Ctrl-C.
    with _terminated_as_interrupted():
        ended = listen(watched(source), stream, observers, sinks, arguments.duration_s, about=about, log=output.log)
    for sink in sinks:
        if sink.undelivered:
            output.log(f"{sink.name}: {sink.undelivered:,} events were not delivered")
    _print_summary(stream, ended, source.losses, output)
    return 0


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Lines:
    """An observer that prints: every decision, or with `changes` only what is new, and always what went wrong."""

    #: Of the events, those that no decision shows.
    TROUBLE = ("audio_lost", "source_down", "source_up", "throttled")

    wants_frames = False

    def __init__(self, output: Output, changes: bool) -> None:
        self._output, self._changes = output, changes

    def frames(self, frames: NDArray[np.float32]) -> None:
        """Not printed."""

    def decision(self, decision: Decision, meters: Meters) -> None:
        """A line a decision."""
        if self._changes:
            return
        from .stream.decision import SCHEMA

        dropped = f"  dropped {decision.dropped_samples:,} samples" if decision.dropped_samples else ""
        name = decision.scene or f"{decision.top}?"
        self._record(
            SCHEMA,
            f"{decision.t_s:9.2f} s  {name:<20} {decision.probability:4.2f}  {decision.state:<9} "
            f"{decision.latency_ms:6.1f} ms{dropped}",
            **vars(decision),
        )

    def event(self, event: Event) -> None:
        """A line an event."""
        if not self._changes and event.kind not in self.TROUBLE:
            return
        fields = event.to_dict()
        schema = fields.pop("schema")
        self._record(schema, f"{event.t_s:9.2f} s  {_in_words(event)}", **fields)

    def close(self) -> None:
        """Nothing is held."""

    def _record(self, schema: str, text: str, **fields: Any) -> None:
        try:
            self._output.record(schema, text, **fields)
        except BrokenPipeError as error:  # the reader of our stdout went away
            from .stream.observer import StopListening

            raise StopListening from error


def _in_words(event: Event) -> str:
    data = event.data
    if event.kind == "audio_lost":
        return f"lost {data['duration_s']:.3f} s of audio ({data['cause']}), {data['total_samples']:,} samples so far"
    if event.kind == "scene":
        return f"{data['scene']} ({data['probability']:.2f}), before: {data['previous'] or 'unsure'}"
    if event.kind == "unsure":
        return f"unsure, before: {data['previous']}; likeliest {data['top']} ({data['probability']:.2f})"
    if event.kind == "source_down":
        return f"no audio: {data['reason']}"
    if event.kind == "source_up":
        return f"audio again after {data['after_s']:.1f} s"
    if event.kind == "throttled":
        return f"the machine slows itself down: {', '.join(data['flags'])}"
    return event.kind


def _print_summary(stream: SceneStream, ended: Listened, losses: Mapping[str, int], output: Output) -> None:
    from .stream.share import cpu_split

    meters = stream.meters
    stages = meters.summary()
    columns = ("p50_ms", "p90_ms", "p99_ms", "max_ms")
    rows = [[name, int(stage["count"]), *(stage[column] for column in columns)] for name, stage in stages.items()]
    table = format_table(["stage", "count", "p50 ms", "p90 ms", "p99 ms", "max ms"], rows)
    cpu, lost = cpu_split(meters, stream.time_s), ", ".join(f"{name} {n:,}" for name, n in losses.items() if n)
    percent = ", ".join(f"{name} {100 * share:.2f}" for name, share in cpu.parts.items())
    output.record(
        "tinyscene.listen_summary/1",
        f"\n{table}\n\n{meters.audio_s:.2f} s of audio, {ended.decisions} decisions, "
        f"{meters.dropped_samples:,} samples dropped{f' ({lost})' if lost else ''}, {meters.deadline_misses} decisions "
        f"late\nCPU {100 * cpu.total:.2f} % of one core: {percent}",
        audio_s=meters.audio_s,
        decisions=ended.decisions,
        dropped_samples=meters.dropped_samples,
        losses=dict(losses),
        deadline_misses=meters.deadline_misses,
        real_time_factor=meters.real_time_factor,
        cpu_share=cpu.total,
        cpu_parts=cpu.parts,
        observer_errors=ended.observer_errors,
        hop_ms=1e3 * stream.hop_s,
        interrupted=ended.interrupted,
        stages=stages,
    )


LISTEN = Verb(
    help="classify what a microphone, a file or a pipe hears, live",
    example="tinyscene listen build/bundle --source recording.wav --json",
    add_arguments=_listen_arguments,
    run=_listen,
)
