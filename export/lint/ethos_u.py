"""Arm's Ethos-U: what runs on the NPU, and, when Vela is installed, its own answer and its estimate of the cost.

Without Vela the verdict is by its list of operators (`vela --supported-ops-report`, 5.2, Ethos-U55 and U65) and element
types alone. With it the compiler runs in a child process and has the last word.
"""

from __future__ import annotations

import csv
import importlib.util
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from .child import Finished, run_tool
from .fixes import STATIC, for_float, instead_of
from .operators import ModelView, Operator
from .verdict import FALLS_BACK, REFUSED, RUNS, TargetLint, Tool, Verdict, judged

KEY = "ethos-u"
TITLE = "Arm Ethos-U"

ACCELERATORS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)
DEFAULT_ACCELERATOR = "ethos-u55-128"

INSTALL = "`pip install ethos-u-vela` (in tinyscene's extra 'micro')"

_LISTED = (
    "ABS ADD ARG_MAX AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D ELU EXP "
    "EXPAND_DIMS FULLY_CONNECTED GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM "
    "MIRROR_PAD MUL NEG PACK PAD PADV2 PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_0_TO_1 "
    "RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RSQRT SLICE SOFTMAX SPLIT "
    "SPLIT_V SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV "
    "UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK "
)
LISTED = frozenset(_LISTED.split())

_WARNING = re.compile(r"operator: (\S+), ofm: '(.*)'\s*\nReason: (.*)")

#: Columns of Vela's summary, and what they are called here; memory is in KiB there.
_MEMORY = {
    "sram_memory_used": "sram_bytes",
    "dram_memory_used": "dram_bytes",
    "on_chip_flash_memory_used": "on_chip_flash_bytes",
    "off_chip_flash_memory_used": "off_chip_flash_bytes",
}
_COUNTS = {
    "nn_macs": "macs",
    "cycles_npu": "npu_cycles",
    "cycles_total": "cycles",
    "total_npu_encoded_weights": "encoded_weight_bytes",
}


def lint(view: ModelView) -> TargetLint:
    """What the NPU runs of `view` by Vela's list; the rest falls back to the Cortex-M beside it."""
    return TargetLint(
        KEY, TITLE, tuple(judged(operator, _verdict(operator)) for operator in view.operators), view.notes
    )


def ask(lint: TargetLint, view: ModelView, accelerator: str = DEFAULT_ACCELERATOR) -> TargetLint:
    """`lint` as Vela sees it for `accelerator`, with its estimate; the rules' own verdict where Vela is missing."""
    if view.data is None:
        return lint
    if importlib.util.find_spec("ethosu") is None:
        return replace(lint, tool=Tool("vela", "not installed", install=INSTALL))
    with tempfile.TemporaryDirectory(prefix="tinyscene-vela-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(view.data)
        options = ["--accelerator-config", accelerator, "--output-dir", str(folder), "--show-cpu-operations"]
        ended = run_tool([sys.executable, "-m", "ethosu.vela", "model.tflite", *options], folder)
        summary = _summary(folder)
    if ended.status != 0 or summary is None:
        return replace(lint, tool=Tool("vela", "failed", ended.ending(), False, {"accelerator": accelerator}))
    figures = {"accelerator": accelerator, **_figures(summary)}
    return _settled(lint, ended, figures)


def _settled(lint: TargetLint, ended: Finished, figures: dict[str, Any]) -> TargetLint:
    """`lint` with each operator's verdict as Vela gave it: it warns of each operator that it leaves to the CPU."""
    # A reason ends in the tensor's name in brackets; without it, what breaks one rule is one row.
    reasons = {name: re.sub(r" \(.*\)$", "", reason.strip()) for _, name, reason in _WARNING.findall(ended.text)}
    ops = []
    for op in lint.ops:
        if op.name in reasons:
            fix = op.fix or instead_of(op.kind)
            ops.append(replace(op, status=FALLS_BACK, rule=f"vela: {reasons[op.name]}", fix=fix))
        else:
            ops.append(op if op.status == REFUSED else replace(op, status=RUNS, rule="", fix=""))
    on_cpu = sum(op.status != RUNS for op in ops)
    # Vela splits and joins operators, so its own count is not the file's.
    printed = re.search(r"CPU operators = (\d+)", ended.text)
    figures["cpu_operators"] = int(printed.group(1)) if printed else on_cpu
    detail = f"{figures['accelerator']}, {figures['sram_bytes'] / 1024:.0f} KiB SRAM"
    if figures["inference_ms"]:
        detail += f", {figures['inference_ms']:.2f} ms at {figures['clock_mhz']:.0f} MHz (estimate)"
    tool = Tool("vela", "run", detail, figures["cpu_operators"] == 0, figures)
    return replace(lint, ops=tuple(ops), tool=tool)


def _summary(folder: Path) -> dict[str, str] | None:
    for file in folder.glob("*_summary_*.csv"):
        with file.open(newline="") as lines:
            return next(csv.DictReader(lines), None)
    return None


def _figures(row: dict[str, str]) -> dict[str, Any]:
    """Vela's summary with its units: bytes, cycles, milliseconds, 1/s; estimates, not measurements."""

    def number(column: str) -> float:
        try:
            return float(row[column])
        except (KeyError, TypeError, ValueError):
            return 0.0

    return {
        **{ours: round(1024 * number(theirs)) for theirs, ours in _MEMORY.items()},
        **{ours: round(number(theirs)) for theirs, ours in _COUNTS.items()},
        "clock_mhz": number("core_clock") / 1e6,
        "inference_ms": 1e3 * number("inference_time"),
        "inferences_per_s": number("inferences_per_second"),
        "system_config": row.get("system_config", ""),
        "memory_mode": row.get("memory_mode", ""),
    }


def _verdict(operator: Operator) -> Verdict:
    if operator.trouble is not None:
        return Verdict(REFUSED, *operator.trouble)
    if operator.kind not in LISTED:
        return Verdict(FALLS_BACK, f"{operator.kind} is not on Vela's list", instead_of(operator.kind))
    for operand in operator.activations:
        if operand.dynamic:
            return Verdict(FALLS_BACK, "a tensor has no fixed shape", STATIC)
        if operand.dtype not in ("int8", "uint8", "int16", "int32"):
            return Verdict(
                FALLS_BACK, f"{operand.dtype} activations: the NPU takes integers only", for_float(operator.kind)
            )
    return Verdict(RUNS)
