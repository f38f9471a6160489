"""Engines by name: what there is, what runs here, and how to warm one up."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..errors import InputError, TinysceneError, UnavailableError
from .coral import open_coral
from .engine import Engine
from .litert import Kernels, open_engine
from .onnx import open_onnx

#: The engine that every installation has.
LITERT = "litert"

#: Entry points of further engines: a callable `open(bundle, threads) -> Engine`.
GROUP = "tinyscene.runtime_engines"

#: Those of the runtime itself.
OPENERS: dict[str, Callable[[Bundle, int], Engine]] = {
    LITERT: lambda bundle, threads: open_engine(bundle, threads=threads),
    "tflite-runtime": lambda bundle, threads: open_engine(bundle, threads=threads, package="tflite_runtime"),
    "onnx": open_onnx,
    "coral": open_coral,
}

#: Engines that run the network in one thread, whatever they are asked for.
ONE_THREAD = ("native", "coral")


@dataclass(frozen=True)
class EngineChoice:
    """Whether an engine runs a bundle on this machine, and why not."""

    name: str
    available: bool
    why: str = ""  # it is not available
    threads: tuple[int, ...] = (1,)  # counts worth trying here


def engine_names() -> tuple[str, ...]:
    """Every engine that can be named, installed or not."""
    return (*OPENERS, *sorted(_entries().keys() - OPENERS.keys()))


def open_named_engine(
    bundle: Bundle,
    name: str = LITERT,
    kernels: Kernels = "default",
    threads: int = 1,
    coral_model: Path | None = None,
) -> Engine:
    """The engine of that name: one of the runtime's own, or one that a package above it registers under `GROUP`.

    Raises `InputError` that names the nearest for an unknown name and where another engine is given LiteRT's
    `kernels` or Coral's `coral_model`, `UnavailableError` where what it needs is not installed, and what `open_engine`
    raises.
    """
    if name not in engine_names():
        close = difflib.get_close_matches(name, engine_names(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(engine_names())}"
        raise InputError(f"unknown engine {name!r}: {hint}")
    if coral_model is not None:
        check_coral_model(coral_model, name)
        if kernels == "default":
            return open_coral(bundle, threads, coral_model)
    if name == LITERT:
        return open_engine(bundle, kernels, threads)
    if kernels != "default":
        raise InputError(f"--kernels {kernels} chooses LiteRT's kernels, but the engine is {name}: leave it out")
    if name in OPENERS:
        return OPENERS[name](bundle, threads)
    try:
        opener: Callable[[Bundle, int], Engine] = _entries()[name].load()
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"the engine {name!r} needs {error.name!r}, which is not installed: run `pip install 'tinyscene[firmware]'`"
        ) from error
    return opener(bundle, threads)


def check_coral_model(model: Path, name: str) -> None:
    """Raise `InputError` where a compiled model is given to another engine, or is not there."""
    if name != "coral":
        raise InputError(f"--coral-model is the Edge TPU's, but the engine is {name}: set --engine coral")
    if not model.is_file():
        raise InputError(f"--coral-model {model} is not there: run `edgetpu_compiler` on the bundle's model.tflite")


def engine_choices(bundle: Bundle, cores: int | None = None) -> list[EngineChoice]:
    """Every engine, whether it runs `bundle` here (found out by opening it), and threads for `cores` (default: all)."""
    cores = cores or os.cpu_count() or 1
    counts = tuple(sorted({count for count in (1, 2, cores) if count <= cores}))
    choices = []
    for name in engine_names():
        try:
            open_named_engine(bundle, name)
        except TinysceneError as error:
            choices.append(EngineChoice(name, False, str(error)))
        else:
            choices.append(EngineChoice(name, True, threads=(1,) if name in ONE_THREAD else counts))
    return choices


def warm_up(engine: Engine, log_mel: NDArray[np.float32], runs: int = 3) -> list[float]:
    """Run `engine` some times and return what each took in milliseconds: the first prepares, and is far slower."""
    durations = []
    for _ in range(runs):
        start = time.perf_counter()
        engine.logits(log_mel)
        durations.append(1e3 * (time.perf_counter() - start))
    return durations


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
