"""Made-up runs of a results file; no machine measured them."""

from __future__ import annotations

import copy
from typing import Any

PERCENTILES = {"count": 77, "p50_ms": 1.5, "p90_ms": 1.75, "p95_ms": 1.8, "p99_ms": 2.25, "max_ms": 2.5}
FIGURE = {"value": 0.00412, "low": 0.0040, "high": 0.0043}

RUN: dict[str, Any] = {
    "at": "2026-01-02T03:04:05.678+00:00",
    "bundle": {"name": "scenes", "model_sha256": "0123456789abcdef", "parameters": 126952, "macs": 28893268},
    "machine": {
        "processor": "Simulated Board 5",
        "cores": 4,
        "memory_mb": 8000,
        "system": "Linux 6.12 aarch64",
        "os": "Simulated Linux 12",
        "versions": {"python": "3.11.7"},
        "date": "2026-01-02",
    },
    "engine": "litert",
    "engine_name": "LiteRT default",
    "threads": 1,
    "hop_ms": 250.0,
    "source": {"name": "a generated sound", "sample_rate_hz": 48000, "paced": True, "audio_s": 20.0},
    "latency": {
        "stages": dict.fromkeys(("resample", "features", "engine", "smoothing", "latency"), PERCENTILES),
        "warm_up_ms": {
            "resample": [0.5, 0.25, 0.125], "features": [1.0], "engine": [9.0, 3.0], "smoothing": [], "latency": [12.0],
        },
        "algorithmic_delay": {"block_ms": 20.0, "resampler_ms": 18.0, "features_ms": 48.0, "total_ms": 86.0},
        "microphone_to_decision": {"p50_ms": 87.5, "p90_ms": 87.75, "p95_ms": 87.8, "p99_ms": 88.25, "max_ms": 88.5},
        "decisions": 80,
        "deadline_misses": 0,
    },
    "real_time_factor": 0.0125,
    "cpu_share": 0.02,
    "memory": {"rss_bytes": 70_000_000, "peak_rss_bytes": 74_000_000},
    "start_up": {
        "median_s": 0.9,
        "runs": [
            {"total_s": 1.5, "interpreter_s": 0.1, "imports_s": 1.0, "first_decision_s": 0.4},
            {"total_s": 0.8, "interpreter_s": 0.1, "imports_s": 0.5, "first_decision_s": 0.2},
            {"total_s": 0.9, "interpreter_s": 0.1, "imports_s": 0.5, "first_decision_s": 0.3},
        ],
    },
    "energy": None,
    "energy_note": None,
    "temperature_c": {"before": 48.0, "highest": 55.5, "after": 54.0, "sensor": "cpu-thermal"},
    "frequency_mhz": {"before": 2400.0, "lowest": 1500.0, "after": 2400.0},
    "governor": "performance",
    "throttle": {"before": None, "after": None},
    "readings": 12,
    "others_share": 0.03,
    "validity": {"valid": True, "reasons": [], "notes": ["a note"]},
}  # fmt: skip


def made_up_run(**changes: Any) -> dict[str, Any]:
    """A run with some fields changed; a double underscore goes one level down."""
    run = copy.deepcopy(RUN)
    for name, value in changes.items():
        *path, last = name.split("__")
        place = run
        for key in path:
            place = place[key]
        place[last] = value
    return run
