"""Where an int8 network loses what its float twin knows: noise by tensor, sensitivity by layer, and what to do.

Everything is measured on the same clips with the arithmetic of `fake_quant`, float and int8 side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...runtime.errors import InputError
from ...runtime.output import Output, format_table, plain
from ...training.data.progress import track
from ..graph import Graph
from .advice import Advice, advise
from .noise import NoiseMeter, TensorNoise
from .sensitivity import (
    BlockSensitivity,
    Effect,
    LayerSensitivity,
    LogitMeter,
    SensitivityMeter,
    Widening,
    WideningMeter,
)
from .twin import FLOAT, INT8, FloatTwin, Mode, Twin, Values

SCHEMA = "tinyscene.explanation/1"

#: Clips that are enough to tell layers apart.
CLIPS = 128

#: The whole network in other modes: what rounds weights alone, activations alone, and without the ends of the ranges.
FORMS: Mapping[str, Mode] = {
    "int8": INT8,
    "weights alone": Mode(weights=True),
    "activations alone": Mode(rounded=True),
    "int8 without clipping": Mode(weights=True, rounded=True, clipped=False),
}

_BATCH = 16


@dataclass(frozen=True)
class Explanation:
    """What was found on `clips` clips from `origin`; `float_twin` says whose weights the float network has.

    `forms` are the whole network against float: in int8, with int8 weights alone, with rounded activations alone, and
    in int8 whose ranges have no ends. `tensors`, `layers` and `blocks` are in running order, `widening` takes the
    blocks to 16 bits one after the other, the one with the most noise first.
    """

    model: str
    method: str | None
    clips: int
    origin: str
    float_twin: str
    float_weights: bool  # false: the twin has the int8 weights, so what their rounding costs is not counted
    forms: Mapping[str, Effect]
    tensors: tuple[TensorNoise, ...]
    layers: tuple[LayerSensitivity, ...]
    blocks: tuple[BlockSensitivity, ...]
    widening: tuple[Widening, ...]
    advice: tuple[Advice, ...]

    def to_dict(self) -> dict[str, Any]:
        """The explanation as plain JSON values, with its schema."""
        values: dict[str, Any] = plain(asdict(self))
        return {"schema": SCHEMA, **values}

    def table(self) -> str:
        """The explanation for a person: the whole network, every layer, the blocks, and the advice."""
        # With the int8 network's own weights in float, weights alone would be the float network.
        shown = {name: effect for name, effect in self.forms.items() if self.float_weights or name != "weights alone"}
        forms = [[name, *_figures(effect)] for name, effect in shown.items()]
        sensitivity = {layer.name: layer for layer in self.layers}
        rows = [_row(tensor, sensitivity.get(tensor.name)) for tensor in self.tensors]
        blocks = [[block.name, f"{100 * block.share:.0f}", *_figures(block.wide)] for block in self.blocks]
        steps = [[f"+ {step.blocks[-1]}", *_figures(step.effect)] for step in self.widening]
        parts = [
            f"{self.model}: {self.clips} clips ({self.origin}); float: {self.float_twin}",
            format_table(["against float", *_FIGURES], forms),
            format_table(_HEADERS, rows),
            format_table(["block in 16 bits", "noise %", *_FIGURES], blocks),
            format_table(["blocks in 16 bits, one more a row", *_FIGURES], steps),
            "\n".join(line.text() for line in self.advice),
        ]
        return "\n\n".join(parts)


def explain(
    graph: Graph,
    twin: FloatTwin,
    log_mels: NDArray[np.float32],
    output: Output | None = None,
    *,
    model: str = "",
    method: str | None = None,
    origin: str = "",
) -> Explanation:
    """Explain the int8 `graph` against its float `twin` on `log_mels` (clips, n_mels, n_frames) float32.

    `model` names it in what is printed and advised, `method` is how it was quantised ("qat" or "ptq"), `origin` where
    the clips are from. Raises `InputError` when the clips do not fit the network.
    """
    n_mels, n_frames = graph.tensor[graph.input].shape[1:3]
    if log_mels.ndim != 3 or log_mels.shape[1:] != (n_mels, n_frames) or not len(log_mels):
        raise InputError(f"log-mels have shape {log_mels.shape}, the network takes (clips, {n_mels}, {n_frames})")
    pair = Twin(graph, twin)
    noise = _noise_meters(graph)
    sensitivity = SensitivityMeter(pair)
    forms = {name: LogitMeter() for name in FORMS}
    chunks = torch.split(torch.from_numpy(np.ascontiguousarray(log_mels, np.float32))[:, None], _BATCH)
    answers = []
    with torch.inference_mode():
        for batch in track(chunks, f"batches of {_BATCH} clips explained", len(chunks), output):
            exact, rounded, local = _measure(pair, batch, noise)
            sensitivity.add(exact, rounded, local)
            answers.append(exact[graph.output])
            for name, mode in FORMS.items():
                forms[name].add(answers[-1], _logits(pair, batch, mode))
        blocks = sensitivity.blocks()
        ladder = WideningMeter(pair, [block.name for block in sorted(blocks, key=lambda b: b.share, reverse=True)])
        for batch, logits in zip(chunks, answers, strict=True):
            ladder.add(batch, logits)
    effects = {name: meter.result() for name, meter in forms.items()}
    tensors = tuple(meter.result() for meter in noise.values())
    layers, widening = sensitivity.layers(), ladder.result()
    return Explanation(
        model=model,
        method=method,
        clips=len(log_mels),
        origin=origin,
        float_twin=twin.origin,
        float_weights=twin.exact,
        forms=effects,
        tensors=tensors,
        layers=layers,
        blocks=blocks,
        widening=widening,
        advice=tuple(advise(graph, twin.exact, effects, tensors, layers, widening, method)),
    )


def _noise_meters(graph: Graph) -> dict[str, NoiseMeter]:
    meters = {graph.input: NoiseMeter(graph.input, None, graph.input_quant)}
    for op in graph.ops:
        quant = graph.tensor[op.output].quant
        assert quant is not None
        meters[op.output] = NoiseMeter(op.output, op, quant)
    return meters


def _logits(pair: Twin, batch: Tensor, mode: Mode) -> Tensor:
    return pair.run(pair.start(batch, mode), 0, lambda _: mode)


def _measure(pair: Twin, batch: Tensor, noise: Mapping[str, NoiseMeter]) -> tuple[Values, Values, Values]:
    """All values of a batch in float, in int8, and of each op in int8 for float inputs; `noise` takes them in."""
    graph, name = pair.graph, pair.graph.input
    exact, rounded, local = pair.start(batch, FLOAT), pair.start(batch, INT8), {}
    noise[name].add(batch, batch, rounded[name], batch, rounded[name], rounded[name])
    for op in graph.ops:
        name = op.output
        exact[name] = pair.result(op, exact, weights=False)
        raw = pair.result(op, rounded, weights=True)
        rounded[name] = pair.round(name, raw)
        own = pair.result(op, exact, weights=True) if op.weight is not None or _has_constant(graph, op.inputs) else None
        local[name] = pair.round(name, exact[name] if own is None else own)
        alone = local[name] if own is None else pair.round(name, exact[name])
        noise[name].add(exact[name], raw, rounded[name], exact[name] if own is None else own, local[name], alone)
    return exact, rounded, local


def _has_constant(graph: Graph, names: tuple[str, ...]) -> bool:
    return any(graph.tensor[name].data is not None for name in names)


_FIGURES = ("agreement", "expected", "logits dB")

_HEADERS = (
    "tensor", "op", "dB here", "own dB", "weights dB", "clipped %", "used %", "noise %", "alone int8 dB",
    "alone float dB",
)  # fmt: skip


def _figures(effect: Effect) -> list[Any]:
    return [effect.agreement, effect.expected, f"{effect.logit_db:.1f}"]


def _row(tensor: TensorNoise, layer: LayerSensitivity | None) -> list[Any]:
    """What a person reads of a tensor; the rest is in the JSON."""
    return [
        tensor.name,
        tensor.kind if tensor.bits == 8 else f"{tensor.kind} int{tensor.bits}",
        f"{tensor.total_db:.1f}",
        f"{tensor.own_db:.1f}",
        None if tensor.weight_db is None else f"{tensor.weight_db:.1f}",
        f"{100 * tensor.saturated:.2f}",
        f"{100 * tensor.used:.0f}",
        None if layer is None else f"{100 * layer.share:.1f}",
        None if layer is None else f"{layer.alone.logit_db:.1f}",
        None if layer is None else f"{layer.restored.logit_db:.1f}",
    ]
