"""From a run to a bundle: the int8 graph, every file of it, the budget, the proof, and what was measured on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..runtime.budget import Budget, LayerCost
from ..runtime.bundle import MANIFEST, Bundle, Quantization, load_bundle, write_bundle
from ..runtime.errors import GateError, InputError
from ..runtime.output import Output
from ..training.batches import TrainingData
from ..training.models.counts import layer_costs, totals
from ..training.run import WEIGHTS, Run
from .card import write_card
from .clips import Clips
from .conversion import Conversion, ExportOptions, convert
from .explain.forms import Form, predictor
from .explain.steps import Waterfall
from .explain.waterfall import measure_waterfall
from .formats.metadata import Metadata
from .formats.onnx_writer import write_onnx
from .formats.tflite_writer import write_tflite
from .graph import Graph
from .lint.verdict import TargetLint
from .quantization.fake_quant import GraphNet, dequantized
from .report.document import FILE, report_of, write_measurements
from .report.measure import explain_on, gather, lint_of
from .report.summary import scores
from .verification.golden import Twins, choose_clips, dump_golden, make_golden
from .verification.traces import float_trace, rounded_trace
from .verification.verify import Check, passed, verify_bundle


@dataclass(frozen=True)
class Sizes:
    """What the artefact costs; the first two in the unfolded convention that training counts in."""

    parameters: int
    macs: int
    artefact_parameters: int
    artefact_macs: int
    weight_bytes: int
    peak_activation_bytes: int
    ops: int
    tflite_bytes: int
    onnx_bytes: int
    onnx_float_bytes: int


@dataclass(frozen=True, eq=False)
class Exported:
    """A finished bundle with what was found while making it."""

    bundle: Bundle
    sizes: Sizes
    checks: list[Check]
    waterfall: Waterfall | None
    lints: list[TargetLint] | None


@dataclass(frozen=True, eq=False)
class _Draft:
    """All of a bundle but what is measured on it."""

    name: str
    artefact: Conversion
    sizes: Sizes
    budget: Budget | None
    files: Mapping[str, bytes]
    exported: str


def export(
    run: Run,
    out: Path,
    clips: Clips,
    options: ExportOptions,
    output: Output,
    data: TrainingData | None = None,
    max_drop: float | None = None,
) -> Exported:
    """Make the bundle of `run` at `out`, whole and verified, or not at all.

    With `data` every engine is scored on its evaluation side, and every layer explained. Raises `GateError` when the
    artefact breaks the budget, an engine disagrees with the golden vectors, or int8 loses more than `max_drop` of the
    float network's accuracy (a fraction); an older bundle at `out` is then left as it was.
    """
    if out.exists() and not (out / MANIFEST).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not a bundle: choose another --out")
    artefact = convert(run, clips, options)
    spec = run.frontend
    unfolded = layer_costs(artefact.model, spec.n_mels, spec.n_frames())
    check_budget(unfolded, artefact.graph.costs(), options.budget)
    metadata = Metadata(run.labels, spec)
    files = {
        "model.tflite": write_tflite(artefact.graph, metadata),
        "model.onnx": write_onnx(artefact.graph, metadata),
        "model_float.onnx": write_onnx(artefact.float_graph, metadata),
    }
    sizes = _sizes(unfolded, artefact.graph, files)
    files["golden.npz"] = _golden(artefact, clips, files["model.tflite"])
    exported = datetime.now(timezone.utc).isoformat(timespec="seconds")
    draft = _Draft(out.name, artefact, sizes, options.budget, files, exported)
    # Everything is proved in a folder beside `out` first, so that `out` only ever holds a bundle that passed.
    trial = out.with_name(f".{out.name}.{os.getpid()}.trial")
    try:
        bundle = _write(trial, draft)
        checks = verify_bundle(bundle)
        if not passed(checks):
            failed = "; ".join(f"{check.name}: {check.detail}" for check in checks if check.passed is False)
            raise GateError(f"the bundle was not written, its verification failed: {failed}")
        waterfall = explanation = None
        if data is not None:
            waterfall = measure_waterfall(bundle, data, output, graph=artefact.graph, floats=[_float_form(artefact)])
            if max_drop is not None:
                waterfall.check_drop(max_drop)
            explanation = explain_on(bundle, artefact.graph, data, output)
        lints = lint_of(files["model.tflite"], output)
        report = report_of(bundle, gather(checks, waterfall, explanation, lints))
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    _write(out, draft, report)
    return Exported(load_bundle(out), sizes, checks, waterfall, lints)


def check_budget(unfolded: list[LayerCost], artefact: list[LayerCost], budget: Budget | None) -> None:
    """Raise `GateError` when `budget` is broken, in the unfolded convention or by the artefact's own plain counts."""
    if budget is not None:
        fix = "train a narrower student (a smaller base_channels)"
        budget.check(unfolded, fix)
        budget.check(artefact, fix)


