"""What every engine is: it runs a bundle's int8 network on one window of log-mel frames."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..errors import InputError


class Engine(Protocol):
    """Runs one network on one window; not safe to share between threads."""

    name: str

    def logits(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Float logits (n_classes,) of a float32 log-mel (n_mels, n_frames)."""
        ...

    def run_int8(self, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
        """Int8 logits (1, n_classes) of an int8 input (1, n_mels, n_frames, 1)."""
        ...


class TensorDetails(NamedTuple):
    """Name, shape and quantisation of a network's input or output."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int


def check_contract(bundle: Bundle, model: Path, inputs: TensorDetails, outputs: TensorDetails) -> None:
    """Raise `InputError` that names the field in which `model` differs from what its bundle promises."""
    promised, spec = bundle.quantization, bundle.frontend
    for name, found, expected in (
        ("n_mels", inputs.shape[1], spec.n_mels),
        ("n_frames", inputs.shape[2], spec.n_frames()),
        ("number of labels", outputs.shape[1], len(bundle.labels)),
        ("input_scale", np.float32(inputs.scale), np.float32(promised.input_scale)),
        ("input_zero_point", inputs.zero_point, promised.input_zero_point),
        ("output_scale", np.float32(outputs.scale), np.float32(promised.output_scale)),
        ("output_zero_point", outputs.zero_point, promised.output_zero_point),
    ):
        if found != expected:
            raise InputError(
                f"model and contract differ in {name}: {model} has {found}, the bundle's contract says "
                f"{expected}: export the model again"
            )
