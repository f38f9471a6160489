"""Coral's `edgetpu_compiler`: run when it is on the PATH, and its log read. A closed x86-64 binary, never required."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from .child import run_tool
from .operators import ModelView
from .verdict import RUNS, TargetLint, Tool

PROGRAM = "edgetpu_compiler"

INSTALL = "`apt-get install edgetpu-compiler` on x86-64 Debian, from Coral's package source (coral-edgetpu-stable)"

MAPPED = "Mapped to Edge TPU"

_ROW = re.compile(r"^\s*([A-Z][A-Z0-9_]+)\s+(\d+)\s+(\S.*?)\s*$")

_FIGURES = {
    "compiler_version": r"Edge TPU Compiler version (\S+)",
    "tpu_subgraphs": r"Number of Edge TPU subgraphs: (\d+)",
    "on_chip_cached": r"On-chip memory used for caching model parameters: (\S+)",
    "on_chip_left": r"On-chip memory remaining for caching model parameters: (\S+)",
    "off_chip_streamed": r"Off-chip memory used for streaming uncached model parameters: (\S+)",
    "tpu_operations": r"Number of operations that will run on Edge TPU: (\d+)",
    "cpu_operations": r"Number of operations that will run on CPU: (\d+)",
    "operations": r"Total number of operations: (\d+)",
}


def ask(lint: TargetLint, view: ModelView) -> TargetLint:
    """`lint` with what the compiler says of the model, and a note where the two disagree."""
    program = shutil.which(PROGRAM)
    if view.data is None:
        return lint
    if program is None:
        return replace(lint, tool=Tool(PROGRAM, "not installed", install=INSTALL))
    with tempfile.TemporaryDirectory(prefix="tinyscene-edgetpu-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(view.data)
        ended = run_tool([program, "-s", "-o", str(folder), "model.tflite"], folder)
    figures = read_log(ended.text)
    failure = re.search(r"^(?:ERROR|Compilation failed|Invalid model): ?(.*)$", ended.text, re.MULTILINE)
    if ended.status != 0 or not figures["operators"]:
        reason = failure.group(0).strip() if failure else ended.ending()
        return replace(lint, tool=Tool(PROGRAM, "failed", reason, False, figures))
    on_cpu = sum(row["count"] for row in figures["operators"] if row["status"] != MAPPED)
    total = sum(row["count"] for row in figures["operators"])
    off_chip = figures.get("off_chip_streamed", "unknown")
    detail = f"{total - on_cpu} of {total} operators mapped, weights off chip: {off_chip}"
    tool = Tool(PROGRAM, "run", detail, on_cpu == 0, figures)
    return replace(lint, tool=tool, notes=(*lint.notes, *_disagreements(lint, figures["operators"])))


def read_log(text: str) -> dict[str, Any]:
    """Figures of a compiler log: memory as it is printed, counts as numbers, and a row for each kind and status."""
    figures: dict[str, Any] = {}
    for key, pattern in _FIGURES.items():
        if found := re.search(pattern, text):
            value = found.group(1)
            figures[key] = int(value) if value.isdigit() else value
    rows = []
    listed = False
    for line in text.splitlines():
        if re.match(r"\s*Operator\s+Count\s+Status", line):
            listed = True
        elif listed and (row := _ROW.match(line)):
            rows.append({"kind": row.group(1), "count": int(row.group(2)), "status": row.group(3)})
    figures["operators"] = rows
    return figures


def _disagreements(lint: TargetLint, rows: list[dict[str, Any]]) -> list[str]:
    expected = Counter(op.kind for op in lint.ops if op.status == RUNS)
    mapped: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    for row in rows:
        if row["status"] == MAPPED:
            mapped[row["kind"]] += row["count"]
        else:
            reasons[row["kind"]] = row["status"]
    return [
        f"{PROGRAM} mapped {mapped[kind]} {kind} where these rules expect {expected[kind]}: it has the last word"
        + (f" ({reasons[kind]})" if kind in reasons else "")
        for kind in sorted(set(expected) | set(mapped))
        if expected[kind] != mapped[kind]
    ]
