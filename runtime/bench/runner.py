"""One engine's run on this machine: starting, listening, and what both did to the machine."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ..bundle import Bundle
from ..engines.catalogue import open_named_engine
from ..errors import InputError, TinysceneError, UnavailableError
from ..machine.identity import machine
from ..machine.state import MachineState, read_state
from ..machine.usage import Load, load_between, read_usage
from ..machine.validity import judge
from ..machine.watch import MachineWatch
from ..stream.stream import Decision, SceneStream, StreamSettings
from .child import ChildSpec
from .loop import open_loop

if TYPE_CHECKING:
    from ..energy.result import EnergyResult

#: Time between looks at the machine: often enough for a throttling of seconds, seldom enough to cost nothing.
LOOK_S = 2.0

#: Beside the run itself a child may compile an engine, on a small board.
_START_LIMIT_S = 300.0


@dataclass(frozen=True)
class RunSettings:
    """What is run."""

    engine: str
    threads: int = 1
    hop_ms: float = 250.0
    seconds: float = 20.0  # of audio when paced, of the clock otherwise
    paced: bool = True
    clip: Path | None = None
    starts: int = 3  # fresh processes whose start is timed

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 86_400:
            raise InputError(f"a live run of {self.seconds} s, expected more than 0 and at most a day: set --listen-s")
        if self.starts < 1:
            raise InputError(f"{self.starts} starts, expected at least 1")


#: What of a child's answer is about latency.
_LATENCY = (
    "stages",
    "warm_up_ms",
    "algorithmic_delay",
    "microphone_to_decision",
    "decisions",
    "deadline_misses",
)

#: What measures energy: it is given one hop's work and the hop in seconds. None where there is no meter.
EnergyOf = Callable[[Callable[[], object], float], "EnergyResult | None"]


def run_engine(
    bundle: Bundle,
    settings: RunSettings,
    energy_of: EnergyOf | None = None,
    read: Callable[[], MachineState] = read_state,
) -> dict[str, Any]:
    """Start, listen and measure; the fields of a `tinyscene.bench_run/1`.

    Each start and the listening happen in processes of their own, energy is measured in this one. Raises what the
    engine raises; a meter that fails costs the energy only.
    """
    energy: EnergyResult | None = None
    energy_note = None
    before = read_usage()
    with MachineWatch(LOOK_S, read=read) as watch:
        starts = [_child(bundle, settings, 0.0)["start_up"] for _ in range(settings.starts)]
        live = _child(bundle, settings, settings.seconds)
        if energy_of is not None:
            try:
                energy = energy_of(partial(next, hops(bundle, settings)), live["hop_ms"] / 1e3)
            except TinysceneError as error:
                energy_note = f"not measured: {error}"
    load = load_between(before, read_usage())
    validity = judge(watch.states, load, live["stages"]["latency"]["count"])
    return {
        "at": watch.states[0].at,
        "bundle": {
            "name": bundle.name,
            "model_sha256": bundle.files["model.tflite"],
            "parameters": bundle.model.get("parameters"),
            "macs": bundle.model.get("macs"),
        },
        "machine": machine(),
        "engine": settings.engine,
        "engine_name": live["engine_name"],
        "threads": settings.threads,
        "hop_ms": live["hop_ms"],
        "source": live["source"],
        "latency": {key: live[key] for key in _LATENCY},
        "real_time_factor": live["real_time_factor"],
        "cpu_share": live["cpu_share"],
        "memory": live["memory"],
        "start_up": {"median_s": median(start["total_s"] for start in starts), "runs": starts},
        "energy": None if energy is None else energy.as_dict(),
        "energy_note": energy_note,
        **_machine_fields(watch.states, load),
        "validity": asdict(validity),
    }


def hops(bundle: Bundle, settings: RunSettings) -> Iterator[Decision]:
    """Endless listening that does one decision's work at each `next`: resampling, features, network, smoothing."""
    engine = open_named_engine(bundle, settings.engine, threads=settings.threads)
    loop = open_loop(settings.clip, bundle.frontend, math.inf, paced=False)
    stream = SceneStream(
        bundle.frontend, bundle.labels, engine, loop.sample_rate_hz, StreamSettings(hop_ms=settings.hop_ms)
    )
    for block in loop.blocks():
        yield from stream.push(block)


def _child(bundle: Bundle, settings: RunSettings, seconds: float) -> dict[str, Any]:
    """What a fresh process measured; its error raised here."""
    spec = ChildSpec(
        bundle=str(bundle.path),
        engine=settings.engine,
        threads=settings.threads,
        hop_ms=settings.hop_ms,
        seconds=seconds,
        paced=settings.paced,
        clip=None if settings.clip is None else str(settings.clip),
        asked_s=time.perf_counter(),
    )
    command = [sys.executable, "-m", f"{__package__}.child", json.dumps(asdict(spec))]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * seconds + _START_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"the engine {settings.engine} did not finish in {error.timeout:.0f} s") from error
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
        raise UnavailableError(
            f"the engine {settings.engine} ended its process with exit code {done.returncode}: {last}"
        ) from None
    if "error" in answer:
        kinds: dict[int, type[TinysceneError]] = {2: InputError, 3: UnavailableError}
        raise kinds.get(answer["exit_code"], TinysceneError)(answer["error"])
    result: dict[str, Any] = answer["result"]
    return result


def _machine_fields(states: Sequence[MachineState], load: Load) -> dict[str, Any]:
    """Temperature, frequency, governor and throttling before, during and after, and what others took."""
    temperatures = [state.temperature_c for state in states if state.temperature_c is not None]
    frequencies = [state.frequency_mhz for state in states if state.frequency_mhz is not None]
    first, last = states[0], states[-1]
    return {
        "temperature_c": {
            "before": first.temperature_c,
            "highest": max(temperatures, default=None),
            "after": last.temperature_c,
            "sensor": first.temperature_sensor,
        },
        "frequency_mhz": {
            "before": first.frequency_mhz,
            "lowest": min(frequencies, default=None),
            "after": last.frequency_mhz,
        },
        "governor": first.governor,
        "throttle": {
            "before": None if first.throttle is None else asdict(first.throttle),
            "after": None if last.throttle is None else asdict(last.throttle),
        },
        "readings": len(states),
        "others_share": load.others_share,
    }
