"""The files a grid ends in: `results.csv`, `table.md`, and `times.csv`, the only one that no second run repeats."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...runtime.atomic import write_file
from ...runtime.output import format_table
from ..epoch_log import METRICS_LOG
from .cells import Plan
from .intervals import LEVEL, REPLICATES
from .results import CellResult, Estimate, Key, RowResult
from .run import Workshop
from .sides import INDEPENDENT, OWN, SIMULATED, Side

RESULTS, TABLE, TIMES = "results.csv", "table.md", "times.csv"

#: Columns of the table in their order, when there is anything to put into them.
_COLUMNS: Mapping[Key, str] = {
    (OWN, "accuracy"): "accuracy",
    (OWN, "clip_accuracy"): "clip accuracy",
    (OWN, "macro"): "macro",
    (OWN, "real"): "real devices",
    (OWN, "seen"): "seen devices",
    (OWN, "unseen"): "unseen devices",
    (SIMULATED, "accuracy"): "simulated devices",
    (SIMULATED, "clip_accuracy"): "simulated, clip",
    (INDEPENDENT, "accuracy"): "independent",
    (INDEPENDENT, "clip_accuracy"): "independent, clip",
    (INDEPENDENT, "macro"): "independent, macro",
}
_DIFFERENCES: Mapping[Key, str] = {
    (OWN, "accuracy"): "difference",
    (OWN, "unseen"): "difference, unseen",
    (SIMULATED, "accuracy"): "difference, simulated",
    (INDEPENDENT, "accuracy"): "difference, independent",
}


def write_tables(folder: Path, plan: Plan, results: Sequence[RowResult], workshop: Workshop) -> str:
    """Write the three files into `folder`; returns the text of `table.md`."""
    text = table(plan, results, workshop)
    write_file(folder / RESULTS, _csv(result_rows(results, workshop)).encode())
    write_file(folder / TABLE, text.encode())
    write_file(folder / TIMES, _csv(_times(plan, workshop)).encode())
    return text


def table(plan: Plan, results: Sequence[RowResult], workshop: Workshop) -> str:
    """The Markdown table of `results` under its question, and below it what the figures are."""
    columns = shown_columns(results)
    differences = [key for key in _DIFFERENCES if any(key in row.differences for row in results)]
    differences = [key for key in differences if key in columns]
    taught = any(cell.teachers_accuracy is not None for row in results for cell in row.cells)
    agree = any(cell.teachers_agreement is not None for row in results for cell in row.cells)
    headers = ["row", *(["teachers"] if taught else []), *(["teachers agree"] if agree else [])]
    headers += [_COLUMNS[key] for key in columns] + [_DIFFERENCES[key] for key in differences] + ["parameters", "MACs"]
    lines = []
    for row in results:
        line: list[Any] = [row.row.name]
        line += [_mean(cell.teachers_accuracy for cell in row.cells)] if taught else []
        line += [_mean(cell.teachers_agreement for cell in row.cells)] if agree else []
        line += [_text(row.estimates.get(key)) for key in columns]
        line += [_text(row.differences.get(key), signed=True) for key in differences]
        lines.append([*line, row.cells[0].parameters, f"{row.cells[0].macs / 1e6:.1f} M"])
    paragraphs = [f"# {plan.grid}", plan.question, format_table(headers, lines), *_notes(plan, workshop, taught, agree)]
    return "\n\n".join(paragraphs) + "\n"


def shown_columns(results: Sequence[RowResult]) -> list[Key]:
    """The metrics that a table of `results` has columns for: those that say something another one does not."""
    columns = [key for key in _COLUMNS if any(key in row.estimates for row in results)]
    groups = [key for key in columns if key[0] == OWN and key[1] in ("real", "seen", "unseen")]
    if len(groups) == 1:  # all devices are of one group: its accuracy is the accuracy
        columns.remove(groups[0])
    for side in (OWN, SIMULATED, INDEPENDENT):
        metrics = [cell.metrics[side] for row in results for cell in row.cells if side in cell.metrics]
        if all(entry["n_clips"] == entry["n"] for entry in metrics) and (side, "clip_accuracy") in columns:
            columns.remove((side, "clip_accuracy"))
    return columns


def result_rows(results: Sequence[RowResult], workshop: Workshop) -> list[dict[str, Any]]:
    """One entry a cell of the rows, with every metric; another side's are called "SIDE METRIC"."""
    data = workshop.own.data
    entries = []
    for row in results:
        for cell in row.cells:
            entry = {
                "row": row.row.name,
                "seed": cell.seed,
                "fold": data.fold_number,
                "split": data.split,
                "cell": cell.folder,
                "kind": cell.cell.kind,
                "arch": cell.arch,
                "settings": " ".join(f"{key}={value}" for key, value in row.row.settings.items()),
                "teachers": " ".join(row.row.members),
                "parameters": cell.parameters,
                "macs": cell.macs,
                "teachers_accuracy": cell.teachers_accuracy,
                "teachers_agreement": cell.teachers_agreement,
            }
            entries.append(entry | _metrics(cell))
    return entries


