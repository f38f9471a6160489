"""A model as the command line names it: a bundle, a qat run, or a .tflite file from anywhere."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ...runtime.bundle import MANIFEST, Bundle, load_bundle
from ...runtime.errors import InputError
from ..graph import Graph
from .metadata import Metadata
from .tflite_reader import read_network
from .tflite_structure import MAX_BYTES
from .tflite_writer import write_tflite

_MODEL = "model.tflite"


@dataclass(frozen=True, eq=False)
class ModelFile:
    """An int8 network that was read.

    `data` is a .tflite that runs exactly `graph`, its tensors under the graph's names: the file itself (`stored`), or
    where that has float ends or names of its own, the graph written anew. `bundle` is None for a bare file, whose
    labels and front end are in `metadata` when it has any.
    """

    path: Path
    data: bytes
    graph: Graph
    bundle: Bundle | None
    stored: bytes = b""
    metadata: Metadata | None = None

    @property
    def as_stored(self) -> bool:
        """Whether `data` is the file's own bytes."""
        return self.data == self.stored


def open_model(path: Path) -> ModelFile:
    """Read the bundle, qat run or .tflite file at `path`.

    Raises `InputError` when it is none of them, is damaged, or is no fully-integer network of this toolkit's ops.
    """
    bundle = load_bundle(path) if (path / MANIFEST).is_file() else None
    file = path if bundle is None else bundle.file(_MODEL)
    if bundle is None and path.is_dir():
        file = _of_run(path)
    if not file.is_file():
        raise InputError(f"no model at {path}: name a bundle, a qat run or a .tflite file")
    if file.stat().st_size > MAX_BYTES:
        raise InputError(f"{file} is larger than {MAX_BYTES} bytes: not a model for this kind of device")
    stored = file.read_bytes()
    network = read_network(stored, str(file))
    data = stored if network.as_stored else write_tflite(network.graph, network.metadata)
    return ModelFile(path, data, network.graph, bundle, stored, network.metadata)


def _of_run(path: Path) -> Path:
    """The model of the qat run at `path`, its hash checked here: `training.run` would import torch."""
    manifest, file = path / "run.json", path / _MODEL
    try:
        expected = json.loads(manifest.read_bytes())["files"][_MODEL]
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"no model at {path}: name a bundle, a qat run or a .tflite file") from None
    if found != expected:
        raise InputError(f"{file} was changed or damaged (its SHA-256 is not {manifest.name}'s): train again")
    return file
