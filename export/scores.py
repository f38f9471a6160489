"""One table for the same snippets through every form of a network: accuracy, and agreement with the float one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..runtime.bundle import Bundle
from ..runtime.engine import Kernels, open_engine
from ..runtime.errors import UnavailableError
from ..runtime.output import Output, format_table
from ..training.batches import TrainingData
from .clips import log_mels
from .fake_quant import GraphNet
from .golden import Predict
from .graph import Graph
from .verify import run_onnx

#: The reference kernels take about a tenth of a second a snippet; more snippets than this hardly move a figure.
MAX_SNIPPETS = 2000

_CHUNK = 128


@dataclass(frozen=True)
class Score:
    """One form of the network: None where nothing can be compared or the engine is missing (`note` says why)."""

    name: str
    accuracy: float | None
    agreement: float | None
    note: str = ""


@dataclass(frozen=True)
class Scores:
    """All forms on the same `snippets`, of which `scored` have a scene that the network knows."""

    data: str
    fold: int
    snippets: int
    scored: int
    rows: tuple[Score, ...]

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain JSON values."""
        return asdict(self)

    def table(self) -> str:
        """The scores for a person."""
        rows = [[row.name, row.accuracy, row.agreement, row.note] for row in self.rows]
        counted = f"{self.data}, fold {self.fold}: {self.snippets:,} evaluation snippets"
        if self.scored < self.snippets:
            counted += f", accuracy on the {self.scored:,} whose scene the network knows"
        return f"{format_table(['network', 'accuracy', 'agreement with float', 'note'], rows)}\n{counted}"


def score_engines(bundle: Bundle, model: nn.Module, graph: Graph, data: TrainingData, output: Output) -> Scores:
    """Score the float `model`, the int8 `graph` in torch, and the bundle's files in each engine on `data`.

    At most `MAX_SNIPPETS` snippets of the evaluation side, evenly spread.
    """
    indices = data.evaluate
    if len(indices) > MAX_SNIPPETS:
        indices = indices[np.linspace(0, len(indices) - 1, MAX_SNIPPETS).astype(int)]
    output.log(f"scoring {len(indices):,} evaluation snippets in every engine")
    engines = dict(_engines(bundle, model, graph))
    rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in engines}
    notes: dict[str, str] = {}
    for start in range(0, len(indices), _CHUNK):
        batch = log_mels(data.cache.waves[indices[start : start + _CHUNK]], bundle.frontend)
        for name, predict in engines.items():
            if name in notes:
                continue
            try:
                rows[name].append(predict(batch))
            except UnavailableError as error:
                notes[name] = str(error)
    truth = _truth(bundle.labels, data)[data.cache.label[indices]]
    known = truth >= 0
    answers = {name: np.concatenate(logits).argmax(axis=1) for name, logits in rows.items() if name not in notes}
    first = answers[next(iter(engines))]
    scores = []
    for name in engines:
        if name in notes:
            scores.append(Score(name, None, None, notes[name]))
            continue
        accuracy = float((answers[name] == truth)[known].mean()) if known.any() else None
        scores.append(Score(name, accuracy, float((answers[name] == first).mean())))
    return Scores(data.corpus.root.resolve().name, data.fold_number, len(indices), int(known.sum()), tuple(scores))


def _truth(labels: tuple[str, ...], data: TrainingData) -> NDArray[np.int64]:
    """The network's class of each of the corpus' scenes, -1 for one it does not know."""
    number = {label: index for index, label in enumerate(labels)}
    return np.array([number.get(label, -1) for label in data.labels], np.int64)


def _engines(bundle: Bundle, model: nn.Module, graph: Graph) -> Iterator[tuple[str, Predict]]:
    yield "float, torch", predictor(model)
    yield "int8, torch fake-quant", predictor(GraphNet.from_int8(graph))
    yield "int8, LiteRT reference", _litert(bundle, "reference")
    yield "int8, LiteRT default", _litert(bundle, "default")
    yield "int8, ONNX QDQ", partial(run_onnx, bundle.file("model.onnx").read_bytes())
    yield "float, ONNX", partial(run_onnx, bundle.file("model_float.onnx").read_bytes())


def _litert(bundle: Bundle, kernels: Kernels) -> Predict:
    engine = open_engine(bundle, kernels)
    return lambda batch: np.stack([engine.logits(log_mel) for log_mel in batch])


def predictor(model: nn.Module) -> Predict:
    """A torch network, put into evaluation mode, as a function from log-mels (n, n_mels, n_frames) to logits."""
    model.eval()

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(model(torch.from_numpy(batch)[:, None]).numpy())

    return predict
