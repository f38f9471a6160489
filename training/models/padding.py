"""TensorFlow's SAME padding for strided windows: what does not divide evenly is padded more behind than before.

torch pads both sides alike, which for a stride of 2 on an even length reads one zero before the signal and none behind.
An integer runtime can only do that with an op of its own (PAD); SAME is an attribute of its convolutions and pools.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def same_pads(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> tuple[int, int, int, int]:
    """Zeros to put around a (freq, time) plane of `size`, as torch's pad takes them: (left, right, top, bottom)."""
    pads: list[int] = []
    for length, taps, step in zip(size[::-1], kernel[::-1], stride[::-1], strict=True):
        total = max((-(-length // step) - 1) * step + taps - length, 0)
        pads += [total // 2, total - total // 2]
    return (pads[0], pads[1], pads[2], pads[3])


class SameConv2d(nn.Conv2d):
    """A convolution with SAME padding; its own `padding` is 0."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, freq, time) -> (batch, outputs, ceil(freq / stride), ceil(time / stride))."""
        return super().forward(F.pad(x, same_pads(x.shape[2:], self.kernel_size, self.stride)))


class SameAvgPool2d(nn.Module):
    """A mean over windows with SAME padding, over what of each window lies inside its input."""

    def __init__(self, kernel: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.kernel_size = (kernel, kernel)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, freq, time) -> (batch, channels, ceil(freq / stride), ceil(time / stride))."""
        pads = same_pads(x.shape[2:], self.kernel_size, self.stride)
        inside = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), pads), self.kernel_size, self.stride)
        return F.avg_pool2d(F.pad(x, pads), self.kernel_size, self.stride) / inside
