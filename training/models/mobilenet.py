"""MobileNetV3-large of any width, the network of EfficientAT's AudioSet weights.

Howard et al., "Searching for MobileNetV3" (arXiv 1905.02244), one input channel, as in Schmid et al., "Efficient
Large-Scale Audio Tagging via Transformer-to-CNN Knowledge Distillation" (arXiv 2211.04772): squeeze-excitation over
channels, through linear layers and a plain sigmoid. Modules are named as in the published weights but for the
squeeze-excitation's and the last layer's (`head` here).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from .cp_mobile import make_divisible


class Row(NamedTuple):
    """One inverted bottleneck at width 1."""

    kernel: int
    expanded: int
    outputs: int
    squeeze: bool
    hard_swish: bool  # else ReLU
    stride: int


#: Table 1 of the paper.
ROWS = (
    Row(3, 16, 16, False, False, 1),
    Row(3, 64, 24, False, False, 2),
    Row(3, 72, 24, False, False, 1),
    Row(5, 72, 40, True, False, 2),
    Row(5, 120, 40, True, False, 1),
    Row(5, 120, 40, True, False, 1),
    Row(3, 240, 80, False, True, 2),
    Row(3, 200, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 480, 112, True, True, 1),
    Row(3, 672, 112, True, True, 1),
    Row(5, 672, 160, True, True, 2),
    Row(5, 960, 160, True, True, 1),
    Row(5, 960, 160, True, True, 1),
)

#: Of the convolutions' first layer and of the classifier's, at width 1.
STEM, EMBEDDING = 16, 1280

DROPOUT = 0.2


def conv_bn(
    inputs: int,
    outputs: int,
    activation: type[nn.Module] | None,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution without bias, batch norm with the paper's constants, activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=(kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
    ]
    if activation is not None:
        layers.append(activation(inplace=True))
    return nn.Sequential(*layers)


class SqueezeExcitation(nn.Module):
    """Each channel scaled by what a quarter-width perceptron makes of all channels' means (arXiv 1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = make_divisible(channels // 4)
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, freq, time) -> the same shape."""
        scale = self.fc2(self.fc1(x.mean(dim=(2, 3))).relu()).sigmoid()
        return x * scale[:, :, None, None]


class InvertedResidual(nn.Module):
    """1x1 expand (when it widens), depthwise, squeeze-excitation (when asked for), 1x1 project; a residual."""

    def __init__(self, inputs: int, row: Row) -> None:
        super().__init__()
        activation = nn.Hardswish if row.hard_swish else nn.ReLU
        layers: list[nn.Module] = []
        if row.expanded != inputs:
            layers.append(conv_bn(inputs, row.expanded, activation))
        layers.append(conv_bn(row.expanded, row.expanded, activation, row.kernel, row.stride, groups=row.expanded))
        if row.squeeze:
            layers.append(SqueezeExcitation(row.expanded))
        layers.append(conv_bn(row.expanded, row.outputs, None))
        self.block = nn.Sequential(*layers)
        self.residual = row.stride == 1 and inputs == row.outputs

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, freq, time) -> (batch, outputs, freq', time')."""
        y = self.block(x)
        return x + y if self.residual else y


class MobileNetV3(nn.Module):
    """A teacher: (batch, 1, n_mels, n_frames) log-mel of `frontend_spec.EFFICIENTAT` -> (batch, n_classes) logits.

    `width` multiplies the channels of every layer, rounded to multiples of 8.
    """

    def __init__(self, n_classes: int = 10, width: float = 0.4) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return make_divisible(channels * width)

        rows = [row._replace(expanded=scaled(row.expanded), outputs=scaled(row.outputs)) for row in ROWS]
        layers: list[nn.Module] = [conv_bn(1, scaled(STEM), nn.Hardswish, kernel=3, stride=2)]
        inputs = scaled(STEM)
        for row in rows:
            layers.append(InvertedResidual(inputs, row))
            inputs = row.outputs
        layers.append(conv_bn(inputs, 6 * inputs, nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6 * inputs, scaled(EMBEDDING)),
            nn.Hardswish(inplace=True),
            nn.Dropout(DROPOUT, inplace=True),
        )
        self.head = nn.Linear(scaled(EMBEDDING), n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, 1, n_mels, n_frames) float -> (batch, n_classes) logits."""
        return self.head(self.classifier(self.features(log_mel)))
