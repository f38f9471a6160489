"""The measured part of a report: verification, waterfall, explanation, lint, and the machine they ran on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.bundle import Bundle
from ...runtime.errors import TinysceneError
from ...runtime.machine.identity import machine
from ...runtime.output import Output, plain
from ..graph import Graph
from ..verification.check import Check

if TYPE_CHECKING:
    from ...training.batches import TrainingData
    from ..explain.explain import Explanation
    from ..explain.steps import Waterfall
    from ..lint.verdict import TargetLint

#: Evaluation snippets that a report explains layers with: enough to tell them apart, seconds to run.
CLIPS = 64


def gather(
    checks: Sequence[Check],
    waterfall: Waterfall | None,
    explanation: Explanation | None,
    lints: Sequence[TargetLint] | None,
) -> dict[str, Any]:
    """What was found as the plain values of a report."""
    values: Mapping[str, Any] = {
        "verification": [asdict(check) for check in checks],
        "waterfall": None if waterfall is None else waterfall.to_dict(),
        "explanation": None if explanation is None else explanation.to_dict(),
        "lint": None if lints is None else [lint.to_dict() for lint in lints],
        "machine": machine(),
    }
    gathered: dict[str, Any] = plain(values)
    return gathered


def explain_on(bundle: Bundle, graph: Graph, data: TrainingData, output: Output) -> Explanation:
    """The explanation of a bundle's `graph` on `CLIPS` evaluation snippets of `data`, evenly spread."""
    from ..clips import log_mels
    from ..explain.explain import explain
    from ..explain.twin import float_twin

    indices = data.evaluate
    if len(indices) > CLIPS:
        indices = indices[np.linspace(0, len(indices) - 1, CLIPS).astype(int)]
    output.log(f"explaining layers on {len(indices)} snippets")
    origin = f"evaluation side of {data.corpus.root.resolve().name}, fold {data.fold_number}"
    twin = float_twin(graph, bundle.file("model_float.onnx").read_bytes())
    mels = log_mels(data.cache.rows(indices), bundle.frontend)
    return explain(graph, twin, mels, output, model="BUNDLE", method=bundle.quantization.method, origin=origin)


def lint_of(model: bytes, output: Output) -> list[TargetLint] | None:
    """The lint of every target; None, with a line on stderr, where it fails, for a report can do without it."""
    from ..lint.targets import lint_model

    output.log("asking every target which ops it runs")
    try:
        return lint_model(model)
    except TinysceneError as error:
        output.log(f"no lint: {error}")
        return None