def _metrics(cell: CellResult) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for side, metrics in cell.metrics.items():
        prefix = "" if side == OWN else f"{side} "
        for name in ("n", "accuracy", "macro", "n_clips", "clip_accuracy", "clip_macro"):
            flat[prefix + name] = metrics[name]
        for group, what in (("groups", "group"), ("per_device", "device"), ("per_scene", "scene")):
            flat |= {f"{prefix}{what} {name}": value for name, value in metrics[group].items()}
    return flat


def _times(plan: Plan, workshop: Workshop) -> list[dict[str, Any]]:
    entries = []
    for cell in plan.cells:
        file = workshop.folder(cell) / METRICS_LOG
        if cell.run is None and file.exists():
            with file.open(newline="") as handle:
                seconds = [float(row["seconds"]) for row in csv.DictReader(handle)]
            spent = {"epochs": len(seconds), "training_s": f"{sum(seconds):.1f}"}
            entries.append({"cell": workshop.folder(cell).name, "what": cell.what, **spent})
    return entries


def _csv(entries: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for entry in entries for key in entry))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for entry in entries:
        values = [entry.get(key) for key in columns]
        writer.writerow([f"{value:.6f}" if isinstance(value, float) else value for value in values])
    return text.getvalue()


def _notes(plan: Plan, workshop: Workshop, taught: bool, agree: bool) -> list[str]:
    seeds = (
        f"Means over the seeds {', '.join(map(str, plan.seeds))}" if len(plan.seeds) > 1 else f"Seed {plan.seeds[0]}"
    )
    also = " and of the seeds" if len(plan.seeds) > 1 else ""
    notes = [
        f"{seeds}; in brackets {100 * LEVEL:g} % intervals from {REPLICATES:,} draws of the recordings{also} "
        "(bootstrap). Accuracies are of 1-s snippets, clip accuracies of whole files."
    ]
    if plan.baseline is not None:
        notes[0] += f" Differences are from {plan.baseline!r}, on the same draws."
    if taught:
        notes[0] += " Teachers: the accuracy of what the row's teachers say together."
    if agree:
        notes[0] += " Teachers agree: how often two of them give the same answer."
    return [*notes, *_lengths(plan), *(_described(side) for side in workshop.sides)]


def _lengths(plan: Plan) -> list[str]:
    """How long was trained: a short training answers nothing, and a table travels without its command."""
    lengths = []
    for kind in ("student", "teacher"):
        epochs = [cell.settings.epochs for cell in plan.cells if cell.settings is not None and cell.kind == kind]
        if epochs:
            upto = f" to {max(epochs)}" if max(epochs) > min(epochs) else ""
            lengths.append(f"{kind}s for {min(epochs)}{upto} epochs")
    return [f"Trained: {', '.join(lengths)}."] if lengths else []


def _described(side: Side) -> str:
    data = side.data
    n_recordings = int(side.recording.max()) + 1
    counted = f"{len(data.evaluate):,} snippets of {len(data.fold.evaluate):,} files, {n_recordings:,} recordings"
    corpus = data.corpus.root.resolve().name
    if side.name == INDEPENDENT:
        return f"Independent: all of {corpus}, {counted}."
    if side.name == SIMULATED:
        return (
            f"Simulated devices: the same files heard through {len(data.cache.devices)} microphones never trained with."
        )
    split = f", training side cut to {data.split} %" if data.split is not None else ""
    return (
        f"Evaluated on fold {data.fold_number} of {corpus}: {counted}; {len(data.train):,} snippets to train on{split}."
    )


def _text(estimate: Estimate | None, signed: bool = False) -> str | None:
    if estimate is None:
        return None
    sign = "+" if signed else ""
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None
