"""What the figures of an explanation mean, in words, each with the command that acts on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..graph import Graph
from .noise import FEW_STEPS, TensorNoise
from .sensitivity import Effect, LayerSensitivity, Widening

#: Expected agreement (`sensitivity.Effect`) from which an int8 network is called fine. It lies within a point of
#: what a thousand clips count, so that this allows for the .985 that the project holds its own models to.
FINE = 0.975

#: A gain of less than this is not worth a change: a fifth of the noise.
_GAIN_DB = 1.0

#: Layers that bring less than this share of the noise are not named.
_SHARE = 0.03

#: What is worth knowing, and what is worth doing.
Level = Literal["note", "act"]


@dataclass(frozen=True)
class Advice:
    """One thing that was found, in words, and the command that acts on it; BUNDLE, RUN and DIR stand for the user's."""

    level: Literal["good", "note", "act"]
    finding: str
    command: str | None = None

    def text(self) -> str:
        """The advice as one line."""
        return f"{self.level + ':':<5} {self.finding}" + ("" if self.command is None else f": `{self.command}`")


def advise(
    graph: Graph,
    float_weights: bool,
    forms: Mapping[str, Effect],
    tensors: Sequence[TensorNoise],
    layers: Sequence[LayerSensitivity],
    widening: Sequence[Widening],
    method: str | None,
) -> Iterator[Advice]:
    """Advice on what was measured, the whole network first; the arguments are those of `explain.Explanation`.

    `method` is how the network was quantised: "qat", "ptq", or None for a file of which that is not known.
    """
    int8 = forms["int8"]
    fine = int8.expected >= FINE
    yield Advice(
        "good" if fine else "act",
        f"int8 answers as float on {100 * int8.agreement:.1f} % of these clips, {100 * int8.expected:.1f} % are to be "
        f"expected of others (logits at {int8.logit_db:.0f} dB)",
    )
    level: Level = "note" if fine else "act"
    weights = _weight_share(forms) if float_weights else 0.0
    if float_weights:
        yield Advice("note", _cause(weights))
    else:
        yield Advice("note", "what the rounding of weights costs is not counted: the float weights are not at hand")
    yield _loudest(layers)
    yield from _clipping(forms, tensors, method)
    yield from _response(graph, layers, level)
    if not fine:
        yield from _training(weights, method)
        yield from _sixteen_bits(int8, widening)
    yield from _unused(tensors, layers, method)
    yield from _starved(tensors, layers)


def _weight_share(forms: Mapping[str, Effect]) -> float:
    """The share of the noise that rounding the weights alone brings, of what weights and activations bring alone."""
    weights, activations = (10 ** (-forms[name].logit_db / 10) for name in ("weights alone", "activations alone"))
    return weights / (weights + activations)


def _cause(weights: float) -> str:
    main, share = ("weights", weights) if weights > 0.5 else ("activations", 1.0 - weights)
    return f"{100 * share:.0f} % of the noise in the logits comes from rounding {main}"


def _loudest(layers: Sequence[LayerSensitivity]) -> Advice:
    first = sorted(layers, key=lambda layer: layer.share, reverse=True)[:3]
    named = ", ".join(f"{layer.name} ({100 * layer.share:.0f} %)" for layer in first)
    spread = "the noise is spread over the network; " if first[0].share < 0.15 else ""
    return Advice("note", f"{spread}most noise comes from {named}")


def _clipping(forms: Mapping[str, Effect], tensors: Sequence[TensorNoise], method: str | None) -> Iterator[Advice]:
    gain = forms["int8 without clipping"].logit_db - forms["int8"].logit_db
    if gain < _GAIN_DB:
        return
    worst = sorted(tensors, key=lambda tensor: tensor.saturated, reverse=True)[:3]
    named = ", ".join(f"{t.name} ({100 * t.saturated:.2g} % of its values)" for t in worst if t.saturated > 0)
    finding = (
        f"values beyond the ranges cost {gain:.1f} dB, most at {named}; ranges that hold them have coarser steps, "
        "so compare calibrators"
    )
    commands = {
        "ptq": "tinyscene export RUN --ptq --calibrator percentile --data DIR --out BUNDLE",
        "qat": _qat(" calibrator=percentile"),
    }
    command = commands.get(method or "")
    yield Advice("note", finding, command)


