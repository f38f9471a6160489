"""Costs against the published figures, and against torchinfo, which defines the convention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchinfo
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tinyscene.runtime.budget import DEFAULT, Budget
from tinyscene.runtime.errors import GateError
from tinyscene.training.models.build import build_model, check_budget
from tinyscene.training.models.counts import layer_costs, totals

DCASE_2024_BASELINE: dict[str, Any] = {
    "channels_multiplier": 1.8,
    "expansion_rate": 2.1,
    "strides": {"b2": (1, 1), "b3": (1, 2), "b4": (2, 1)},
}


@pytest.mark.parametrize(
    ("arguments", "frames", "parameters", "macs"),
    [
        ({"norm": "grn"}, 64, 126_952, 28_893_268),
        ({"norm": "grn"}, 65, 126_952, 31_684_180),
        ({"norm": "frozen"}, 64, 126_952, 28_893_268),
        ({"norm": "none"}, 64, 126_940, 28_893_268),
        (DCASE_2024_BASELINE, 65, 61_148, 29_419_156),
    ],
)
def test_known_answers(arguments: dict[str, Any], frames: int, parameters: int, macs: int) -> None:
    assert totals(layer_costs(build_model("cpm", arguments, 10), 256, frames)) == (parameters, macs)


@pytest.mark.parametrize(
    ("arch", "arguments", "mels", "frames"),
    [
        ("cpm", {"base_channels": 8, "norm": "grn"}, 256, 64),
        ("cpm", {"base_channels": 24, "expansion_rate": 2.0}, 256, 50),
        ("cpr", {}, 256, 43),
        ("cpr", {"base_channels": 48, "rho": 4}, 256, 43),
        ("crnn", {}, 128, 100),
        ("crnn", {"base_channels": 8, "hidden": 20}, 128, 57),
        ("mn", {}, 128, 100),
        ("mn", {"width": 0.1}, 128, 321),
    ],
)
def test_torchinfo_counts_the_same(arch: str, arguments: dict[str, Any], mels: int, frames: int) -> None:
    model = build_model(arch, arguments, 10)
    reference = torchinfo.summary(model, input_size=(1, 1, mels, frames), verbose=0)
    # torchinfo gives no multiply-accumulates to parameters called neither weight nor bias (GRN's scalars).
    assert totals(layer_costs(model, mels, frames)) == (reference.total_params, reference.total_mult_adds)


@pytest.mark.parametrize(
    ("arch", "arguments", "patches", "tokens"),
    [("vit", {}, 48, 48), ("vit", {"dim": 96, "depth": 3, "heads": 3}, 48, 48), ("passt", {}, 108, 110)],
)
def test_transformers_cost_their_products_of_matrices(
    arch: str, arguments: dict[str, Any], patches: int, tokens: int
) -> None:
    """torchinfo counts a linear layer once, whatever its tokens: torch's own counter sees the products themselves."""
    model = build_model(arch, {**arguments, **({"patchout_frequency": 0} if arch == "passt" else {})}, 10)
    # The counter knows no attention in one kernel, and in evaluation torch runs whole blocks as one.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.train()(torch.zeros(1, 1, 128, 100))
    products = counter.get_total_flops() // 2
    once, additions = 0, 0
    for name, parameter in model.named_parameters():
        if "norm" in name:
            once += parameter.numel()
        elif name.endswith("bias"):
            places = 1 if name == "head.bias" else patches if name == "patches.projection.bias" else tokens
            additions += places * parameter.numel()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert totals(layer_costs(model, 128, 100)) == (parameters, products + additions + once)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = build_model("cpm", {"base_channels": 8, "norm": "frozen"}, 10)
    model.blocks[0].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    costs = layer_costs(model, 256, 64)
    assert model.training
    assert not model.blocks[0].training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [cost.name for cost in costs[:2]] == ["stem.0.conv", "stem.0.bn"]
    assert not any(module._forward_hooks for module in model.modules())


def test_budget_names_the_heaviest_layers_and_the_widest_network_that_passes() -> None:
    with pytest.raises(GateError) as caught:
        check_budget("cpm", {"base_channels": 40}, 10, DEFAULT)
    message = str(caught.value)
    assert "base_channels=32 (126,940 parameters, 28.9 M MACs)" in message
    costs = layer_costs(build_model("cpm", {"base_channels": 40}, 10), 256, 64)
    assert f"{totals(costs)[0]:,} parameters exceed the default limit of 128,000" in message
    assert max(costs, key=lambda cost: cost.parameters).name in message
    check_budget("cpm", {"base_channels": 32}, 10, DEFAULT)


def test_budget_names_the_largest_size_where_no_width_is_counted_in_channels() -> None:
    with pytest.raises(GateError, match=r"cheapest fix: size=128k \(119,378 parameters, 3\.6 M MACs\)"):
        check_budget("mn", {"width": 0.4}, 10, DEFAULT)
    with pytest.raises(GateError, match="cheapest fix: size=350k"):
        check_budget("vit", {"dim": 128, "depth": 5, "heads": 4, "patch_stride": 16}, 10, Budget("half", 500_000))
    check_budget("passt", {}, 10, DEFAULT)
    with pytest.raises(GateError, match="cheapest fix: another architecture: no size of passt keeps this limit"):
        check_budget("passt", {}, 10, Budget("tiny", 100_000))
    with pytest.raises(GateError, match="cheapest fix: another architecture: no base_channels of crnn keeps"):
        check_budget("crnn", {"hidden": 500}, 10, DEFAULT)
