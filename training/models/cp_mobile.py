"""CP-Mobile, the student: inverted bottlenecks on a log-mel, at most 128 K parameters.

Schmid et al., "CP-JKU Submission to DCASE23: Efficient Acoustic Scene Classification with CP-Mobile". At the defaults
and with GRN it has 126,952 parameters and 28.89 M multiply-accumulates for 256 x 64 log-mels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .norm import make_norm
from .padding import SameAvgPool2d, SameConv2d

PADDINGS = ("symmetric", "same")

STRIDES: Mapping[str, Sequence[int]] = {"b2": (2, 2), "b4": (2, 1)}


def make_divisible(width: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `width`, but never below 90 % of it (MobileNet's rule)."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


class ConvBn(nn.Module):
    """Convolution without bias (`conv`, output as large as input / stride) and batch norm (`bn`).

    `same` chooses SAME padding where that differs from torch's, which is where a stride is not 1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: tuple[int, int] = (1, 1),
        groups: int = 1,
        same: bool = False,
    ) -> None:
        super().__init__()
        if same and stride != (1, 1):
            self.conv: nn.Conv2d = SameConv2d(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
        else:
            padding = (kernel - 1) // 2
            self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, freq, time) -> (batch, outputs, freq', time')."""
        return self.bn(self.conv(x))


class ConvBnRelu(ConvBn):
    """`ConvBn` followed by a ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, freq, time) -> (batch, outputs, freq', time'), not negative."""
        # In place: batch norm does not need its output again, and writing to it saves a tenth of the forward pass.
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Block(nn.Module):
    """1x1 expand, 3x3 depthwise, 1x1 project; a residual when the width stays; normalisation; ReLU."""

    def __init__(
        self, inputs: int, outputs: int, expansion_rate: float, stride: tuple[int, int], norm: str, same: bool = False
    ) -> None:
        super().__init__()
        hidden = make_divisible(inputs * expansion_rate)
        self.expand = ConvBnRelu(inputs, hidden)
        self.depthwise = ConvBnRelu(hidden, hidden, kernel=3, stride=stride, groups=hidden, same=same)
        self.project = ConvBn(hidden, outputs)
        self.residual = inputs == outputs
        # The residual has to shrink with the block; a 3x3 mean has the depthwise convolution's geometry.
        self.pool: nn.Module | None = None
        if self.residual and stride != (1, 1):
            self.pool = SameAvgPool2d(3, stride) if same else nn.AvgPool2d(3, stride=stride, padding=1)
        self.norm = make_norm(norm, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, freq, time) -> (batch, outputs, freq', time'), not negative."""
        y = self.project(self.depthwise(self.expand(x)))
        if self.residual:
            y = y + (x if self.pool is None else self.pool(x))
        return F.relu(self.norm(y))


class CPMobile(nn.Module):
    """The student: (batch, 1, n_mels, n_frames) log-mel -> (batch, n_classes) logits.

    `strides` maps blocks, counted from "b1" through all stages, to (frequency, time) strides; `norm` is the form of
    normalisation after each block: "none", "grn" (no integer target runs it whole) or "frozen" (folds away). `padding`
    is how strided windows meet the borders: "same" as in TFLite, with no op; "symmetric" as in the published weights.
    """

    def __init__(
        self,
        n_classes: int = 10,
        base_channels: int = 32,
        channels_multiplier: float = 2.3,
        expansion_rate: float = 3.0,
        strides: Mapping[str, Sequence[int]] = STRIDES,
        blocks_per_stage: Sequence[int] = (3, 2, 1),
        norm: str = "none",
        padding: str = "same",
    ) -> None:
        super().__init__()
        if padding not in PADDINGS:
            raise ValueError(f"padding is {padding!r}, expected one of {', '.join(PADDINGS)}")
        same = padding == "same"
        base = make_divisible(base_channels)
        # The first stage keeps the base width: its multiplier is to the power 0.
        widths = [make_divisible(base * channels_multiplier**stage) for stage in range(len(blocks_per_stage))]
        outputs = [width for width, count in zip(widths, blocks_per_stage, strict=True) for _ in range(count)]
        numbers = {f"b{index + 1}" for index in range(len(outputs))}
        if not set(strides) <= numbers:
            raise ValueError(f"strides name {sorted(set(strides) - numbers)}, the blocks are b1 to b{len(outputs)}")
        self.stem = nn.Sequential(
            ConvBnRelu(1, base // 4, 3, stride=(2, 2), same=same),
            ConvBnRelu(base // 4, base, 3, stride=(2, 2), same=same),
        )
        self.blocks = nn.ModuleList()
        for index, (width_in, width_out) in enumerate(zip([base, *outputs], outputs, strict=False)):
            frequency, time = strides.get(f"b{index + 1}", (1, 1))
            self.blocks.append(Block(width_in, width_out, expansion_rate, (int(frequency), int(time)), norm, same))
        self.head = ConvBn(outputs[-1], n_classes)

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, 1, n_mels, n_frames) float -> (batch, n_classes) logits."""
        x = self.stem(log_mel)
        for block in self.blocks:
            x = block(x)
        return self.head(x).mean(dim=(2, 3))
