"""ViT, the plain vision transformer on patches of the log-mel that do not overlap.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv 2010.11929), with the mean over all patches in place of a
class token.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...runtime.frontend_spec import PASST
from .transformer import Patches, Transformer, embedding, initialize, n_patches


class ViT(nn.Module):
    """A teacher: (batch, 1, 128, n_frames) log-mel of `frontend_spec.PASST` -> (batch, n_classes) logits.

    A 1-s clip has 8 x 6 patches at `patch_stride` 16; one table holds the position of each.
    """

    def __init__(
        self, n_classes: int = 10, dim: int = 64, depth: int = 2, heads: int = 2, patch_stride: int = 16
    ) -> None:
        super().__init__()
        self.patches = Patches(dim, patch_stride)
        self.position = embedding(self.patches.rows, n_patches(PASST.n_frames(), patch_stride), dim)
        self.transformer = Transformer(dim, depth, heads)
        self.head = nn.Linear(dim, n_classes)
        initialize(self)

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, 1, 128, n_frames) float -> (batch, n_classes) logits; more than 1.1 s is an `InputError`."""
        tokens = self.patches(log_mel, self.position.shape[1])
        tokens = tokens + self.position[:, : tokens.shape[2]]
        return self.head(self.transformer(tokens.flatten(1, 2)).mean(dim=1))
