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
    {"name": "MACs", "title": "multiply-accumulates, the bar against the largest layer", "plot": True},
    {"name": "%", "title": "share of the network's multiply-accumulates", "number": True},
    {"name": "weight bytes", "title": "int8 weights and their biases", "number": True},
)

_NOISE = (
    {"name": "signal to noise", "title": "float against int8 at this tensor, all noise so far", "plot": True},
    {"name": "dB", "title": "the same in decibels", "number": True},
    {"name": "own", "title": "only what this op adds", "number": True},
    {"name": "clipped", "title": "share of the values outside of the int8 range", "number": True},
    {"name": "used", "title": "share of the int8 range that any value reaches", "number": True},
    {"name": "alone int8", "title": "logits when only this op is int8: low is sensitive", "number": True},
    {"name": "alone float", "title": "logits when only this op is float: high gains", "number": True},
)  # fmt: skip


def explanation_view(explanation: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The advice, and the whole network in a sentence."""
    if explanation is None:
        return None
    advice = [
        {"tone": _TONES.get(line["level"], PLAIN), "text": line["finding"], "command": line["command"]}
        for line in explanation["advice"]
    ]
    forms = [{"name": name, **_effect(effect)} for name, effect in explanation["forms"].items()]
    text = (
        f"Measured on {explanation['clips']:,} clips ({explanation['origin']}) against {explanation['float_twin']}; "
        "ratios are signal to quantisation noise."
    )
    return {"recommendations": advice, "text": text, "forms": forms, "blocks": _blocks(explanation)}


def _effect(effect: Mapping[str, Any]) -> dict[str, str]:
    return {"agreement": percent(effect["agreement"]), "ratio": f"{effect['logit_db']:.1f}"}


def _blocks(explanation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Blocks from the noisiest on, each with what 16 bits for it and those before come to."""
    reached = {step["blocks"][-1]: step["effect"] for step in explanation["widening"]}
    blocks = sorted(explanation["blocks"], key=lambda block: -block["share"])
    largest = max((block["share"] for block in blocks), default=0) or 1
    return [
        {
            "name": block["name"],
            "strip": bar(block["share"] / largest, label=percent(block["share"])),
            "share": percent(block["share"], 0),
            "wide": percent(reached[block["name"]]["agreement"]) if block["name"] in reached else "–",
        }
        for block in blocks
    ]


def layers_view(report: Mapping[str, Any]) -> dict[str, Any]:
    """The table of layers; columns of noise only where it was measured."""
    explanation = report["explanation"]
    heads = [*_COST, *(() if explanation is None else _NOISE)]
    tensors = {} if explanation is None else {entry["name"]: entry for entry in explanation["tensors"]}
    sensitive = {} if explanation is None else {entry["name"]: entry for entry in explanation["layers"]}
    weakest = _weakest(sensitive.values())
    total = sum(layer["macs"] for layer in report["layers"]) or 1
    most = max(layer["macs"] for layer in report["layers"]) or 1
    rows = []
    for layer in report["layers"]:
        share = layer["macs"] / total
        label = f"{layer['macs']:,} MACs, {percent(share)}"
        cells = [
            _text("×".join(str(side) for side in layer["shape"][1:])),
            {"plot": bar(layer["macs"] / most, label=label)} if layer["macs"] else _text(""),
            _text(f"{100 * share:.1f}" if layer["macs"] else ""),
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
