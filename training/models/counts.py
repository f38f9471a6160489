"""What a network costs, layer by layer, in the convention of DCASE's calculators (NeSsi, torchinfo).

A convolution costs (weights + bias) x output positions, another layer its weight and bias once, and everything else
(pooling, sums, GRN's two scalars) no multiply-accumulate; batch norms are counted as they stand, not folded. Each
parameter is one byte, as in an int8 network whose every parameter is stored in 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ...runtime.budget import LayerCost


def layer_costs(model: nn.Module, n_mels: int, n_frames: int) -> list[LayerCost]:
    """Cost of each layer of `model` that has parameters, for one (1, 1, n_mels, n_frames) log-mel, in running order."""
    costs: list[LayerCost] = []

    def count(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        sizes = {kind: parameter.numel() for kind, parameter in module.named_parameters(recurse=False)}
        positions = output.shape[2:].numel() if isinstance(module, nn.Conv2d) else 1
        macs = positions * (sizes.get("weight", 0) + sizes.get("bias", 0))
        costs.append(LayerCost(name, sum(sizes.values()), macs, sum(sizes.values())))

    hooks = [
        module.register_forward_hook(partial(count, name))
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    modes = {module: module.training for module in model.modules()}
    parameter = next(model.parameters())
    try:
        model.eval()  # so that counting leaves every running statistic as it was
        with torch.no_grad():
            model(torch.zeros(1, 1, n_mels, n_frames, device=parameter.device, dtype=parameter.dtype))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return costs


def totals(costs: Sequence[LayerCost]) -> tuple[int, int]:
    """(parameters, multiply-accumulates) of a whole network."""
    return sum(cost.parameters for cost in costs), sum(cost.macs for cost in costs)
