"""Logits of a network, or of a bundle's engine, for snippets of a cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..runtime.engines.engine import Engine
from ..runtime.errors import InputError
from ..runtime.frontend import log_mel
from ..runtime.frontend_spec import FrontendSpec
from ..runtime.output import Output
from .batches import INT16_SCALE
from .data.cache import SnippetCache
from .data.progress import track
from .features import LogMel
from .run import Run


def choose_device(name: str) -> torch.device:
    """The torch device called "auto" (CUDA when there is one), "cpu" or "cuda"; raises `InputError` when absent."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device is 'cuda', but torch sees no GPU: set device=cpu or device=auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def to_channels_last(model: nn.Module) -> nn.Module:
    """Lay the network's weights out with channels innermost: 1.3 to 1.5 times as fast on a CPU; returns itself."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def predict(
    model: nn.Module,
    frontend: FrontendSpec,
    cache: SnippetCache,
    indices: NDArray[np.int64],
    *,
    device: torch.device | None = None,
    output: Output | None = None,
    batch_size: int = 64,
) -> NDArray[np.float32]:
    """Logits of `model` (put into evaluation mode) for the snippets at `indices`, (n, n_classes) float32."""
    logits_of = predictor(model, frontend, device or torch.device("cpu"))
    starts = range(0, len(indices), batch_size)
    return np.concatenate(
        [
            logits_of(cache.rows(indices[start : start + batch_size]))
            for start in track(starts, "batches predicted", len(starts), output)
        ]
    )


def predictor(
    model: nn.Module, frontend: FrontendSpec, device: torch.device
) -> Callable[[NDArray[np.int16]], NDArray[np.float32]]:
    """`model` (put into evaluation mode) as a function of (batch, n_samples) int16 to (batch, n_classes) float32."""
    torch.set_flush_denormal(True)  # dead channels of a trained network hold denormal numbers, see `trainer.fit`
    features = LogMel(frontend).to(device)
    model = to_channels_last(model.to(device)).eval()

    @torch.inference_mode()
    def logits_of(waves: NDArray[np.int16]) -> NDArray[np.float32]:
        wave = torch.from_numpy(waves).to(device).float().mul_(INT16_SCALE)
        logits: Tensor = model(features(wave).contiguous(memory_format=torch.channels_last))
        return logits.float().cpu().numpy()

    return logits_of


def predict_run(
    run: Run, cache: SnippetCache, indices: NDArray[np.int64], output: Output | None = None
) -> NDArray[np.float32]:
    """Logits of a run's network for the snippets at `indices`, (n, n_classes) float32."""
    return predict(run.build(), run.frontend, cache, indices, device=choose_device("auto"), output=output)


def predict_engine(
    engine: Engine,
    frontend: FrontendSpec,
    cache: SnippetCache,
    indices: NDArray[np.int64],
    output: Output | None = None,
) -> NDArray[np.float32]:
    """Logits of an engine, with the runtime's front end, for the snippets at `indices`, (n, n_classes) float32."""
    rows = []
    for index in track(indices, f"snippets predicted by {engine.name}", len(indices), output):
        wave = cache.waves[index].astype(np.float32) * np.float32(INT16_SCALE)
        rows.append(engine.logits(log_mel(wave, frontend)))
    return np.stack(rows)
