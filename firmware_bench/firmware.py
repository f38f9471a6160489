"""All that runs on the part, as files: the model, and the front end and the scene where its contract is known."""

from __future__ import annotations

from dataclasses import dataclass

from ..export.formats.model_file import ModelFile
from ..runtime.frontend_spec import FrontendSpec
from .frontend.sources import files as frontend_files
from .frontend.sources import library
from .generator.model import GeneratedModel, generate, library_files
from .targets.target import Target


@dataclass(frozen=True, eq=False)
class Program:
    """C files by name; `listens` when the front end is among them, so that audio goes in and decisions come out."""

    model: GeneratedModel
    files: dict[str, str | bytes]
    listens: bool


def assemble(model: ModelFile, target: Target, ram_limit_bytes: int | None = None) -> Program:
    """The C of `model` with the kernels and the front end that suit `target`.

    A bare .tflite without a contract has no front end: its network alone is assembled. Raises `InputError` for a
    network or a contract that the C cannot do.
    """
    labels, frontend = contract_of(model)
    generated = generate(
        model.graph,
        target.family,
        labels=labels,
        contract_hash="" if frontend is None else frontend.hash(),
        ram_limit_bytes=ram_limit_bytes,
    )
    if frontend is None:
        return Program(generated, dict(generated.files), False)
    fixed, quant = target.frontend == "fixed", model.graph.input_quant
    tables: dict[str, str | bytes] = {**frontend_files(frontend, quant.scale, quant.zero_point, fixed)}
    files = {**generated.files, **tables, **library_files(library(fixed), *tables.values())}
    return Program(generated, dict(sorted(files.items())), True)


def contract_of(model: ModelFile) -> tuple[tuple[str, ...] | None, FrontendSpec | None]:
    """Labels and front end of a bundle, or of the file's own metadata; None for a file without."""
    if model.bundle is not None:
        return model.bundle.labels, model.bundle.frontend
    if model.metadata is not None:
        return tuple(model.metadata.labels), model.metadata.frontend
    return None, None
