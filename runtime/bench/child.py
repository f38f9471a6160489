"""The live run of one engine, in a process of its own: `python -m tinyscene.runtime.bench.child SPEC`.

A fresh process shows what starting costs, and its memory is that of listening with this engine and nothing else. The
argument is a `ChildSpec` as JSON; stdout gets one JSON object, `{"result": ...}` or `{"error": ..., "exit_code": ...}`.
"""

from __future__ import annotations

import time

# Before anything is imported: what the interpreter itself took is the time until here.
_BEGAN_S = time.perf_counter()

import json  # noqa: E402
import sys  # noqa: E402
from dataclasses import asdict, dataclass  # noqa: E402
from typing import Any  # noqa: E402

#: Passes of each stage that are shown apart.
WARM_UP = 3


@dataclass(frozen=True)
class ChildSpec:
    """What the process is to run; plain values, as they travel as JSON."""

    bundle: str
    engine: str
    threads: int
    hop_ms: float
    seconds: float  # 0: end after the first decision
    paced: bool
    clip: str | None
    asked_s: float  # time.perf_counter() of the parent; Linux has one such clock for all processes


def run_child(spec: ChildSpec) -> dict[str, Any]:
    """Start, listen and measure; raises what the engine and the bundle raise."""
    stamps = [("interpreter", _BEGAN_S)]

    def stamp(name: str) -> None:
        stamps.append((name, time.perf_counter()))

    from contextlib import closing
    from pathlib import Path

    from ..bundle import load_bundle
    from ..engines.catalogue import open_named_engine
    from ..stream.delay import algorithmic_delay
    from ..stream.stream import SceneStream, StreamSettings, decisions
    from .loop import open_loop

    stamp("imports")
    bundle = load_bundle(Path(spec.bundle))
    stamp("bundle")
    engine = open_named_engine(bundle, spec.engine, threads=spec.threads)
    stamp("engine")
    clip = None if spec.clip is None else Path(spec.clip)
    first = open_loop(clip, bundle.frontend, 60.0, paced=False)
    settings = StreamSettings(hop_ms=spec.hop_ms)
    rate_hz = first.sample_rate_hz
    with closing(decisions(first, SceneStream(bundle.frontend, bundle.labels, engine, rate_hz, settings))) as heard:
        next(heard)
    stamp("first decision")
    start_up = {"total_s": stamps[-1][1] - spec.asked_s}
    for (name, at_s), before_s in zip(stamps, (spec.asked_s, *(at_s for _, at_s in stamps)), strict=False):
        start_up[f"{name.replace(' ', '_')}_s"] = at_s - before_s
    result: dict[str, Any] = {"start_up": start_up, "engine_name": engine.name}
    if spec.seconds <= 0:
        return result

    stream = SceneStream(bundle.frontend, bundle.labels, engine, rate_hz, settings)
    hop_s = stream.hop_frames * bundle.frontend.hop_s
    meters = stream.meters
    meters.warm_up, meters.deadline_s = WARM_UP, hop_s
    source = open_loop(clip, bundle.frontend, spec.seconds, spec.paced)
    meters.begin()
    made = sum(1 for _ in decisions(source, stream))
    load, memory, delay = meters.load, meters.memory, algorithmic_delay(bundle.frontend, rate_hz)
    stages = meters.summary()
    to_decision = {name: delay.total_ms + value for name, value in stages["latency"].items() if name != "count"}
    return result | {
        "source": {"name": source.name, "sample_rate_hz": rate_hz, "paced": spec.paced, "audio_s": meters.audio_s},
        "hop_ms": 1e3 * hop_s,
        "decisions": made,
        "stages": stages,
        "warm_up_ms": meters.warm_up_ms,
        "algorithmic_delay": delay.to_dict(),
        "microphone_to_decision": to_decision,
        "deadline_misses": meters.deadline_misses,
        "real_time_factor": meters.real_time_factor,
        "cpu_share": load.cpu_share,
        "wall_s": load.wall_s,
        "memory": asdict(memory),
    }


def main(argument: str) -> int:
    """Run the spec in `argument` and print what came of it."""
    from ..errors import TinysceneError
    from ..output import plain

    try:
        answer = {"result": plain(run_child(ChildSpec(**json.loads(argument))))}
    except TinysceneError as error:
        answer = {"error": str(error), "exit_code": error.exit_code}
    print(json.dumps(answer, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
