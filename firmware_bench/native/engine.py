"""The generated C as an engine of the runtime: what `--engine native` names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...export.graph import Graph
from ...runtime.bundle import Bundle
from ...runtime.engines.engine import Engine, TensorDetails, check_contract
from ...runtime.errors import InputError, require
from ...runtime.int8 import dequantize, quantize
from ..generator import generate
from .model import NativeModel


class NativeEngine:
    """A fully-int8 .tflite as C on this machine, one thread; the bits are those of LiteRT's reference kernels."""

    def __init__(self, model: Path, bundle: Bundle | None = None) -> None:
        """Compile `model`, or take what was compiled of it before.

        Raises `InputError` for a file that is no int8 network of one input (1, n_mels, n_frames, 1) and one output
        (1, n_classes), `UnavailableError` without a C compiler.
        """
        self.model = model
        graph = _read(model)
        self.input = _details(graph, graph.input, model)
        self.output = _details(graph, graph.output, model)
        if len(self.input.shape) != 4 or self.input.shape[3] != 1 or len(self.output.shape) != 2:
            raise InputError(
                f"{model} takes {list(self.input.shape)} and gives {list(self.output.shape)}, "
                "expected [1, n_mels, n_frames, 1] and [1, n_classes]"
            )
        self.native = NativeModel(generate(graph, "host", bundle=bundle), graph)
        self.name = f"native C ({self.native.kernels})"

    def logits(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Float logits (n_classes,) of a float32 log-mel (n_mels, n_frames)."""
        q = quantize(log_mel, self.input.scale, self.input.zero_point)
        return dequantize(self.run_int8(q[None, :, :, None])[0], self.output.scale, self.output.zero_point)

    def run_int8(self, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
        """Int8 logits (1, n_classes) of an int8 input (1, n_mels, n_frames, 1); another shape raises `InputError`."""
        if inputs.shape != self.input.shape or inputs.dtype != np.int8:
            raise InputError(
                f"{self.model.name} takes int8 {list(self.input.shape)}, got {inputs.dtype} {list(inputs.shape)}"
            )
        return self.native.run(inputs[0])[None]


def open_native(bundle: Bundle, threads: int = 1) -> Engine:
    """The engine of `bundle`'s model.tflite, which has to keep the bundle's contract.

    Raises `InputError` for a model that does not, or for more than one thread, and `UnavailableError` without a C
    compiler.
    """
    if threads != 1:
        raise InputError(f"threads is {threads}, expected 1: the native engine has one, leave --threads out")
    engine = NativeEngine(bundle.file("model.tflite"), bundle)
    check_contract(bundle, engine.model, engine.input, engine.output)
    return engine


def _read(model: Path) -> Graph:
    require("flatbuffers", "firmware")
    require("elftools", "firmware")
    from ...export.formats.tflite_reader import read_tflite

    if not model.is_file():
        raise InputError(f"no model at {model}: make one with `tinyscene export`")
    return read_tflite(model.read_bytes(), str(model))


def _details(graph: Graph, name: str, model: Path) -> TensorDetails:
    tensor = graph.tensor[name]
    if tensor.quant is None or tensor.quant.bits != 8:
        raise InputError(f"{model}: {name} is not int8: make an int8 model with `tinyscene export`")
    return TensorDetails(name, tensor.shape, tensor.quant.scale, tensor.quant.zero_point)
