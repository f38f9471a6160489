"""The page's views of cost: the budget, the sizes, activation memory, and where the bundle comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .plots import bar, columns
from .summary import budget_rows

_SIZES = (
    ("model.tflite", "tflite_bytes"),
    ("model.onnx", "onnx_bytes"),
    ("model_float.onnx", "onnx_float_bytes"),
    ("weights and biases", "weight_bytes"),
    ("activations at most", "peak_activation_bytes"),
)

#: How the two columns of the budget are counted.
BUDGET_NOTE = (
    "As trained: batch norm as layers of their own, as the challenges count. As deployed: batch norm folded, the "
    "counts of model.tflite. The red line is the limit; the larger of the two counts has to keep it."
)


def number(value: Any, unit: str = "") -> str:
    """A count with separators, a dash where there is none."""
    return "–" if value is None else f"{value:,}{unit and ' ' + unit}"


def kib(value: int | None) -> str:
    """Bytes as kibibytes."""
    return "–" if value is None else f"{value / 1024:,.1f} KiB"


def budget_view(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One bar for each quantity of the budget, of the larger of the two counts."""
    rows = []
    for row in budget_rows(report):
        counted = max(row["trained"] or 0, row["deployed"] or 0)
        share = counted / row["limit"] if row["limit"] else None
        style = "bar" if share is None or share <= 1 else "weak"
        # A budget that is broken shows by how much: the limit then lies within the bar.
        full = max(share or 0, 1.0)
        strip = bar(None if share is None else share / full, style, marker=None if share is None else 1.0 / full)
        cells = {key: number(row[key]) for key in ("trained", "deployed", "limit")}
        rows.append({"name": row["name"], "strip": strip, **cells})
    return rows


def sizes_view(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Bytes of the files, of weights and of activations."""
    sizes = report["sizes"]
    return [(name, kib(sizes.get(key))) for name, key in _SIZES]


def memory_view(report: Mapping[str, Any]) -> dict[str, Any]:
    """Activation memory while each op runs."""
    layers = report["layers"]
    values, names = [layer["live_bytes"] for layer in layers], [layer["name"] for layer in layers]
    top = max(layers, key=lambda layer: layer["live_bytes"])
    where = f"{kib(top['live_bytes'])} at {top['name']}"
    text = f"Layer by layer, no buffer reused in place: {where}. An interpreter adds what it keeps for itself."
    return {"text": text, "plot": columns(values, names, "bytes")}


def origin_view(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Run, data, calibration, versions, machine."""
    bundle, machine = report["bundle"], report["machine"]
    provenance = bundle["provenance"]
    training = provenance.get("training", {})
    versions = ", ".join(f"{package} {version}" for package, version in provenance.get("versions", {}).items())
    arguments = ", ".join(f"{key}={value}" for key, value in bundle["arguments"].items())
    made = {"qat": "quantisation-aware fine-tuning", "ptq": "calibration alone (post-training)"}
    facts = [
        ("network", f"{bundle['arch']} ({arguments})"),
        ("scenes", ", ".join(bundle["labels"])),
        ("int8 by", made.get(bundle["method"], bundle["method"])),
        ("run", f"{provenance.get('run', '–')} ({provenance.get('run_kind', '–')})"),
        ("trained on", training.get("data") or training.get("imported_from") or "–"),
        ("calibrated on", provenance.get("calibration", "–")),
        ("weights, SHA-256", provenance.get("weights_sha256", "–")),
        ("exported", provenance.get("exported", "–")),
        ("made with", versions or "–"),
    ]
    if machine is not None:
        system = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, {machine['date']}"
        facts.append(("measured on", system))
    return [(name, str(value)) for name, value in facts]


def frontend_view(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every field of the contract, and its hash."""
    bundle = report["bundle"]
    return [*((key, f"{value}") for key, value in bundle["frontend"].items()), ("hash", bundle["frontend_hash"])]


def files_view(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """The bundle's files with their hashes."""
    files = report["bundle"]["files"]
    return [{"name": name, "bytes": number(f["bytes"]), "sha256": f["sha256"]} for name, f in files.items()]
