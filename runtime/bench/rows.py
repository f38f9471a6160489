"""Latency on this machine: front end, engines and the whole line, on the same second of audio.

Each row is measured alone, after a warm-up, for a fixed time, in one thread unless more are asked for. Folders above
the runtime add rows through the entry-point group `tinyscene.bench`: a callable `rows(context) -> Iterable[BenchRow]`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..engines.litert import Kernels, open_engine
from ..errors import InputError, TinysceneError, require
from ..frontend import StreamingLogMel, log_mel
from ..frontend_spec import FrontendSpec
from ..stream.smoothing import softmax

#: Before a row counts it runs for this share of its time: caches fill, clocks rise, delegates prepare.
WARM_UP = 0.2

#: Percentiles of fewer runs than this say nothing about the tail.
FEWEST_RUNS = 20

#: The row that every other one is compared with.
BASELINE = "LiteRT default, int8"


@dataclass(frozen=True, eq=False)
class BenchContext:
    """What every row measures on."""

    bundle: Bundle
    wave: NDArray[np.float32]  # (clip_samples,) at the front end's rate
    log_mel: NDArray[np.float32]  # (n_mels, n_frames) of `wave`
    seconds: float  # to spend on each row
    threads: int = 1


@dataclass(frozen=True)
class BenchRow:
    """A latency (the three percentiles), a rate (`value` in `unit`), or neither: not measured, and `note` says why."""

    name: str
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    note: str = ""
    value: float | None = None
    unit: str = ""


def measure(name: str, run: Callable[[], object], seconds: float, note: str = "", per_run: int = 1) -> BenchRow:
    """Time `run` again and again for `seconds` and give its latency, divided by the `per_run` items it handles."""
    _repeat(run, seconds * WARM_UP, fewest=2)
    durations_ms = 1e3 * np.array(_repeat(run, seconds, FEWEST_RUNS)) / per_run
    p50, p95, p99 = (float(value) for value in np.percentile(durations_ms, (50, 95, 99)))
    return BenchRow(name, p50, p95, p99, note)


def context(bundle: Bundle, clip: Path | None, seconds: float, threads: int = 1) -> BenchContext:
    """The first clip's worth of the file `clip`, or of a generated one; raises `InputError` when it is too short."""
    from ..audio import read_mono

    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"time per row is {seconds} s, expected more than 0: set --seconds")
    spec = bundle.frontend
    wave = generated_clip(spec) if clip is None else read_mono(clip, spec.sample_rate_hz)[: spec.clip_samples]
    if len(wave) < spec.clip_samples:
        raise InputError(
            f"{clip} holds {len(wave) / spec.sample_rate_hz:.2f} s, expected at least "
            f"{spec.clip_samples / spec.sample_rate_hz:.2f} s: choose a longer --clip"
        )
    return BenchContext(bundle, wave, log_mel(wave, spec), seconds, threads)


def generated_clip(spec: FrontendSpec) -> NDArray[np.float32]:
    """Pink-like noise with a tone, float32 (clip_samples,): always the same, and no denormal zeros to flatter a row."""
    noise = np.random.default_rng(20_230_601).standard_normal(spec.clip_samples)
    spectrum = np.fft.rfft(noise) / np.sqrt(1 + np.arange(spec.clip_samples // 2 + 1))
    pink = np.fft.irfft(spectrum, spec.clip_samples)
    tone = np.sin(2 * np.pi * 440.0 * np.arange(spec.clip_samples) / spec.sample_rate_hz)
    return (0.1 * pink / np.abs(pink).max() + 0.02 * tone).astype(np.float32)


def all_rows(context: BenchContext) -> Iterator[BenchRow]:
    """The runtime's own rows, then those of the installed entry points, each as soon as it is measured."""
    yield from frontend_rows(context)
    for kernels in get_args(Kernels):
        yield from _guarded(f"LiteRT {kernels}, int8", partial(_litert_rows, context, kernels))
    for name, file in (("ONNX Runtime, int8 QDQ", "model.onnx"), ("ONNX Runtime, float", "model_float.onnx")):
        yield from _guarded(name, partial(_onnx_rows, context, name, file))
    yield from _guarded("end to end", partial(_end_to_end_rows, context))
    for entry in sorted(entry_points(group="tinyscene.bench"), key=lambda entry: entry.name):
        yield from _guarded(entry.name, partial(_entry_rows, entry, context))


def frontend_rows(context: BenchContext) -> Iterator[BenchRow]:
    """Front end on a whole clip, and per frame as a stream computes it."""
    spec, wave = context.bundle.frontend, context.wave
    yield measure("front end, clip", lambda: log_mel(wave, spec), context.seconds, f"{spec.n_frames()} frames, numpy")
    stream = StreamingLogMel(spec)
    hops = [wave[start : start + spec.hop_length] for start in range(0, len(wave), spec.hop_length)]

    def run() -> int:
        return sum(stream.push(hop).shape[1] for hop in hops)  # an endless stream: the clip again and again

    run()  # the first pass has to fill half a window before its first frame
    note = "streamed hop by hop; mean over a clip"
    yield measure("front end, frame", run, context.seconds, note, per_run=run())


def _litert_rows(context: BenchContext, kernels: Kernels) -> Iterator[BenchRow]:
    engine = open_engine(context.bundle, kernels, context.threads)
    note = "the bits parity is held to" if kernels == "reference" else ""
    yield measure(f"LiteRT {kernels}, int8", lambda: engine.logits(context.log_mel), context.seconds, note)


def _onnx_rows(context: BenchContext, name: str, file: str) -> Iterator[BenchRow]:
    onnxruntime = require("onnxruntime", "export")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = context.threads
    session = onnxruntime.InferenceSession(
        context.bundle.file(file).read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    (entry,) = session.get_inputs()
    feeds = {entry.name: context.log_mel.reshape([size if isinstance(size, int) else 1 for size in entry.shape])}
    yield measure(name, lambda: session.run(None, feeds), context.seconds)


def _end_to_end_rows(context: BenchContext) -> Iterator[BenchRow]:
    engine, spec = open_engine(context.bundle, "default", context.threads), context.bundle.frontend
    yield measure(
        "end to end",
        lambda: softmax(engine.logits(log_mel(context.wave, spec))),
        context.seconds,
        "waveform to probabilities: front end, LiteRT default, softmax",
    )


def _entry_rows(entry: EntryPoint, context: BenchContext) -> Iterable[BenchRow]:
    rows: Callable[[BenchContext], Iterable[BenchRow]] = entry.load()
    return rows(context)


def _guarded(name: str, rows: Callable[[], Iterable[BenchRow]]) -> Iterator[BenchRow]:
    """The rows, or one that says why they were not measured: a missing package must not cost the other rows."""
    try:
        yield from rows()
    except TinysceneError as error:
        yield BenchRow(name, note=f"not measured: {error}")
    except ModuleNotFoundError as error:
        yield BenchRow(name, note=f"not measured: needs {error.name!r}: run `pip install 'tinyscene[export]'`")


def _repeat(run: Callable[[], object], seconds: float, fewest: int) -> list[float]:
    """Durations of one run after another, in seconds, until `seconds` are over and there are `fewest`."""
    durations: list[float] = []
    end = time.perf_counter() + seconds
    while len(durations) < fewest or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start)
    return durations
