"""PaSST, a transformer on overlapping patches of the log-mel, trained with some rows and columns of them left out.

Koutini et al., "Efficient Training of Audio Transformers with Patchout" (arXiv 2110.05069). Positions are learnt for
frequency and time apart, so that clips of other lengths keep their frequencies; a class and a distillation token,
averaged, carry the answer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...runtime.frontend_spec import PASST
from .transformer import Patches, Transformer, embedding, initialize, n_patches

#: Frames that the time positions cover: the 10-s clips of the published weights.
MAX_FRAMES = 998


class PaSST(nn.Module):
    """A teacher: (batch, 1, 128, n_frames) log-mel of `frontend_spec.PASST` -> (batch, n_classes) logits.

    `patchout_frequency` rows and `patchout_time` columns of patches are left out of each training batch, drawn from
    torch's global generator; a 1-s clip has 12 x 9 patches at `patch_stride` 10. The published network has `dim` 768,
    `depth` 12 and `heads` 12.
    """

    def __init__(
        self,
        n_classes: int = 10,
        dim: int = 64,
        depth: int = 2,
        heads: int = 2,
        patch_stride: int = 10,
        patchout_frequency: int = 6,
        patchout_time: int = 0,
    ) -> None:
        super().__init__()
        self.patches = Patches(dim, patch_stride)
        for name, left_out, there in (
            ("patchout_frequency", patchout_frequency, self.patches.rows),
            ("patchout_time", patchout_time, n_patches(PASST.n_frames(), patch_stride)),
        ):
            if not 0 <= left_out < there:
                raise ValueError(f"{name} is {left_out}, expected 0 to {there - 1}: a 1-s clip has {there}")
        self.patchout_frequency = patchout_frequency
        self.patchout_time = patchout_time
        self.frequency_position = embedding(self.patches.rows, dim)
        self.time_position = embedding(n_patches(MAX_FRAMES, patch_stride), dim)
        self.special = embedding(2, dim)  # class and distillation token
        self.special_position = embedding(2, dim)
        self.transformer = Transformer(dim, depth, heads)
        self.pooled_norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, n_classes)
        initialize(self)

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, 1, 128, n_frames) float -> (batch, n_classes) logits; up to 10 s, then `InputError`."""
        tokens = self.patches(log_mel, len(self.time_position))
        columns = tokens.shape[2]
        # A shorter clip could come from anywhere in the 10 s: training lets it, evaluation puts it at their start.
        spare = len(self.time_position) - columns
        first = int(torch.randint(spare + 1, ())) if self.training and spare else 0
        tokens = tokens + self.time_position[first : first + columns] + self.frequency_position[:, None]
        if self.training:
            tokens = _leave_out(tokens, 2, self.patchout_time)
            tokens = _leave_out(tokens, 1, self.patchout_frequency)
        special = (self.special + self.special_position).expand(len(tokens), -1, -1)
        tokens = self.transformer(torch.cat([special, tokens.flatten(1, 2)], dim=1))
        return self.head(self.pooled_norm(tokens[:, :2].mean(dim=1)))


def _leave_out(tokens: Tensor, axis: int, count: int) -> Tensor:
    """`tokens` without `count` random places along `axis`, the same ones for the whole batch."""
    if not count:
        return tokens
    size = tokens.shape[axis]
    kept = torch.randperm(size)[: size - count].sort().values
    return tokens.index_select(axis, kept.to(tokens.device))
