"""A bare .tflite as something that can be scored: what it hears, what its answers mean, and an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime import frontend_spec
from ..runtime.bundle import load_bundle
from ..runtime.engines.engine import Engine
from ..runtime.engines.litert import Kernels, LiteRTEngine
from ..runtime.errors import InputError
from ..runtime.frontend_spec import FrontendSpec
from .formats.metadata import Metadata
from .formats.model_file import ModelFile, open_model
from .formats.tflite_writer import write_tflite

#: Contracts that a file of unknown origin may have been made for, told apart by the shape of its input.
KNOWN_FRONTENDS = (frontend_spec.STUDENT, frontend_spec.CP_RESNET, frontend_spec.PASST)


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network that runs, with its labels and contract; `origin` says where those two are from."""

    labels: tuple[str, ...]
    frontend: FrontendSpec
    engine: Engine
    origin: str


def open_classifier(path: Path, kernels: Kernels, like: Path | None, corpus_labels: Sequence[str]) -> Classifier:
    """The .tflite at `path` with the labels and front end of the bundle `like`, else of its own metadata, else by the
    corpus' scenes in alphabetical order and the shape of its input.

    What runs is the network that was read, written anew: an interpreter never sees the file. Raises `InputError` when
    the file is damaged or foreign, or when labels or front end do not fit it.
    """
    model = open_model(path)
    meaning, origin = meaning_of(model, like, corpus_labels)
    shape, classes = model.graph.tensor[model.graph.input].shape, model.graph.tensor[model.graph.output].shape[-1]
    expected = (1, meaning.frontend.n_mels, meaning.frontend.n_frames(), 1)
    if shape != expected:
        raise InputError(
            f"{path} reads {list(shape)}, the front end of {origin} gives {list(expected)}: say --like BUNDLE"
        )
    if classes != len(meaning.labels):
        raise InputError(
            f"{path} tells {classes} classes apart, {origin} has {len(meaning.labels)} labels: "
            "say with --like BUNDLE what they are"
        )
    network = LiteRTEngine(path, kernels, content=write_tflite(model.graph))
    shares = bool(model.graph.ops) and model.graph.ops[-1].kind == "SOFTMAX"
    return Classifier(meaning.labels, meaning.frontend, _Logits(network) if shares else network, origin)


def meaning_of(model: ModelFile, like: Path | None, corpus_labels: Sequence[str]) -> tuple[Metadata, str]:
    """Labels and front end of a model file as `open_classifier` finds them, and where they are from.

    Raises `InputError` when nothing says how the input is made of audio.
    """
    if like is not None:
        bundle = load_bundle(like)
        return Metadata(bundle.labels, bundle.frontend), str(like)
    if model.metadata is not None:
        return model.metadata, "its own metadata"
    shape = model.graph.tensor[model.graph.input].shape
    for spec in KNOWN_FRONTENDS:
        if shape == (1, spec.n_mels, spec.n_frames(), 1):
            return Metadata(tuple(sorted(corpus_labels)), spec), "the corpus"
    raise InputError(
        f"{model.path} reads {list(shape)} and does not say how that is made of audio: "
        "say with --like BUNDLE whose labels and front end it has"
    )


class _Logits:
    """An engine whose network ends in a softmax, with the logarithm of its shares: logits up to a constant."""

    def __init__(self, engine: LiteRTEngine) -> None:
        self.engine, self.name = engine, engine.name

    def logits(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (n_classes,); a share of less than half a step counts as that half."""
        shares = self.engine.logits(log_mel)
        return np.log(np.maximum(shares, np.float32(self.engine.output.scale / 2)))

    def run_int8(self, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
        """The shares as the network gives them."""
        return self.engine.run_int8(inputs)
