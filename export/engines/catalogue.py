"""The engines there are: those of this package, and what others register under `tinyscene.engines`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ...runtime.errors import InputError, UnavailableError
from .engine import Engine, Replay
from .places import node_with, python_with
from .process import run_child
from .tap import Tap, tap_onnx, tap_tflite

GROUP = "tinyscene.engines"

_HERE = Path(__file__).parent

_EXPORT = "pip install 'tinyscene[export]'"


def catalogue() -> dict[str, Engine]:
    """Every engine by key, installed or not; raises `InputError` when a package registers what is none."""
    engines = {engine.key: engine for engine in BUILT_IN}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        found = entry.load()
        if not isinstance(found, Engine):
            raise InputError(f"the engine {entry.name!r} ({entry.value}) is not an Engine: update that package")
        engines[found.key] = found
    return engines


def choose(keys: Sequence[str] | None) -> list[Engine]:
    """The engines of these keys, or all; raises `InputError` that names the nearest key."""
    engines = catalogue()
    for key in keys or ():
        if key not in engines:
            close = difflib.get_close_matches(key, engines, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(engines)}"
            raise InputError(f"unknown engine {key!r}: {hint}")
    return [engines[key] for key in dict.fromkeys(keys)] if keys else list(engines.values())


def _tflite(
    interpreter: str,
    module: str,
    kernels: str,
    environment: str | None,
    name: str,
    install: str,
    model: bytes,
    inputs: NDArray[Any],
    layers: bool,
    digests: bool,
) -> Replay:
    python = python_with(module, environment, name, install)
    tap = tap_tflite(model)
    files = {"model.tflite": model, "tapped.tflite": tap.model}
    job = {
        "interpreter": interpreter,
        "kernels": kernels,
        "model": "model.tflite",
        # TFLite-Micro keeps inner tensors when told to; the others only what is an output.
        "tapped": "model.tflite" if interpreter == "tflite-micro" else "tapped.tflite",
        "tensors": tap.handles,
        "layers": layers,
        "digests": digests,
        "arena_bytes": tap.arena_bytes,
    }
    return _run(name, install, [python, "-I", str(_HERE / "child.py")], files, job, inputs, tap)


def _onnx(
    name: str, web: bool, install: str, model: bytes, inputs: NDArray[Any], layers: bool, digests: bool
) -> Replay:
    if web:
        node, modules = node_with("onnxruntime-web", "web", name, install)
        command = [node, str(_HERE / "web.mjs"), str(modules)]
    else:
        command = [python_with("onnxruntime", None, name, install), "-I", str(_HERE / "child.py")]
    tap = tap_onnx(model) if layers or digests else Tap((), (), b"")
    job = {
        "interpreter": "onnxruntime",
        "model": "model.onnx",
        "tapped": "tapped.onnx",
        "tensors": tap.handles,
        "layers": layers,
        "digests": digests,
    }
    return _run(name, install, command, {"model.onnx": model, "tapped.onnx": tap.model}, job, inputs, tap)


def _run(
    name: str,
    install: str,
    command: list[str],
    files: dict[str, bytes],
    job: dict[str, Any],
    inputs: NDArray[Any],
    tap: Tap,
) -> Replay:
    try:
        arrays = run_child(name, command, files, job, inputs)
    except UnavailableError as error:
        raise UnavailableError(f"{error}: run `{install}`") from error
    layers = {title: arrays[f"layer/{place}"] for place, title in enumerate(tap.names)} if job["layers"] else None
    return Replay(arrays["logits"], layers, arrays.get("digests"))


def _engine(
    key: str,
    name: str,
    interpreter: str,
    module: str,
    install: str,
    kernels: str = "reference",
    environment: str | None = None,
    inexact: tuple[tuple[str, int], ...] = (),
) -> Engine:
    run = partial(_tflite, interpreter, module, kernels, environment, name, install)
    return Engine(key, name, kernels == "reference", install, run, inexact=inexact)


def _onnx_engine(key: str, name: str, file: str, install: str, web: bool = False) -> Engine:
    return Engine(key, name, False, install, partial(_onnx, name, web, install), file)


BUILT_IN = (
    _engine("litert-reference", "LiteRT reference kernels", "litert", "ai_edge_litert", _EXPORT),
    _engine("litert-default", "LiteRT default kernels", "litert", "ai_edge_litert", _EXPORT, "default"),
    _engine(
        "tflite-micro",
        "TFLite-Micro",
        "tflite-micro",
        "tflite_micro",
        "pip install 'tinyscene[micro]'",
        inexact=(("RSQRT", 16),),  # its kernel is not LiteRT's: some results are a few steps off
    ),
    _engine(
        "tflite-runtime",
        "tflite-runtime",
        "tflite-runtime",
        "tflite_runtime",
        "make engines",
        environment="tflite-runtime",
    ),
    _engine(
        "tensorflow", "TensorFlow's interpreter", "tensorflow", "tensorflow", "make engines", environment="tensorflow"
    ),
    _onnx_engine("onnx-qdq", "ONNX Runtime, QDQ", "model.onnx", _EXPORT),
    _onnx_engine("onnx-float", "ONNX Runtime, float", "model_float.onnx", _EXPORT),
    _onnx_engine("onnx-web", "ONNX Runtime Web, QDQ", "model.onnx", "make engines", web=True),
)
