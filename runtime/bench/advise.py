"""Which engine, with how many threads and how often: tried on this machine, and said in words."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..engines.catalogue import engine_choices, open_named_engine, warm_up
from ..engines.engine import Engine
from ..output import format_table

#: Times from one decision to the next that are worth asking about, in seconds.
HOPS_S = (0.1, 0.25, 0.5, 1.0)

#: A decision may take this share of the hop at its slowest (p99): the rest is for the front end and everybody else.
SHARE = 0.25

#: An engine has to be this much faster to be worth another one's installation, or a second thread.
WORTH = 0.8

#: Engines in rounds, so that a machine that slows down slows all of them.
ROUNDS = 5

#: What runs on an accelerator, and is compared with the best of the others.
ACCELERATORS = ("coral",)


@dataclass(frozen=True)
class Measurement:
    """One engine with one number of threads."""

    engine: str
    threads: int
    open_ms: float  # to load the network
    first_ms: float  # the first inference, which prepares
    p50_ms: float
    p99_ms: float
    cpu_ms: float  # processor time an inference, over all threads


@dataclass(frozen=True)
class Advice:
    """What to use on this machine, why, and what it was chosen among."""

    engine: str
    threads: int
    hop_s: float
    reasons: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    unavailable: tuple[tuple[str, str], ...] = ()  # engine and why it does not run here

    @property
    def text(self) -> str:
        """The advice, and a sentence a reason."""
        command = f"tinyscene listen --engine {self.engine} --threads {self.threads} --hop-ms {1e3 * self.hop_s:g}"
        missing = [f"{name} was not tried: {why}" for name, why in self.unavailable]
        return "\n".join([f"use: {command}", *self.reasons, *missing])

    def table(self) -> str:
        """The measurements, the fastest first."""
        rows = [
            [m.engine, m.threads, m.open_ms, m.first_ms, m.p50_ms, m.p99_ms, m.cpu_ms]
            for m in sorted(self.measurements, key=lambda m: m.p50_ms)
        ]
        return format_table(["engine", "threads", "open ms", "first ms", "p50 ms", "p99 ms", "CPU ms"], rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return asdict(self)


def advise(bundle: Bundle, log_mel: NDArray[np.float32], seconds: float, hops_s: Sequence[float] = HOPS_S) -> Advice:
    """Try every engine that runs `bundle` here on the window `log_mel` (n_mels, n_frames), and choose.

    Each engine and thread count gets about `seconds`, in `ROUNDS` turns.
    """
    choices = engine_choices(bundle, os.cpu_count() or 1)
    opened: list[tuple[str, int, Engine, float, float]] = []
    for choice in choices:
        for threads in choice.threads if choice.available else ():
            start = time.perf_counter()
            engine = open_named_engine(bundle, choice.name, threads=threads)
            open_ms = 1e3 * (time.perf_counter() - start)
            opened.append((choice.name, threads, engine, open_ms, warm_up(engine, log_mel)[0]))
    durations: list[list[float]] = [[] for _ in opened]
    cpu_s = [0.0 for _ in opened]
    for _ in range(ROUNDS):
        for k, (_, _, engine, _, _) in enumerate(opened):
            began_s, end = time.process_time(), time.perf_counter() + seconds / ROUNDS
            while time.perf_counter() < end or len(durations[k]) < 3:
                start = time.perf_counter()
                engine.logits(log_mel)
                durations[k].append(time.perf_counter() - start)
            cpu_s[k] += time.process_time() - began_s
    measured = []
    for (name, threads, _, open_ms, first_ms), times, cpu in zip(opened, durations, cpu_s, strict=True):
        p50, p99 = (1e3 * float(value) for value in np.percentile(times, (50, 99)))
        measured.append(Measurement(name, threads, open_ms, first_ms, p50, p99, 1e3 * cpu / len(times)))
    unavailable = tuple((choice.name, choice.why) for choice in choices if not choice.available)
    return choose(measured, hops_s, unavailable)


def choose(
    measured: Sequence[Measurement], hops_s: Sequence[float] = HOPS_S, unavailable: tuple[tuple[str, str], ...] = ()
) -> Advice:
    """The engine whose decision costs least, the hop it can hold, and the reasons.

    The first engine measured is the one that every installation has: another, or a second thread, is recommended only
    where it is faster by more than `WORTH`, and more threads only where the default cannot hold the shortest hop.
    """
    ordinary = [m for m in measured if m.engine not in ACCELERATORS]
    single = [m for m in ordinary if m.threads == 1]
    default, fastest = single[0], min(single, key=lambda m: m.p50_ms)
    best, reasons = default, []
    if fastest is not default and fastest.p50_ms < WORTH * default.p50_ms:
        best = fastest
        reasons.append(
            f"{best.engine} takes {best.p50_ms:.2f} ms, {best.p50_ms / default.p50_ms:.2f} of {default.engine}'s "
            f"{default.p50_ms:.2f} ms"
        )
    elif fastest is not default:
        reasons.append(
            f"{fastest.engine} is faster by {default.p50_ms - fastest.p50_ms:.2f} ms only: not worth another engine"
        )
    more = [m for m in ordinary if m.engine == best.engine and m.threads > 1]
    quick = min(more, key=lambda m: m.p50_ms, default=None)
    if quick is not None:
        needed = best.p99_ms > SHARE * 1e3 * min(hops_s)
        if needed and quick.p50_ms < WORTH * best.p50_ms:
            reasons.append(f"{quick.threads} threads bring {best.p50_ms:.2f} ms down to {quick.p50_ms:.2f} ms")
            best = quick
        else:
            reasons.append(
                f"one thread: {quick.threads} take {quick.p50_ms:.2f} ms and {quick.cpu_ms / best.cpu_ms:.1f} times "
                "the processor time"
            )
    for accelerator in (m for m in measured if m.engine in ACCELERATORS):
        if accelerator.p50_ms < WORTH * best.p50_ms:
            reasons.append(f"{accelerator.engine} takes {accelerator.p50_ms:.2f} ms against {best.p50_ms:.2f} ms")
            best = accelerator
        else:
            reasons.append(
                f"do not use the accelerator: {accelerator.engine} takes {accelerator.p50_ms:.2f} ms, {best.engine} on "
                f"the processor {best.p50_ms:.2f} ms; moving a network this small costs more than computing it"
            )
    held = [hop_s for hop_s in sorted(hops_s) if best.p99_ms <= SHARE * 1e3 * hop_s]
    hop_s = held[0] if held else max(hops_s)
    # Four decisions a second are more than the averaging lets a person see: faster only costs.
    if held and 0.25 in held:
        hop_s = 0.25
    if held:
        load = 100 * best.cpu_ms / (1e3 * hop_s)
        reasons.append(f"a decision every {1e3 * hop_s:g} ms takes {load:.2f} % of a core in the engine")
    else:
        reasons.append(
            f"no hop asked about can be held: p99 is {best.p99_ms:.0f} ms, a quarter of {1e3 * hop_s:g} ms is allowed"
        )
    return Advice(best.engine, best.threads, hop_s, tuple(reasons), tuple(measured), unavailable)
