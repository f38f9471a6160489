"""LiteRT: ai-edge-litert, or tflite-runtime where that is all there is."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..errors import InputError, UnavailableError
from ..int8 import dequantize, quantize
from .engine import TensorDetails, check_contract

#: "default" is the fastest the interpreter has (XNNPACK on most machines), "reference" the bits that parity is held to.
Kernels = Literal["default", "reference"]

#: Packages that carry the interpreter, the better kept one first.
Package = Literal["ai_edge_litert", "tflite_runtime"]

#: How each is installed.
INSTALL: dict[Package, str] = {
    "ai_edge_litert": "pip install ai-edge-litert",
    "tflite_runtime": "pip install tflite-runtime 'numpy<2'",  # it was built against numpy 1
}


@dataclass(frozen=True)
class Delegate:
    """An accelerator's shared library, with the options it is started with."""

    library: str
    options: Mapping[str, str] = field(default_factory=dict)


class LiteRTEngine:
    """The int8 network of a .tflite file in LiteRT (ai-edge-litert, or tflite-runtime where that is all there is)."""

    def __init__(
        self,
        model: Path,
        kernels: Kernels = "default",
        threads: int = 1,
        content: bytes | None = None,
        *,
        package: Package | None = None,
        delegate: Delegate | None = None,
    ) -> None:
        """Load `model`, or `content` in its place, by the interpreter of `package` (default: the first there is).

        `delegate` is an accelerator's library, which then runs what it can of the network. Raises `InputError` for a
        file that is missing, damaged or no int8 classifier of one input and one output,
        `UnavailableError` when no interpreter is installed.
        """
        if kernels not in get_args(Kernels):
            raise InputError(f"unknown kernels {kernels!r}, expected one of {', '.join(get_args(Kernels))}")
        if threads < 1:
            raise InputError(f"threads is {threads}, expected at least 1")
        self.name = f"LiteRT {kernels}" if package != "tflite_runtime" else f"tflite-runtime {kernels}"
        self.model = model
        self._interpreter = _interpreter(model, kernels, threads, content, package, delegate)
        self.input = self._details(self._interpreter.get_input_details(), "input")
        self.output = self._details(self._interpreter.get_output_details(), "output")
        if len(self.input.shape) != 4 or self.input.shape[0] != 1 or self.input.shape[3] != 1:
            raise InputError(f"{model}: input has shape {list(self.input.shape)}, expected [1, n_mels, n_frames, 1]")
        if len(self.output.shape) != 2 or self.output.shape[0] != 1:
            raise InputError(f"{model}: output has shape {list(self.output.shape)}, expected [1, n_classes]")
        self._input_index = self._interpreter.get_input_details()[0]["index"]
        self._output_index = self._interpreter.get_output_details()[0]["index"]

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
        self._interpreter.set_tensor(self._input_index, inputs)
        self._interpreter.invoke()
        outputs: NDArray[np.int8] = self._interpreter.get_tensor(self._output_index)
        return outputs

    def operators(self) -> tuple[str, ...]:
        """Kinds of the network's operators, and "DELEGATE" for each part of them that a delegate runs.

        Empty where the interpreter does not tell.
        """
        listing = getattr(self._interpreter, "_get_ops_details", None)
        return tuple(str(entry["op_name"]) for entry in listing()) if listing else ()

    def _details(self, found: Sequence[dict[str, Any]], what: str) -> TensorDetails:
        if len(found) != 1:
            raise InputError(f"{self.model} has {len(found)} {what}s, expected 1: not a bundle's model")
        details = found[0]
        scales, zero_points = (details["quantization_parameters"][key] for key in ("scales", "zero_points"))
        if details["dtype"] is not np.int8 or len(scales) != 1 or len(zero_points) != 1:
            kind = np.dtype(details["dtype"]).name
            raise InputError(
                f"{self.model}: {what} is {kind} with {len(scales)} scales, expected int8 with one: "
                "make an int8 model with `tinyscene export`"
            )
        shape = tuple(int(size) for size in details["shape"])
        return TensorDetails(details["name"], shape, float(scales[0]), int(zero_points[0]))


def open_engine(
    bundle: Bundle, kernels: Kernels = "default", threads: int = 1, package: Package | None = None
) -> LiteRTEngine:
    """The engine of `bundle`'s model.tflite, refused when the model does not keep the bundle's contract.

    Raises `InputError` that names the field in which the model differs from the front end, the labels or the
    quantisation, and `UnavailableError` when no interpreter is installed.
    """
    engine = LiteRTEngine(bundle.file("model.tflite"), kernels, threads, package=package)
    check_contract(bundle, engine.model, engine.input, engine.output)
    return engine


def _interpreter(
    model: Path,
    kernels: Kernels,
    threads: int,
    content: bytes | None,
    package: Package | None,
    delegate: Delegate | None,
) -> Any:
    """An interpreter with its tensors allocated; its bindings are untyped."""
    if not model.is_file():
        raise InputError(f"no model at {model}: make one with `tinyscene export`")
    module = interpreter_module(package)
    options: dict[str, Any] = {"num_threads": threads}
    if delegate is not None:
        try:
            options["experimental_delegates"] = [module.load_delegate(delegate.library, dict(delegate.options))]
        except (ValueError, OSError) as error:
            raise UnavailableError(f"{delegate.library} does not start ({error or 'no reason given'})") from error
    if kernels == "reference":
        options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_REF
    try:
        source = {"model_path": str(model)} if content is None else {"model_content": content}
        interpreter = module.Interpreter(**source, **options)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, SystemError) as error:
        # tflite-runtime is imported beside numpy 2, and fails when it first hands numpy something.
        if isinstance(error, SystemError) or "numpy" in str(error).lower():
            raise UnavailableError(
                f"{module.__name__} does not work with numpy {np.__version__} ({error.__cause__ or error}): run "
                f"`{INSTALL['tflite_runtime']}` in an environment of its own, or `{INSTALL['ai_edge_litert']}`"
            ) from error
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise InputError(f"{model} is not a TFLite model that can run ({reason}): export the model again") from error
    return interpreter


def interpreter_module(package: Package | None = None) -> Any:
    """The Python module of an interpreter; raises `UnavailableError` with the line that installs it."""
    tried: list[ImportError] = []
    for name in (package,) if package else get_args(Package):
        try:
            return importlib.import_module(f"{name}.interpreter")
        except ImportError as error:
            tried.append(error)
    if package:
        note = ""
        if package == "tflite_runtime" and int(np.__version__.partition(".")[0]) > 1:
            note = f" in an environment of its own: it does not work beside numpy {np.__version__}"
        raise UnavailableError(f"{package} cannot be imported ({tried[0]}): run `{INSTALL[package]}`{note}") from tried[
            0
        ]
    raise UnavailableError(
        f"no TFLite interpreter can be imported ({tried[0]}): run `{INSTALL['ai_edge_litert']}` "
        f"(on a 32-bit Raspberry Pi: `{INSTALL['tflite_runtime']}`)"
    ) from tried[0]
