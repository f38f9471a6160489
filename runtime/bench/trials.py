"""Engines and thread counts tried against each other on one window: back to back, and at the pace of a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..engines.catalogue import EngineChoice, open_named_engine, warm_up
from ..engines.coral import CoralEngine
from ..engines.engine import Engine
from .footprint import Footprint, footprint

#: Engines take turns, so that a machine that slows down slows all of them.
ROUNDS = 5

#: Turns at each pace, and the fewest inferences of a turn.
PACED_ROUNDS, FEWEST_PACED = 2, 2


@dataclass(frozen=True)
class AtHop:
    """One engine at the pace of a stream: between two inferences caches cool and clocks fall."""

    hop_s: float
    p50_ms: float
    p99_ms: float  # the slowest, where there are less than a hundred
    cpu_ms: float  # processor time an inference, over all threads, waiting for the next one included


@dataclass(frozen=True)
class Measurement:
    """One engine with one number of threads."""

    engine: str
    threads: int
    open_ms: float  # to load the network
    first_ms: float  # the first inference, which prepares
    p50_ms: float  # back to back, as the two below
    p99_ms: float
    cpu_ms: float  # processor time an inference, over all threads
    memory_mb: float | None = None  # that it adds to a process
    start_s: float | None = None  # from no process to the first answer
    on_processor: int = 0  # operators that an accelerator left to the processor
    at_hops: tuple[AtHop, ...] = ()

    def at(self, hop_s: float) -> AtHop:
        """The figures at that pace; those of back to back where it was not measured."""
        found = (paced for paced in self.at_hops if paced.hop_s == hop_s)
        return next(found, AtHop(hop_s, self.p50_ms, self.p99_ms, self.cpu_ms))


@dataclass(eq=False)
class _Trial:
    """One engine while it is being measured."""

    choice: EngineChoice
    threads: int
    engine: Engine
    open_ms: float
    first_ms: float
    footprint: Footprint | None
    durations_s: list[float]
    cpu_s: float = 0.0

    def burst(self, log_mel: NDArray[np.float32], seconds: float) -> None:
        """Inferences back to back for `seconds`, three at least."""
        began_s, end, fewest = time.process_time(), time.perf_counter() + seconds, len(self.durations_s) + 3
        while time.perf_counter() < end or len(self.durations_s) < fewest:
            start = time.perf_counter()
            self.engine.logits(log_mel)
            self.durations_s.append(time.perf_counter() - start)
        self.cpu_s += time.process_time() - began_s

    def paced(self, log_mel: NDArray[np.float32], hop_s: float, count: int) -> tuple[list[float], float]:
        """Durations of `count` inferences that begin `hop_s` apart, and their processor time, in seconds."""
        durations, began_s = [], time.process_time()
        due = time.perf_counter()
        for _ in range(count):
            due = max(due + hop_s, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))
            start = time.perf_counter()
            self.engine.logits(log_mel)
            durations.append(time.perf_counter() - start)
        return durations, time.process_time() - began_s

    def result(self, at_hops: tuple[AtHop, ...]) -> Measurement:
        p50_ms, p99_ms = _percentiles_ms(self.durations_s)
        return Measurement(
            engine=self.choice.name,
            threads=self.threads,
            open_ms=self.open_ms,
            first_ms=self.first_ms,
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            cpu_ms=1e3 * self.cpu_s / len(self.durations_s),
            memory_mb=None if self.footprint is None else self.footprint.memory_mb,
            start_s=None if self.footprint is None else self.footprint.start_s,
            on_processor=self.engine.on_processor if isinstance(self.engine, CoralEngine) else 0,
            at_hops=at_hops,
        )


def measure_engines(
    bundle: Bundle,
    choices: Sequence[EngineChoice],
    log_mel: NDArray[np.float32],
    seconds: float,
    hops_s: Sequence[float],
    shortlist: Callable[[Sequence[Measurement]], Sequence[Measurement]],
    log: Callable[[str], None],
) -> list[Measurement]:
    """Every available engine of `choices`, with each of its thread counts, on the window `log_mel`.

    Each runs back to back for about `seconds`; those that `shortlist` picks by that also at the pace of each hop, for
    about `seconds` a hop.
    """
    trials = []
    for choice in (choice for choice in choices if choice.available):
        log(f"opening {choice.name}")
        # Before it is opened here: an accelerator serves one process.
        prints = {threads: footprint(bundle.path, choice.name, threads) for threads in choice.threads}
        for threads in choice.threads:
            start = time.perf_counter()
            engine = open_named_engine(bundle, choice.name, threads=threads)
            open_ms = 1e3 * (time.perf_counter() - start)
            first_ms = warm_up(engine, log_mel)[0]
            trials.append(_Trial(choice, threads, engine, open_ms, first_ms, prints[threads], []))
    log(f"{len(trials)} engines and thread counts, {seconds:g} s each")
    for _ in range(ROUNDS):
        for trial in trials:
            trial.burst(log_mel, seconds / ROUNDS)
    measured = [trial.result(()) for trial in trials]
    picked = [trials[measured.index(measurement)] for measurement in shortlist(measured)]
    at_hops: dict[int, list[AtHop]] = {id(trial): [] for trial in picked}
    for hop_s in sorted(hops_s):
        log(f"{', '.join(trial.choice.name for trial in picked)} every {1e3 * hop_s:g} ms")
        for trial, paced in zip(picked, _paced(picked, log_mel, hop_s, seconds), strict=True):
            at_hops[id(trial)].append(paced)
    return [trial.result(tuple(at_hops.get(id(trial), ()))) for trial in trials]


def _paced(picked: Sequence[_Trial], log_mel: NDArray[np.float32], hop_s: float, seconds: float) -> list[AtHop]:
    count = max(FEWEST_PACED, round(seconds / hop_s / PACED_ROUNDS))
    durations: list[list[float]] = [[] for _ in picked]
    cpu_s = [0.0 for _ in picked]
    for _ in range(PACED_ROUNDS):
        for place, trial in enumerate(picked):
            took, cpu = trial.paced(log_mel, hop_s, count)
            durations[place] += took
            cpu_s[place] += cpu
    return [
        AtHop(hop_s, *_percentiles_ms(took), 1e3 * cpu / len(took)) for took, cpu in zip(durations, cpu_s, strict=True)
    ]


def _percentiles_ms(durations_s: Sequence[float]) -> tuple[float, float]:
    """The median, and a duration that at least 99 % do not exceed: of less than a hundred the slowest."""
    return 1e3 * float(np.median(durations_s)), 1e3 * float(np.percentile(durations_s, 99, method="higher"))
