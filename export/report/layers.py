"""The page's views of single layers: one table of cost and quantisation noise, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .plots import bar
from .summary import GOOD, LOOK, PLAIN, percent

#: A strip's end for signal-to-noise ratios: what int8 activations reach at best.
FULL_DB = 45.0

#: Below this a tensor's noise is an eighth of its signal's amplitude or more.
WEAK_DB = 18.0

_TONES = {"good": GOOD, "note": PLAIN, "act": LOOK}

_COST = (
    {"name": "output", "title": "shape of the result: frequency, time, channels", "number": True},
    {"name": "MACs", "title": "share of the network's multiply-accumulates", "plot": True},
    {"name": "weights, bytes", "title": "int8 weights and their biases", "number": True},
)

_NOISE = (
    {"name": "signal to noise", "title": "float against int8 at this tensor, all noise so far", "plot": True},
    {"name": "dB", "title": "the same in decibels", "number": True},
    {"name": "own dB", "title": "only what this op adds", "number": True},
    {"name": "clipped", "title": "share of the values outside of the int8 range", "number": True},
    {"name": "range used", "title": "share of the int8 range that any value reaches", "number": True},
    {"name": "alone in int8, dB", "title": "logits when only this op is int8: low is sensitive", "number": True},
    {"name": "alone in float, dB", "title": "logits when only this op is float: high gains", "number": True},
)  # fmt: skip


def explanation_view(explanation: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The advice, and the whole network in a sentence."""
    if explanation is None:
        return None
    advice = [
        {"tone": _TONES.get(line["level"], PLAIN), "text": line["finding"], "command": line["command"]}
        for line in explanation["advice"]
    ]
    forms = "; ".join(
        f"{name}: {percent(effect['agreement'])} the same answers, logits {effect['logit_db']:.1f} dB"
        for name, effect in explanation["forms"].items()
    )
    measured = f"{explanation['clips']:,} clips ({explanation['origin']})"
    text = f"Measured on {measured} against {explanation['float_twin']}. {forms}."
    return {"recommendations": advice, "text": text}


def layers_view(report: Mapping[str, Any]) -> dict[str, Any]:
    """The table of layers; columns of noise only where it was measured."""
    explanation = report["explanation"]
    heads = [*_COST, *(() if explanation is None else _NOISE)]
    tensors = {} if explanation is None else {entry["name"]: entry for entry in explanation["tensors"]}
    sensitive = {} if explanation is None else {entry["name"]: entry for entry in explanation["layers"]}
    weakest = _weakest(sensitive.values())
    total = sum(layer["macs"] for layer in report["layers"]) or 1
    rows = []
    for layer in report["layers"]:
        share = layer["macs"] / total
        label = f"{layer['macs']:,} MACs, {percent(share)}"
        cells = [
            _text("×".join(str(side) for side in layer["shape"][1:])),
            {"plot": bar(share, label=label)},
            _text(f"{layer['weight_bytes']:,}" if layer["weight_bytes"] else ""),
        ]
        if explanation is not None:
            cells += _noise(tensors.get(layer["name"]), sensitive.get(layer["name"]), weakest)
        kind = layer["kind"] if layer["bits"] in (8, None) else f"{layer['kind']} int{layer['bits']}"
        rows.append({"name": layer["name"], "kind": kind.lower().replace("_2d", ""), "cells": cells})
    return {"heads": [{"plot": False, "number": False, **head} for head in heads], "rows": rows}


def _weakest(layers: Any) -> float:
    """The third lowest ratio of an op alone in int8: at or below it an op is marked."""
    ratios = sorted(entry["alone"]["logit_db"] for entry in layers)
    return ratios[2] if len(ratios) > 5 else float("-inf")


def _noise(
    tensor: Mapping[str, Any] | None, layer: Mapping[str, Any] | None, weakest: float
) -> Sequence[dict[str, Any]]:
    if tensor is None:
        return [_text("")] * len(_NOISE)
    ratio = tensor["total_db"]
    strip = bar(max(ratio, 0.0) / FULL_DB, "weak" if ratio < WEAK_DB else "bar", f"{ratio:.1f} dB")
    cells = [
        {"plot": strip},
        _text(f"{ratio:.1f}", LOOK if ratio < WEAK_DB else ""),
        _text(f"{tensor['own_db']:.1f}"),
        _text(percent(tensor["saturated"], 2), LOOK if tensor["saturated"] > 0.01 else ""),
        _text(percent(tensor["used"], 0)),
    ]
    if layer is None:
        return [*cells, _text(""), _text("")]
    alone, restored = layer["alone"]["logit_db"], layer["restored"]["logit_db"]
    return [*cells, _text(f"{alone:.1f}", LOOK if alone <= weakest else ""), _text(f"{restored:.1f}")]


def _text(text: str, tone: str = "") -> dict[str, Any]:
    return {"text": text, "tone": tone, "plot": None}
