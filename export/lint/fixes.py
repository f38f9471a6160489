"""The cheapest way out of what a target does not run, by the kind of operator."""

from __future__ import annotations

from collections.abc import Mapping

QUANTISE = "quantise the model: `tinyscene export RUN --ptq`, or `tinyscene train qat RUN` first"
STATIC = "convert it with a fixed input shape, batch 1"
FREEZE = "let the normalisation fold away: `tinyscene train freeze RUN`, or train with norm=none or norm=frozen"

_RELU = "put a ReLU in its place and train again"
_INSTEAD: Mapping[str, str] = {
    "GELU": _RELU,
    "ELU": _RELU,
    "LEAKY_RELU": _RELU,
    "HARD_SWISH": _RELU,
    "LOGISTIC": "as an activation: a ReLU in its place; as a gate: leave it out",
    "TANH": _RELU,
    "RSQRT": FREEZE,
    "SQRT": FREEZE,
    "DIV": FREEZE,
    "POW": FREEZE,
    "SQUARED_DIFFERENCE": "batch norm in place of layer norm: it folds away",
    "SOFTMAX": "end with the logits and take the softmax on the host",
    "LOG_SOFTMAX": "end with the logits and take the softmax on the host",
    "DEQUANTIZE": "end with the int8 tensor and scale it on the host",
    "TRANSPOSE": "keep the layout NHWC from end to end",
    "BATCH_MATMUL": "a convolution with constant weights in its place",
}


def for_float(kind: str) -> str:
    """What to do about float activations at an operator of `kind`."""
    return _INSTEAD.get(kind) or (
        "begin with the int8 tensor and scale on the host" if kind == "QUANTIZE" else QUANTISE
    )


def instead_of(kind: str) -> str:
    """What to use in place of an operator of `kind`; empty when nothing general can be said."""
    return _INSTEAD.get(kind, "")
