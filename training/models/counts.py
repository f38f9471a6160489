"""What a network costs, layer by layer, in the convention of DCASE's calculators (NeSsi, torchinfo).

A convolution or a linear layer costs (weights + bias) x output positions, a recurrent layer the same for each time
step, another layer its weight and bias once, and everything else (pooling, sums, activations, softmax, GRN's two
scalars, position embeddings) no multiply-accumulate; batch norms are counted as they stand, not folded. Attention costs
its four projections for each token and the two products of tokens with tokens (scores, weighted values), which
calculators of layers do not see. Each parameter is one byte, as in an int8 network whose every parameter is stored in
8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...runtime.budget import LayerCost


def layer_costs(model: nn.Module, n_mels: int, n_frames: int) -> list[LayerCost]:
    """Cost of each layer of `model` that has parameters, for one (1, 1, n_mels, n_frames) log-mel, in running order."""
    costs: list[LayerCost] = []

    def count(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        # Attention uses its output projection's weights without calling that layer.
        whole = isinstance(module, nn.MultiheadAttention)
        sizes = {kind: parameter.numel() for kind, parameter in module.named_parameters(recurse=whole)}
        parameters = sum(sizes.values())
        if isinstance(module, nn.Conv2d):
            macs = output.shape[2:].numel() * parameters
        elif isinstance(module, nn.Linear):
            macs = output.shape[:-1].numel() * parameters
        elif isinstance(module, nn.GRU):
            macs = inputs[0].shape[1] * parameters
        elif isinstance(module, nn.MultiheadAttention):
            tokens = inputs[0].shape[1]
            macs = tokens * parameters + 2 * tokens**2 * module.embed_dim
        else:
            macs = sizes.get("weight", 0) + sizes.get("bias", 0)
        costs.append(LayerCost(name or type(module).__name__, parameters, macs, parameters))

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
