"""Costs against the published figures, and against torchinfo, which defines the convention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchinfo

from tinyscene.runtime.budget import DEFAULT
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
    ("arch", "arguments", "frames"),
    [
        ("cpm", {"base_channels": 8, "norm": "grn"}, 64),
        ("cpm", {"base_channels": 24, "expansion_rate": 2.0}, 50),
        ("cpr", {}, 43),
        ("cpr", {"base_channels": 48, "rho": 4}, 43),
    ],
)
def test_torchinfo_counts_the_same(arch: str, arguments: dict[str, Any], frames: int) -> None:
    model = build_model(arch, arguments, 10)
    reference = torchinfo.summary(model, input_size=(1, 1, 256, frames), verbose=0)
    # torchinfo gives no multiply-accumulates to parameters called neither weight nor bias (GRN's scalars).
    assert totals(layer_costs(model, 256, frames)) == (reference.total_params, reference.total_mult_adds)


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
