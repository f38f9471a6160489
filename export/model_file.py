"""A model as the command line names it: a bundle, a qat run, or a .tflite file from anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..runtime.bundle import Bundle, load_bundle
from ..runtime.errors import InputError
from .graph import Graph
from .tflite_reader import read_tflite


@dataclass(frozen=True, eq=False)
class ModelFile:
    """An int8 network that was read, with its bytes; `bundle` is None for a bare file."""

    path: Path
    data: bytes
    graph: Graph
    bundle: Bundle | None


def open_model(path: Path) -> ModelFile:
    """Read the bundle or .tflite file at `path`; raises `InputError` when it is neither, damaged or no int8 network."""
    bundle = load_bundle(path) if path.is_dir() else None
    file = path if bundle is None else bundle.file("model.tflite")
    if not file.is_file():
        raise InputError(f"no model at {path}: name a bundle or a .tflite file")
    data = file.read_bytes()
    return ModelFile(path, data, read_tflite(data, str(file)), bundle)
