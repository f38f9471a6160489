"""CRNN, convolutions that see what sounds and a recurrent layer that hears how it goes on.

The usual network of sound event detection (Cakir et al., arXiv 1702.06286): blocks of two convolutions, pooled mostly
in frequency, then a bidirectional GRU over what is left of time.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...runtime.frontend_spec import PASST

#: (frequency, time) pooling after each block; the first convolution's stride has halved both before.
POOLS = ((2, 2), (4, 1), (4, 1))


class ConvBlock(nn.Sequential):
    """Two 3x3 convolutions with batch norm and ReLU, then a mean over `pool`."""

    def __init__(self, inputs: int, outputs: int, pool: tuple[int, int], stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(pool),
        )


class CRNN(nn.Module):
    """A teacher: (batch, 1, 128, n_frames) log-mel of `frontend_spec.PASST` -> (batch, n_classes) logits.

    The blocks are 1, 2 and 4 times `base_channels` wide, the GRU has `hidden` units in each direction and a step of
    40 ms; its outputs are averaged over time.
    """

    def __init__(self, n_classes: int = 10, base_channels: int = 16, hidden: int = 48) -> None:
        super().__init__()
        widths = [base_channels, 2 * base_channels, 4 * base_channels]
        self.blocks = nn.Sequential(
            *(
                ConvBlock(inputs, outputs, pool, stride=2 if inputs == 1 else 1)
                for inputs, outputs, pool in zip([1, *widths], widths, POOLS, strict=False)
            )
        )
        rows = PASST.n_mels // 2
        for frequency, _ in POOLS:
            rows //= frequency
        self.recurrent = nn.GRU(rows * widths[-1], hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, n_classes)
        for module in self.blocks.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, 1, 128, n_frames) float -> (batch, n_classes) logits."""
        x = self.blocks(log_mel)
        sequence, _ = self.recurrent(x.permute(0, 3, 1, 2).flatten(2))  # (batch, time, channels x frequency)
        return self.head(sequence.mean(dim=1))
