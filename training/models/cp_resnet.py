"""CP-ResNet, a teacher of another kind than the student: a residual network with a restricted receptive field.

Koutini et al., "Receptive Field Regularization Techniques for Audio Classification and Tagging with Deep Convolutional
Neural Networks" (arXiv 2105.12395), in the low-complexity form that the source paper distils from: (2, 1, 1) blocks,
grouped second stage. `rho` sets the receptive field by turning the deeper 3x3 kernels into 1x1 ones.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

#: Channels taken off the third stage at base 32, so that the network has 127,684 parameters.
STAGE_3_CUT = 36


#: Smallest and largest `rho`: beyond them the four blocks have no kernel left to turn.
RHOS = (1, 9)


def _kernels(rho: int) -> list[tuple[int, int]]:
    """(first, second) kernel of each of the four blocks: 3 where `rho` reaches the kernel, else 1.

    In the published rule, `rho` counts the kernels that are 3x3 through the stages, from the network's start: in the
    first stage the block after the first gets its two at 2 and 3; in the second stage, of at most two blocks, they come
    at 4, 5, 6 and 7; in the third at 8, 9, 10 and 11. Stages two and three have one block here, so 6 and 7 add nothing
    to 5, and 9 is the largest. The first block is always (3, 1).
    """
    if not RHOS[0] <= rho <= RHOS[1]:
        raise ValueError(f"rho is {rho}, expected {RHOS[0]} to {RHOS[1]}")

    def kernel(reached_at: int) -> int:
        return 3 if rho >= reached_at else 1

    return [(3, 1), (kernel(2), kernel(3)), (kernel(4), kernel(5)), (kernel(8), kernel(9))]


class BasicBlock(nn.Module):
    """Two convolutions with batch norm and a residual, projected by a 1x1 convolution when the width changes."""

    def __init__(self, inputs: int, outputs: int, kernels: tuple[int, int], groups: int) -> None:
        super().__init__()
        first, second = kernels
        self.conv1 = nn.Conv2d(inputs, outputs, first, padding=first // 2, groups=groups, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, second, padding=second // 2, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, groups=groups, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, freq, time) -> (batch, outputs, freq, time), not negative."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    def initialize(self, n_blocks: int) -> None:
        """Fixup's start (Zhang et al., arXiv 1901.09321): an identity whose first convolution shrinks with depth."""
        _he_normal(self.conv1, n_blocks**-0.5)
        nn.init.zeros_(self.conv2.weight)
        if isinstance(self.shortcut, nn.Sequential):
            _he_normal(self.shortcut[0], 1.0)


def _he_normal(convolution: nn.Module, scale: float) -> None:
    assert isinstance(convolution, nn.Conv2d)
    height, width = convolution.kernel_size
    nn.init.normal_(convolution.weight, std=scale * math.sqrt(2.0 / (height * width * convolution.out_channels)))


class CPResNet(nn.Module):
    """A teacher: (batch, 1, n_mels, n_frames) log-mel of `frontend_spec.CP_RESNET` -> (batch, n_classes) logits.

    Stage widths are base, 2 base and 4 base less 36 for each 32 of base (an even number); wider bases give the larger
    teachers: 127,684 parameters at 32, about 0.5 M at 64, 2 M at 128. `rho`, 1 to 9, sets the receptive field: 27 x 15
    (mels x frames) at 1, 155 x 55 at the published 8.
    """

    def __init__(self, n_classes: int = 10, base_channels: int = 32, rho: int = 8) -> None:
        super().__init__()
        if base_channels < 2 or base_channels % 2:
            raise ValueError(f"base_channels is {base_channels}, expected an even number of at least 2")
        first, second = base_channels, 2 * base_channels
        third = 4 * base_channels - 2 * round(STAGE_3_CUT * base_channels / 64)
        kernels = _kernels(rho)
        self.stem = nn.Conv2d(1, first, 5, stride=2, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(first)
        blocks = [
            BasicBlock(first, first, kernels[0], groups=1),
            BasicBlock(first, first, kernels[1], groups=1),
            BasicBlock(first, second, kernels[2], groups=2),
            BasicBlock(second, third, kernels[3], groups=1),
        ]
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Conv2d(third, n_classes, 1, bias=False)
        self.head_bn = nn.BatchNorm2d(n_classes)
        nn.init.kaiming_normal_(self.stem.weight, nonlinearity="relu")
        for block in blocks:
            block.initialize(len(blocks))
        nn.init.zeros_(self.head.weight)

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, 1, n_mels, n_frames) float -> (batch, n_classes) logits."""
        x = F.max_pool2d(F.relu(self.stem_bn(self.stem(log_mel))), (2, 2))
        # Frequency is halved after each block of the first stage: time stays, it has few frames as it is.
        x = F.max_pool2d(self.blocks[0](x), (2, 1))
        x = F.max_pool2d(self.blocks[1](x), (2, 1))
        x = self.blocks[3](self.blocks[2](x))
        return self.head_bn(self.head(x)).mean(dim=(2, 3))
