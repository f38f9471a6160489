"""Which engine, with how many threads and how often: tried on this machine (`trials`), chosen, and said in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

from ..bundle import Bundle
from ..engines.catalogue import engine_choices
from ..errors import UnavailableError
from ..output import format_table
from .trials import Measurement, measure_engines

#: Times from one decision to the next that are worth asking about, in seconds.
HOPS_S = (0.1, 0.25, 0.5, 1.0)

#: The hop to take where it can be held: four decisions a second are more than the averaging lets a person see.
USUAL_HOP_S = 0.25

#: A decision may take this share of the hop at its slowest (p99): the rest is for the front end and everybody else.
SHARE = 0.25

#: An engine has to be this much faster to be worth another one's installation, or a second thread.
WORTH = 0.8

#: Starting later than another engine by this much is told.
SLOW_START_S = 0.2

#: What runs on an accelerator, and is compared with the best of the others.
ACCELERATORS = ("coral",)


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
        """The measurements, the fastest first; a column for each hop that was tried, with the median at that pace."""
        hops_s = sorted({paced.hop_s for m in self.measurements for paced in m.at_hops})
        headers = ["engine", "threads", "open ms", "first ms", "p50 ms", "p99 ms", "CPU ms", "MB", "start s"]
        rows = []
        for m in sorted(self.measurements, key=_speed):
            at_hops = {paced.hop_s: paced.p50_ms for paced in m.at_hops}
            row = [m.engine, m.threads, m.open_ms, m.first_ms, m.p50_ms, m.p99_ms, m.cpu_ms, m.memory_mb, m.start_s]
            rows.append([*row, *(at_hops.get(hop_s) for hop_s in hops_s)])
        return format_table([*headers, *(f"every {1e3 * hop_s:g} ms" for hop_s in hops_s)], rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return asdict(self)


def advise(
    bundle: Bundle,
    log_mel: NDArray[Any],
    seconds: float,
    hops_s: Sequence[float] = HOPS_S,
    log: Callable[[str], None] = lambda line: None,
) -> Advice:
    """Try every engine that runs `bundle` here on the float32 window `log_mel` (n_mels, n_frames), and choose.

    Each engine and thread count gets about `seconds` back to back; the default, the fastest and the accelerator also
    as long at each hop. Raises `UnavailableError` when no engine runs here.
    """
    choices = engine_choices(bundle)
    measured = measure_engines(bundle, choices, log_mel, seconds, hops_s, shortlist, log)
    unavailable = tuple((choice.name, choice.why) for choice in choices if not choice.available)
    return choose(measured, hops_s, unavailable)


def shortlist(measured: Sequence[Measurement]) -> list[Measurement]:
    """What is worth trying at a stream's pace: the default engine, the fastest, and what an accelerator does."""
    ordinary = [m for m in measured if m.engine not in ACCELERATORS]
    single = [m for m in ordinary if m.threads == 1]
    picked = [*single[:1], *sorted(single, key=_speed)[:1], *(m for m in measured if m.engine in ACCELERATORS)]
    return [m for place, m in enumerate(picked) if m not in picked[:place]]


def choose(
    measured: Sequence[Measurement], hops_s: Sequence[float] = HOPS_S, unavailable: tuple[tuple[str, str], ...] = ()
) -> Advice:
    """The engine whose decision costs least, the hop it can hold, and the reasons; the same for the same measurements.

    The first engine measured is the one that every installation has: another, or a second thread, is recommended only
    where it is faster by more than `WORTH`, and more threads only where the default cannot hold the shortest hop.
    """
    usual_s = USUAL_HOP_S if USUAL_HOP_S in hops_s else min(hops_s)
    ordinary = [m for m in measured if m.engine not in ACCELERATORS and m.threads == 1]
    reasons: list[str] = []
    best = ordinary[0] if ordinary else None
    if best is not None:
        best = _engine(best, ordinary, usual_s, reasons)
        best = _threads(best, measured, min(hops_s), reasons)
    for accelerator in sorted((m for m in measured if m.engine in ACCELERATORS), key=_speed):
        best = _accelerator(best, accelerator, usual_s, reasons)
    if best is None:
        raise UnavailableError("no engine runs here: " + "; ".join(f"{name}: {why}" for name, why in unavailable))
    held = [hop_s for hop_s in sorted(hops_s) if best.at(hop_s).p99_ms <= SHARE * 1e3 * hop_s]
    hop_s = usual_s if usual_s in held else held[0] if held else max(hops_s)
    paced = best.at(hop_s)
    if held:
        load = 100 * paced.cpu_ms / (1e3 * hop_s)
        reasons.append(f"a decision every {1e3 * hop_s:g} ms takes {load:.2f} % of a core in the engine")
    else:
        reasons.append(
            f"no hop asked about can be held: p99 is {paced.p99_ms:.0f} ms, {SHARE:g} of {1e3 * hop_s:g} ms is allowed"
        )
    return Advice(best.engine, best.threads, hop_s, tuple(reasons), tuple(measured), unavailable)


