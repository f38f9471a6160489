"""Global response normalisation, and the form of it that costs nothing on the device.

GRN (Woo et al., "ConvNeXt V2", arXiv 2301.00808) scales each channel by its share of the response: with g the L2 norm
of a channel over frequency and time, n = g / (mean of g over channels + 1e-6) and y = gamma * (x * n) + beta + x.
No integer engine runs it whole. In trained networks n hardly changes from clip to clip, so `FrozenGRN` replaces it by
its running mean: y = x * (1 + gamma * n) + beta is then affine in each channel and folds into the next convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-6


def normalizer(x: Tensor) -> Tensor:
    """Each channel's share of the response: (batch, channels, freq, time) -> (batch, channels, 1, 1), mean about 1."""
    energy = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
    return energy / (energy.mean(dim=1, keepdim=True) + EPSILON)


class GRN(nn.Module):
    """Global response normalisation with one learnt gamma and beta for all channels, both zero at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.beta = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, freq, time) -> the same shape."""
        return self.gamma * (x * normalizer(x)) + self.beta + x


class FrozenGRN(nn.Module):
    """GRN whose normaliser is one number a channel: the batch's mean in training, its running mean in evaluation.

    Buffer `n` is (channels,) float32, starts at 1 and follows the batches as batch norm's statistics do.
    """

    n: Tensor

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.gamma = nn.Parameter(torch.zeros(1))
        self.beta = nn.Parameter(torch.zeros(1))
        self.register_buffer("n", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, freq, time) -> the same shape."""
        n = self.n
        if self.training:
            # Detached: the deployed network has a constant here, so training follows that network's gradient.
            n = normalizer(x.detach()).mean(dim=(0, 2, 3))
            self.n.lerp_(n, self.momentum)
        return x * (1.0 + self.gamma * n).view(1, -1, 1, 1) + self.beta


def make_norm(form: str, channels: int) -> nn.Module:
    """The block normalisation called `form`: "none", "grn" or "frozen"."""
    if form == "none":
        return nn.Identity()
    if form == "grn":
        return GRN()
    if form == "frozen":
        return FrozenGRN(channels)
    raise ValueError(f"norm is {form!r}, expected 'none', 'grn' or 'frozen'")
