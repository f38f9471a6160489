"""Small networks with lively statistics, and log-mels to run them on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from tinyscene.training.models.cp_mobile import CPMobile
from tinyscene.training.models.norm import GRN, FrozenGRN


def lively(norm: str = "none", seed: int = 0, gamma: float = 0.7, **arguments: object) -> CPMobile:
    """A small CP-Mobile whose batch norms and block norms are far from the identity, in evaluation mode.

    Padded symmetrically unless `arguments` say otherwise: then its graph has a PAD for each kind of reader.
    """
    arguments = {"padding": "symmetric", **arguments}
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = CPMobile(n_classes=4, base_channels=8, norm=norm, **arguments)  # type: ignore[arg-type]

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        with torch.no_grad():
            tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # running statistics become the plain mean over what follows
            uniform(module.weight, 0.5, 1.5)
            uniform(module.bias, -0.3, 0.5)
        elif isinstance(module, (GRN, FrozenGRN)):
            uniform(module.gamma, gamma, gamma + 0.1)
            uniform(module.beta, -0.3, 0.3)
            if isinstance(module, FrozenGRN):
                uniform(module.n, 0.3, 2.0)
    model.train()
    for block in model.blocks:
        block.norm.eval()
    with torch.no_grad():  # statistics of log-mels, or the network would answer the same to all of them
        model(torch.from_numpy(mels(32, seed=9))[:, None])
    return model.eval()


def mels(count: int, n_mels: int = 64, n_frames: int = 32, seed: int = 1) -> NDArray[np.float32]:
    """Random log-mels with bands and events, (count, n_mels, n_frames) float32 of about the front end's range."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 0.5, (count, 1, 1))
    tilt = rng.normal(0, 0.5, (count, 1, 1)) * np.linspace(-1, 1, n_mels)[None, :, None]
    events = rng.normal(0, 0.3, (count, 1, n_frames))
    return (level + tilt + events + rng.normal(0, 0.3, (count, n_mels, n_frames))).astype(np.float32)
