"""What `tinyscene bench` prints of its live runs: one table, and below it what the table's figures stand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..output import format_table

HEADERS = (
    "engine",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "max ms",
    "late",
    "to decision ms",
    "CPU %",
    "RTF",
    "peak MB",
    "start s",
    "mJ measured",
    "mJ estimated",
    "C before",
    "C max",
    "C after",
    "valid",
)

STAGES = ("resample", "features", "engine", "smoothing", "latency")


def runs_table(runs: Sequence[Mapping[str, Any]], unavailable: Sequence[tuple[str, str]] = ()) -> str:
    """A row for each run, then one for each engine that was not run, with the reason in the last column."""
    rows = [_row(run) for run in runs]
    rows += [[name, *[None] * (len(HEADERS) - 2), f"not measured: {why}"] for name, why in unavailable]
    return format_table(HEADERS, rows)


def stages_table(run: Mapping[str, Any]) -> str:
    """The stages of one run: what each takes, and what the passes of its warm-up took."""
    stages, warm_up = run["latency"]["stages"], run["latency"]["warm_up_ms"]
    rows = []
    for name in STAGES:
        entry = stages[name]
        first = ", ".join(f"{value:.2f}" for value in warm_up[name]) or "-"
        values = [_milliseconds(entry[key]) for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms")]
        rows.append([name, entry["count"], *values, first])
    return format_table(["stage", "count", "p50 ms", "p90 ms", "p99 ms", "max ms", "warm-up ms, left out"], rows)


def run_text(run: Mapping[str, Any]) -> str:
    """Everything about one run that the table has no room for."""
    delay, start = run["latency"]["algorithmic_delay"], run["start_up"]
    source, validity = run["source"], run["validity"]
    pace = "at a microphone's pace" if source["paced"] else "as fast as possible"
    parts = ", ".join(f"{name.removesuffix('_s').replace('_', ' ')} {value:.3f}" for name, value in _split(start))
    lines = [
        f"{run['engine_name']}, {run['threads']} thread(s), a decision every {run['hop_ms']:g} ms: "
        f"{run['latency']['decisions']} decisions on {source['audio_s']:.1f} s of {source['name']} at "
        f"{source['sample_rate_hz']} Hz, {pace}",
        "",
        stages_table(run),
        "",
        f"delay before any computing: {delay['total_ms']:.1f} ms at most (block {delay['block_ms']:.1f}, resampler "
        f"{delay['resampler_ms']:.1f}, half an STFT window {delay['features_ms']:.1f})",
        f"start to first decision: {start['median_s']:.3f} s, median of {len(start['runs'])} fresh processes ({parts}; "
        f"the first {start['runs'][0]['total_s']:.3f})",
        _machine_line(run),
        "valid" if validity["valid"] else "INVALID, not to be averaged in: " + "; ".join(validity["reasons"]),
    ]
    lines += [f"note: {note}" for note in validity["notes"]]
    return "\n".join(lines)


def _row(run: Mapping[str, Any]) -> list[Any]:
    latency, temperature = run["latency"]["stages"]["latency"], run["temperature_c"]
    peak = run["memory"]["peak_rss_bytes"]
    measured, estimated = (_energy(run["energy"], kind) for kind in ("measured", "estimated"))
    return [
        f"{run['engine_name']}, {run['threads']} thr",
        *(_milliseconds(latency[key]) for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms")),
        run["latency"]["deadline_misses"],
        _fixed(run["latency"]["microphone_to_decision"]["p50_ms"], 1),
        _fixed(100 * run["cpu_share"], 2),
        _fixed(run["real_time_factor"], 4),
        None if peak is None else _fixed(peak / 1e6, 1),
        _fixed(run["start_up"]["median_s"], 2),
        measured,
        estimated,
        *(_fixed(temperature[key], 1) for key in ("before", "highest", "after")),
        "yes" if run["validity"]["valid"] else "INVALID",
    ]


def _energy(energy: Mapping[str, Any] | None, kind: str) -> str:
    """Millijoules above idle a decision with the interval, where a meter of that kind gave them."""
    if energy is None or energy["kind"] != kind:
        return "not measured"
    figure = energy["above_idle_j"]
    value, low, high = (1e3 * figure[key] if figure[key] is not None else float("nan") for key in figure)
    return "not known" if value != value else f"{value:.3g} ({low:.3g} to {high:.3g})"


def _split(start: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The median start's parts: of the run whose total is nearest the median."""
    run = min(start["runs"], key=lambda entry: abs(entry["total_s"] - start["median_s"]))
    return [(name, value) for name, value in run.items() if name != "total_s"]


def _machine_line(run: Mapping[str, Any]) -> str:
    frequency, others = run["frequency_mhz"], run["others_share"]
    governor = run["governor"] or "not known"
    lowest = "not known" if frequency["lowest"] is None else f"{frequency['lowest']:.0f} MHz at the lowest"
    taken = "not known" if others is None else f"{100 * others:.0f} % of a core"
    return f"governor {governor}, frequency {lowest}, other processes {taken}, {run['readings']} looks at the machine"


def _milliseconds(value: float | None) -> str | None:
    return _fixed(value, 3)


def _fixed(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"
