"""The hardware table: the valid runs of each machine, engine and setting, by their medians."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from ..output import format_table

NOT_MEASURED = "not measured"

HEADERS = (
    "machine",
    "bundle",
    "engine",
    "threads",
    "hop ms",
    "runs",
    "p50 ms",
    "p99 ms",
    "max ms",
    "to decision ms",
    "late",
    "CPU %",
    "peak MB",
    "start s",
    "mJ measured",
    "mJ estimated",
    "max C",
    "last run",
)


def hardware_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row for each machine, bundle, engine and setting, then the runs that were left out and why.

    Every figure is the median over the group's valid runs; "max ms" and "max C" are the highest of them, "late" is a
    sum. Energy that an instrument measured and energy that was estimated are in columns of their own.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault(_key(run), []).append(run)
    rows = []
    for key, group in sorted(groups.items(), key=lambda item: tuple(map(str, item[0]))):
        valid = [run for run in group if run["validity"]["valid"]]
        if valid:
            rows.append(_row(key, valid, len(group)))
    text = format_table(HEADERS, rows) if rows else "No valid run yet: make one with `tinyscene bench BUNDLE`."
    invalid = [run for run in runs if not run["validity"]["valid"]]
    if invalid:
        lines = sorted(_invalid_line(run) for run in invalid)
        text += "\n\nInvalid runs, in none of the figures above:\n\n" + "\n".join(lines)
    return text


def _key(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """What has to be equal for two runs to measure the same thing."""
    machine, bundle = run["machine"], run["bundle"]
    pace = "" if run["source"]["paced"] else " (as fast as possible)"
    system = machine.get("os") or machine["system"]
    return (
        f"{machine['processor']}, {system}{' simulated' if machine.get('simulated') else ''}",
        f"{bundle['name']} {bundle['model_sha256'][:8]}",
        f"{run['engine_name']}{pace}",
        run["threads"],
        run["hop_ms"],
    )


def _row(key: tuple[Any, ...], valid: Sequence[Mapping[str, Any]], count: int) -> list[Any]:
    machine, bundle, engine, threads, hop_ms = key
    latency = [run["latency"]["stages"]["latency"] for run in valid]
    to_decision = [run["latency"]["microphone_to_decision"].get("p50_ms") for run in valid]
    hottest = _known(run["temperature_c"].get("highest") for run in valid)
    peaks = _known(run["memory"].get("peak_rss_bytes") for run in valid)
    shares = _known(run.get("cpu_share") for run in valid)
    return [
        machine,
        bundle,
        engine,
        str(threads),
        f"{hop_ms:g}",
        str(count) if count == len(valid) else f"{len(valid)} of {count}",
        _median((entry.get("p50_ms") for entry in latency), "{:.2f}"),
        _median((entry.get("p99_ms") for entry in latency), "{:.2f}"),
        f"{max(_known(entry.get('max_ms') for entry in latency), default=float('nan')):.2f}",
        _median(to_decision, "{:.0f}"),
        str(sum(run["latency"]["deadline_misses"] for run in valid)),
        _median((100 * share for share in shares), "{:.2f}"),
        _median((peak / 1e6 for peak in peaks), "{:.0f}"),
        _median((run["start_up"]["median_s"] for run in valid), "{:.2f}"),
        _energy(valid, "measured"),
        _energy(valid, "estimated"),
        f"{max(hottest):.1f}" if hottest else NOT_MEASURED,
        max(run["machine"]["date"] for run in valid),
    ]


def _energy(valid: Sequence[Mapping[str, Any]], kind: str) -> str:
    """Millijoules above idle per decision, by instruments of that kind; the interval where there is one run."""
    found = (run.get("energy") for run in valid)
    of_kind = [entry for entry in found if isinstance(entry, dict) and entry.get("kind") == kind]
    figures = [entry["above_idle_j"] for entry in of_kind if isinstance(entry.get("above_idle_j"), dict)]
    values = _known(figure.get("value") for figure in figures)
    if not values:
        return NOT_MEASURED
    text = f"{1e3 * median(values):.3g}"
    if len(figures) == 1 and len(_known(figures[0].get(end) for end in ("low", "high"))) == 2:
        text += f" ({1e3 * figures[0]['low']:.3g} to {1e3 * figures[0]['high']:.3g})"
    return text


def _invalid_line(run: Mapping[str, Any]) -> str:
    machine, _, engine, threads, hop_ms = _key(run)
    reasons = "; ".join(map(str, run["validity"]["reasons"])) or "no reason given"
    return f"- {run['at'][:19]}, {machine}, {engine}, {threads} thread(s), {hop_ms:g} ms: {reasons}"


def _median(values: Iterable[float | None], form: str) -> str:
    known = _known(values)
    return form.format(median(known)) if known else NOT_MEASURED


def _known(values: Iterable[Any]) -> list[float]:
    """The numbers among `values`: a file may hold anything."""
    return [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