def _response(graph: Graph, layers: Sequence[LayerSensitivity], level: Level) -> Iterator[Advice]:
    """Global response normalisation in integers: named by its reciprocal roots, which nothing else has."""
    roots = [op.name.rpartition(".")[0] for op in graph.ops if op.kind == "RSQRT"]
    if not roots:
        return
    share = sum(layer.share for layer in layers if any(layer.name.startswith(f"{root}.") for root in roots))
    yield Advice(
        level,
        f"response normalisation in int8 brings {100 * share:.0f} % of the noise and {_count(graph, roots)} of "
        f"{len(graph.ops)} ops; frozen, it costs nothing on the device",
        "tinyscene train freeze RUN --data DIR --out FROZEN",
    )


def _count(graph: Graph, roots: Sequence[str]) -> int:
    return sum(any(op.name.startswith(f"{root}.") for root in roots) for op in graph.ops)


def _training(weights: float, method: str | None) -> Iterator[Advice]:
    if method == "ptq":
        yield Advice("act", "calibrated only: fine-tuning learns around the rounding", _qat(""))
    elif method == "qat" and weights > 0.5:
        yield Advice("act", "the weights are still off their float answers: fine-tune for longer", _qat(" epochs=40"))


def _qat(settings: str) -> str:
    return f"tinyscene train qat RUN --data DIR --out QAT{settings}"


def _sixteen_bits(int8: Effect, widening: Sequence[Widening]) -> Iterator[Advice]:
    """The fewest blocks in 16 bits that reach the aim, else those up to the largest gain."""
    if not widening:
        return
    enough = next((step for step in widening if step.effect.expected >= FINE), None)
    best = enough or max(widening, key=lambda step: step.effect.logit_db)
    gain = best.effect.logit_db - int8.logit_db
    if gain < _GAIN_DB:
        yield Advice("note", "16-bit activations would gain nothing here")
        return
    many = f"{len(best.blocks)} blocks" if len(best.blocks) > 1 else best.blocks[0]
    yield Advice(
        "act",
        f"16-bit activations in {many} would give {100 * best.effect.expected:.1f} % (+{gain:.1f} dB), "
        "on targets that run them",
        f"tinyscene export RUN --int16 {','.join(best.blocks)} --data DIR --out BUNDLE",
    )


def _unused(tensors: Sequence[TensorNoise], layers: Sequence[LayerSensitivity], method: str | None) -> Iterator[Advice]:
    """Ranges that no clip fills, where that matters."""
    share = {layer.name: layer.share for layer in layers}
    command = "tinyscene export RUN --ptq --calibrator mse --data DIR --out BUNDLE" if method == "ptq" else None
    for tensor in tensors:
        if tensor.bits != 8 or share.get(tensor.name, 0.0) < _SHARE:
            continue
        if tensor.used < 0.5:
            text = f"{tensor.name} uses {100 * tensor.used:.0f} % of its range"
            if max(tensor.highest / max(tensor.high, 1e-9), tensor.lowest / min(tensor.low, -1e-9)) > 0.8:
                yield Advice("note", f"{text}: its values keep away from zero, which a range has to hold")
            else:
                yield Advice("note", f"{text}: these clips are quieter than those of calibration", command)
        elif tensor.core < 0.25:
            text = f"a thousandth of the values of {tensor.name} takes up {100 * (1 - tensor.core):.0f} % of its range"
            yield Advice("note", text, command)


def _starved(tensors: Sequence[TensorNoise], layers: Sequence[LayerSensitivity]) -> Iterator[Advice]:
    share = {layer.name: layer.share for layer in layers}
    found = [tensor for tensor in tensors if tensor.starved > 0.1 and share.get(tensor.name, 0.0) >= _SHARE]
    if found:
        named = ", ".join(f"{tensor.name} ({100 * tensor.starved:.0f} %)" for tensor in found[:3])
        yield Advice(
            "note", f"channels that span less than {FEW_STEPS} steps, silent or drowned by louder ones: {named}"
        )
