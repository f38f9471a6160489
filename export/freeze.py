"""A student with global response normalisation as one whose normaliser is frozen to its mean over calibration clips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..runtime.errors import InputError
from ..training.models.build import build_model
from ..training.models.cp_mobile import Block, CPMobile
from ..training.models.norm import GRN, FrozenGRN, normalizer
from ..training.run import Run

_BATCH = 32


def freeze_norm(run: Run, log_mels: NDArray[np.float32]) -> tuple[CPMobile, dict[str, Any]]:
    """The run's network with `norm="frozen"`, and its arguments; the means are over `log_mels` (n, n_mels, n_frames).

    The two networks give different answers until the frozen one has been fine-tuned. Raises `InputError` when the run
    has no global response normalisation to freeze.
    """
    source = run.build()
    if not isinstance(source, CPMobile) or not all(isinstance(block.norm, GRN) for block in source.blocks):
        norm = run.arguments.get("norm", "none")
        raise InputError(f"run {run.path} has norm {norm!r}: only a network with norm 'grn' can be frozen")
    arguments = {**run.arguments, "norm": "frozen"}
    frozen = build_model(run.arch, arguments, len(run.labels))
    assert isinstance(frozen, CPMobile)
    frozen.load_state_dict(source.state_dict(), strict=False)  # all but the normalisers' means
    sums: list[Tensor] = []
    hooks = []
    for block in source.blocks:
        assert isinstance(block, Block)
        sums.append(torch.zeros(block.project.conv.out_channels))
        hooks.append(block.norm.register_forward_hook(_adder(sums[-1])))
    with torch.inference_mode():
        for start in range(0, len(log_mels), _BATCH):
            source(torch.from_numpy(log_mels[start : start + _BATCH])[:, None])
    for hook in hooks:
        hook.remove()
    for block, total in zip(frozen.blocks, sums, strict=True):
        assert isinstance(block.norm, FrozenGRN)
        block.norm.n.copy_(total / len(log_mels))
    return frozen.eval(), arguments


def _adder(total: Tensor) -> Callable[..., None]:
    def add(module: object, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        total.add_(normalizer(inputs[0]).sum(dim=(0, 2, 3)))

    return add