def _float_form(artefact: Conversion) -> Form:
    run = artefact.run
    name = f"float, torch ({run.path.name})"
    return Form("float", name, run.labels, run.frontend, None, lambda: predictor(artefact.model))


def _golden(artefact: Conversion, clips: Clips, model: bytes) -> bytes:
    float_logits = predictor(artefact.model)
    waves = clips.wave[choose_clips(float_logits(clips.log_mel))]
    exact = predictor(GraphNet(dequantized(artefact.graph)))
    twins = Twins(float_logits, exact, float_trace(artefact.float_graph), rounded_trace(artefact.graph))
    run = artefact.run
    return dump_golden(make_golden(waves, run.frontend, run.labels, artefact.graph, model, twins))


def _sizes(unfolded: list[LayerCost], graph: Graph, files: Mapping[str, bytes]) -> Sizes:
    parameters, macs = totals(unfolded)
    plain = graph.costs()
    return Sizes(
        parameters=parameters,
        macs=macs,
        artefact_parameters=sum(cost.parameters for cost in plain),
        artefact_macs=sum(cost.macs for cost in plain),
        weight_bytes=sum(cost.weight_bytes for cost in plain),
        peak_activation_bytes=graph.peak_activation_bytes(),
        ops=len(graph.ops),
        tflite_bytes=len(files["model.tflite"]),
        onnx_bytes=len(files["model.onnx"]),
        onnx_float_bytes=len(files["model_float.onnx"]),
    )


def _write(path: Path, draft: _Draft, report: Mapping[str, Any] | None = None) -> Bundle:
    """Write the bundle; with its `report` whole, with scores and card, else only what can be measured."""
    run, graph = draft.artefact.run, draft.artefact.graph
    provenance: dict[str, Any] = {
        "run": run.path.name,
        "run_kind": run.kind,
        "weights_sha256": run.files[WEIGHTS],
        "training": dict(run.provenance),
        "calibration": draft.artefact.calibration,
        "versions": {
            package: version(package) for package in ("tinyscene", "torch", "numpy", "onnx", "ai-edge-litert")
        },
        "exported": draft.exported,
    }
    files = dict(draft.files)
    if report is not None:
        provenance["verified"] = report["verification"]
        files |= {FILE: write_measurements(report), "README.md": write_card(report).encode()}
    budget = draft.budget
    return write_bundle(
        path,
        name=draft.name,
        labels=run.labels,
        frontend=run.frontend,
        quantization=Quantization(
            graph.input_quant.scale,
            graph.input_quant.zero_point,
            graph.output_quant.scale,
            graph.output_quant.zero_point,
            draft.artefact.method,
        ),
        model={"arch": run.arch, "arguments": dict(draft.artefact.arguments), **asdict(draft.sizes)},
        budget={"preset": None} if budget is None else {"preset": budget.name, **asdict(budget)},
        metrics={} if report is None else scores(report["waterfall"]),
        provenance=provenance,
        files=files,
    )
