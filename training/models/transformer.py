"""What PaSST and ViT share: patches of a log-mel as tokens, and the transformer that they go through.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv 2010.11929): pre-norm blocks of self-attention and a
two-layer perceptron four times as wide, a last layer norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...runtime.errors import InputError
from ...runtime.frontend_spec import PASST

#: Mels and frames of a patch.
PATCH = 16

#: Of the layer norms, as in the published weights.
EPSILON = 1e-6


def n_patches(size: int, stride: int) -> int:
    """Patches that fit side by side into `size` mels or frames."""
    return (size - PATCH) // stride + 1


class Patches(nn.Module):
    """A log-mel cut into patches of 16 mels x 16 frames, `stride` apart in both directions, each mapped to `dim`."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        if not 1 <= stride <= PATCH:
            raise ValueError(f"patch_stride is {stride}, expected 1 to {PATCH}: patches are {PATCH} wide")
        self.stride = stride
        self.rows = n_patches(PASST.n_mels, stride)
        self.projection = nn.Conv2d(1, dim, PATCH, stride=stride)

    def forward(self, log_mel: Tensor, max_columns: int) -> Tensor:
        """(batch, 1, 128, n_frames) -> (batch, rows, columns, dim).

        Raises `InputError` when there are more than `max_columns`, which is all that the positions are known of.
        """
        n_frames = log_mel.shape[3]
        if n_patches(n_frames, self.stride) > max_columns:
            limit = PATCH + self.stride * max_columns - 1
            raise InputError(
                f"a log-mel of {n_frames} frames is too long: the position embedding covers {limit} frames "
                f"({limit * PASST.hop_s:.1f} s), give this network shorter clips"
            )
        return self.projection(log_mel).permute(0, 2, 3, 1)


class Transformer(nn.Module):
    """`depth` pre-norm blocks of width `dim` with `heads` attention heads, and a layer norm."""

    def __init__(self, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"heads is {heads}, expected a divisor of dim ({dim})")
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim,
                heads,
                dim_feedforward=4 * dim,
                dropout=0.0,
                activation="gelu",
                layer_norm_eps=EPSILON,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=EPSILON)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, n_tokens, dim) -> the same shape."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


def initialize(network: nn.Module) -> None:
    """Start as vision transformers do: matrices and embeddings from a normal of 0.02, biases at zero."""
    for name, parameter in network.named_parameters():
        if name.startswith("patches."):
            continue  # the patches' projection keeps the convolution's own start
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.dim() > 1:
            nn.init.trunc_normal_(parameter, std=0.02)


def embedding(*shape: int) -> nn.Parameter:
    """A learnt table, filled by `initialize`."""
    return nn.Parameter(torch.zeros(*shape))
