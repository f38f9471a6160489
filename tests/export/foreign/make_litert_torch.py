"""Makes `litert_torch.tflite` with litert-torch and ai-edge-quantizer (0.10): `python make_litert_torch.py`.

A small convolutional network of torch with untrained weights, statically quantised after calibration on noise.
"""

import litert_torch
import numpy as np
import torch
from ai_edge_quantizer import quantizer, recipe
from torch import nn


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    ).eval()  # fmt: skip


if __name__ == "__main__":
    litert_torch.convert(network(), (torch.randn(1, 1, 32, 16),)).export("litert_torch.tflite")
    worker = quantizer.Quantizer("litert_torch.tflite", recipe.static_wi8_ai8())
    rng = np.random.default_rng(0)
    clips = [{"args_0": rng.normal(size=(1, 1, 32, 16)).astype(np.float32)} for _ in range(20)]
    ranges = worker.calibrate({"serving_default": clips})
    worker.quantize(ranges).export_model("litert_torch.tflite", overwrite=True)
