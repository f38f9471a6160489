"""ONNX Runtime on the bundle's QDQ model: float in and out, int8 in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..errors import InputError, UnavailableError
from ..int8 import dequantize, quantize
from .engine import Engine, TensorDetails

#: The metadata entry in which the exporter puts labels and front end as JSON.
METADATA_NAME = "tinyscene"


class OnnxEngine:
    """A QDQ classifier in ONNX Runtime on the CPU.

    Its kernels sum in int32 and requantise in float, so a logit may be a step or two from LiteRT's.
    """

    def __init__(self, model: Path, inputs: TensorDetails, outputs: TensorDetails, threads: int = 1) -> None:
        """Load `model`, quantised as `inputs` and `outputs` say.

        Raises `InputError` for a file that is no such classifier, `UnavailableError` without ONNX Runtime.
        """
        if threads < 1:
            raise InputError(f"threads is {threads}, expected at least 1")
        onnxruntime = _onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Idle threads that spin would take a whole core between two decisions.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(model.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no public base
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"{model} is not an ONNX model that can run ({reason}): export the model again") from error
        self.name, self.model, self.input, self.output = "ONNX Runtime, QDQ", model, inputs, outputs
        self._session = session
        entry = session.get_inputs()[0]
        sizes = [size if isinstance(size, int) else 1 for size in entry.shape]
        wanted = inputs.shape[1] * inputs.shape[2]
        if len(session.get_inputs()) != 1 or int(np.prod(sizes)) != wanted:
            raise InputError(f"{model}: input has shape {sizes}, expected {wanted:,} values: export the model again")
        self._entry, self._sizes = entry.name, sizes
        given = [session_output.shape for session_output in session.get_outputs()]
        if given != [list(outputs.shape)]:
            raise InputError(
                f"{model} gives {given}, expected one output {list(outputs.shape)}: export the model again"
            )

    def promises(self) -> dict[str, Any]:
        """Labels and front end that the exporter wrote into the file; empty where there are none."""
        try:
            found = json.loads(self._session.get_modelmeta().custom_metadata_map.get(METADATA_NAME, "{}"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def logits(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Float logits (n_classes,) of a float32 log-mel (n_mels, n_frames)."""
        outputs: NDArray[np.float32] = self._session.run(None, {self._entry: log_mel.reshape(self._sizes)})[0]
        return outputs.reshape(-1)

    def run_int8(self, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
        """Int8 logits (1, n_classes) of an int8 input (1, n_mels, n_frames, 1); another shape raises `InputError`."""
        if inputs.shape != self.input.shape or inputs.dtype != np.int8:
            raise InputError(
                f"{self.model.name} takes int8 {list(self.input.shape)}, got {inputs.dtype} {list(inputs.shape)}"
            )
        log_mel = dequantize(inputs[0, :, :, 0], self.input.scale, self.input.zero_point)
        return quantize(self.logits(log_mel), self.output.scale, self.output.zero_point)[None]


def open_onnx(bundle: Bundle, threads: int = 1) -> Engine:
    """The engine of `bundle`'s model.onnx; raises as `OnnxEngine` does, and `InputError` for another bundle's model."""
    spec, promised = bundle.frontend, bundle.quantization
    inputs = TensorDetails(
        "log_mel", (1, spec.n_mels, spec.n_frames(), 1), promised.input_scale, promised.input_zero_point
    )
    outputs = TensorDetails("logits", (1, len(bundle.labels)), promised.output_scale, promised.output_zero_point)
    engine = OnnxEngine(bundle.file("model.onnx"), inputs, outputs, threads)
    for field, expected in (("labels", list(bundle.labels)), ("frontend_hash", spec.hash())):
        found = engine.promises().get(field, expected)
        if found != expected:
            raise InputError(
                f"model and contract differ in {field}: {engine.model} has {found}, the bundle's contract says "
                f"{expected}: export the model again"
            )
    return engine


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:  # not installed, or built for another numpy
        raise UnavailableError(
            f"the engine 'onnx' needs onnxruntime, which cannot be imported ({error}): run `pip install onnxruntime`"
        ) from error
    return onnxruntime