def _engine(default: Measurement, single: Sequence[Measurement], usual_s: float, reasons: list[str]) -> Measurement:
    """The default engine, or the fastest where that is worth it; all on one thread."""
    fastest = min(single, key=_speed)
    best, ours, its = default, default.at(usual_s), fastest.at(usual_s)
    if fastest is not default and its.p50_ms < WORTH * ours.p50_ms:
        best = fastest
        reasons.append(
            f"{best.engine} takes {its.p50_ms:.2f} ms, {its.p50_ms / ours.p50_ms:.2f} of {default.engine}'s "
            f"{ours.p50_ms:.2f} ms, at a decision every {1e3 * usual_s:g} ms"
        )
        if best.start_s is not None and default.start_s is not None and best.start_s > default.start_s + SLOW_START_S:
            reasons.append(f"it starts in {best.start_s:.1f} s, {default.engine} in {default.start_s:.1f} s")
    elif fastest is not default:
        saved_ms = ours.p50_ms - its.p50_ms
        faster = f"is faster by {saved_ms:.2f} ms only" if saved_ms > 0 else "is not faster at this pace"
        reasons.append(f"{fastest.engine} {faster}: not worth another engine")
    reasons += [
        f"{other.engine} takes {other.p50_ms / best.p50_ms:.1f} times as long ({other.p50_ms:.2f} ms back to back)"
        for other in sorted(single, key=_speed)
        if other is not best and other is not fastest and other is not default
    ]
    return best


def _threads(best: Measurement, measured: Sequence[Measurement], shortest_s: float, reasons: list[str]) -> Measurement:
    """The chosen engine with as many threads as it needs."""
    more = [m for m in measured if m.engine == best.engine and m.threads > 1]
    if not more:
        return best
    quick = min(more, key=_speed)
    needed = best.at(shortest_s).p99_ms > SHARE * 1e3 * shortest_s
    if needed and quick.p50_ms < WORTH * best.p50_ms:
        reasons.append(f"{quick.threads} threads bring {best.p50_ms:.2f} ms down to {quick.p50_ms:.2f} ms")
        return quick
    reasons.append(
        f"one thread: {quick.threads} take {quick.p50_ms:.2f} ms for {best.p50_ms:.2f} ms, and "
        f"{quick.cpu_ms / best.cpu_ms:.1f} times the processor time"
    )
    return best


def _accelerator(best: Measurement | None, accelerator: Measurement, usual_s: float, reasons: list[str]) -> Measurement:
    """The accelerator where it is faster by enough than `best`, on the processor."""
    its, left = accelerator.at(usual_s), ""
    if accelerator.on_processor:
        left = f"; {accelerator.on_processor} of its operators run on the processor, and the data travels between them"
    if best is None or its.p50_ms < WORTH * best.at(usual_s).p50_ms:
        against = "" if best is None else f" against {best.at(usual_s).p50_ms:.2f} ms of {best.engine}"
        reasons.append(f"{accelerator.engine} takes {its.p50_ms:.2f} ms{against}{left}")
        return accelerator
    ours = best.at(usual_s)
    why = left or "; moving a network this small costs more than computing it"
    slower = "slower" if its.p50_ms >= ours.p50_ms else "hardly faster"
    reasons.append(
        f"do not use the accelerator, it is {slower}: {accelerator.engine} takes {its.p50_ms:.2f} ms, {best.engine} on "
        f"the processor {ours.p50_ms:.2f} ms{why if slower == 'slower' else left}"
    )
    return best


def _speed(measurement: Measurement) -> tuple[float, str, int]:
    """To sort by; equal times by name, so that the order is always the same."""
    return measurement.p50_ms, measurement.engine, measurement.threads
