"""The report as a plain dict, `tinyscene.report/1`: what the page, the model card and `--json` are all made from.

What a bundle's manifest and its model say is always read anew; what has to be measured (verification, waterfall,
explanation, lint) comes from `report.json` in the bundle, or from a measurement that was just made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...runtime.bundle import Bundle
from ...runtime.errors import InputError
from ..formats.tflite_reader import read_tflite
from ..graph import Graph

SCHEMA = "tinyscene.report/1"

#: The report's file in a bundle: the measured part, and the machine that it was measured on.
FILE = "report.json"

#: What is measured, and the type that its entry has; each is None where it was not measured.
MEASURED: Mapping[str, type] = {
    "verification": list,
    "waterfall": dict,
    "explanation": dict,
    "lint": list,
    "machine": dict,
}

#: Numbers of the manifest's model entry that are sizes of the artefact.
SIZES = (
    "parameters",
    "macs",
    "artefact_parameters",
    "artefact_macs",
    "weight_bytes",
    "peak_activation_bytes",
    "ops",
    "tflite_bytes",
    "onnx_bytes",
    "onnx_float_bytes",
)

_MAX_BYTES = 16 << 20


def report_of(bundle: Bundle, measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The report on `bundle` with what was `measured`, by default what its export stored in it.

    Raises `InputError` when the stored part or the manifest is not what this program writes.
    """
    path = bundle.file("model.tflite")
    graph = read_tflite(path.read_bytes(), str(path))
    stored = stored_measurements(bundle) if measured is None else measured
    entry = {
        "name": bundle.name,
        "labels": list(bundle.labels),
        "method": bundle.quantization.method,
        "arch": str(bundle.model.get("arch", "unknown")),
        "arguments": dict(bundle.model.get("arguments", {})),
        "frontend": bundle.frontend.to_dict(),
        "frontend_hash": bundle.frontend.hash(),
        "quantization": vars(bundle.quantization),
        "provenance": {key: value for key, value in bundle.provenance.items() if key != "verified"},
        "files": {
            name: {"sha256": digest, "bytes": (bundle.path / name).stat().st_size}
            for name, digest in bundle.files.items()
            if name not in (FILE, "README.md")  # they are made from the report
        },
    }
    return {
        "schema": SCHEMA,
        "bundle": entry,
        "budget": dict(bundle.budget),
        "sizes": {key: bundle.model.get(key) for key in SIZES},
        "layers": layers_of(graph),
        **{key: stored.get(key) for key in MEASURED},
    }


def layers_of(graph: Graph) -> list[dict[str, Any]]:
    """What each op of `graph` costs, in running order, and how it is quantised."""
    costs = {cost.name: cost for cost in graph.costs()}
    layers = []
    for op, live in zip(graph.ops, graph.live_activation_bytes(), strict=True):
        tensor, cost = graph.tensor[op.output], costs.get(op.name)
        layers.append(
            {
                "name": op.name,
                "kind": op.kind,
                "shape": list(tensor.shape),
                "bits": None if tensor.quant is None else tensor.quant.bits,
                "scale": None if tensor.quant is None else tensor.quant.scale,
                "zero_point": None if tensor.quant is None else tensor.quant.zero_point,
                "parameters": 0 if cost is None else cost.parameters,
                "macs": 0 if cost is None else cost.macs,
                "weight_bytes": 0 if cost is None else cost.weight_bytes,
                "live_bytes": live,
            }
        )
    return layers


def stored_measurements(bundle: Bundle) -> dict[str, Any]:
    """What the export of `bundle` measured; without a `report.json` only the verification that its manifest records."""
    if FILE in bundle.files:
        path = bundle.file(FILE)
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path} is larger than {_MAX_BYTES:,} bytes: not a report")
        return read_measurements(path.read_bytes(), str(path))
    verified = bundle.provenance.get("verified")
    return {"verification": verified if isinstance(verified, list) and verified else None}


def read_measurements(data: bytes, where: str) -> dict[str, Any]:
    """The measured part of a report from JSON `data`; raises `InputError` when it is none."""
    advice = "measure anew with `tinyscene report BUNDLE --data DIR`"
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid JSON ({error}): {advice}") from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise InputError(f"{where} is not a report of schema {SCHEMA!r}: {advice}")
    for key, kind in MEASURED.items():
        if values.get(key) is not None and not isinstance(values[key], kind):
            raise InputError(f"{where}: {key!r} is not a {kind.__name__}: {advice}")
    return {key: values.get(key) for key in MEASURED}


def write_measurements(measured: Mapping[str, Any]) -> bytes:
    """The measured part as `report.json`; the rest of a report is in the bundle anyway."""
    values = {"schema": SCHEMA, **{key: measured.get(key) for key in MEASURED}}
    return (json.dumps(values, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()
