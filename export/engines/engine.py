"""What an engine is: a name, a promise on its arithmetic, and a way to replay inputs through a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ..graph import Graph


class EngineError(InputError):
    """An engine crashed, hung or refused the model; the message says which and what it printed."""


class RefusedError(EngineError):
    """An engine was started and cannot run this model: an op, a version of it or a dtype that it does not have."""


@dataclass(frozen=True, eq=False)
class Replay:
    """What an engine gave: `logits` (n, n_classes) in the model's own dtype, inner tensors of the first input by name,
    and for each input a SHA-256 over all inner tensors, (n, 32) uint8; the last two where they were asked for."""

    logits: NDArray[Any]
    layers: Mapping[str, NDArray[Any]] | None = None
    digests: NDArray[np.uint8] | None = None


class Run(Protocol):
    """Runs `model` on each of `inputs` (n, ...), whose rows have the shape of the model's input without its batch."""

    def __call__(self, model: bytes, inputs: NDArray[Any], layers: bool, digests: bool) -> Replay:
        """Raises `UnavailableError` where the engine is not installed and `EngineError` where it fails."""
        ...


@dataclass(frozen=True)
class Engine:
    """One engine. Packages add theirs as objects of this class under the entry-point group `tinyscene.engines`."""

    key: str  # as `--engine` names it
    name: str
    exact: bool  # whether it has to equal LiteRT's reference kernels bit for bit
    install: str  # the line that installs it
    run: Run = field(repr=False)
    file: str = "model.tflite"  # the file of a bundle that it runs
    inexact: tuple[tuple[str, int], ...] = ()  # ops with bits of their result, where an exact engine rounds otherwise

    def exact_on(self, graph: Graph) -> bool:
        """Whether the engine has to equal the reference kernels on this graph."""
        results = {(op.kind, _bits(graph, op.output)) for op in graph.ops}
        return self.exact and results.isdisjoint(self.inexact)

    def replay(self, model: bytes, inputs: NDArray[Any], layers: bool = False, digests: bool = False) -> Replay:
        """Run `model` on `inputs` (n, ...): int8 or int16 rows for a .tflite, float32 (1, n_mels, n_frames) for ONNX.

        Raises `UnavailableError` where the engine is not installed, `EngineError` where it fails or gives nonsense.
        """
        replay = self.run(model, inputs, layers, digests)
        if replay.logits.ndim < 2 or len(replay.logits) != len(inputs) or (layers and replay.layers is None):
            raise EngineError(
                f"{self.name} gave {replay.logits.shape} for {len(inputs)} inputs: expected a row for each"
            )
        return replay


def _bits(graph: Graph, name: str) -> int:
    quant = graph.tensor[name].quant
    return 32 if quant is None else quant.bits
