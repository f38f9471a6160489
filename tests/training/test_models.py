"""The networks' structure: widths, strides, residuals, normalisation, initialisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tinyscene.runtime.errors import InputError
from tinyscene.training.models.build import build_model
from tinyscene.training.models.cp_mobile import CPMobile, make_divisible
from tinyscene.training.models.cp_resnet import CPResNet
from tinyscene.training.models.norm import GRN, FrozenGRN, normalizer


@pytest.mark.parametrize(
    ("width", "expected"), [(1, 8), (12, 16), (32 * 2.3, 72), (32 * 2.3**2, 168), (8 * 2.3, 24), (11, 16), (19, 24)]
)
def test_make_divisible(width: float, expected: int) -> None:
    assert make_divisible(width) == expected
    assert expected % 8 == 0
    assert expected >= 0.9 * width


def test_cp_mobile_follows_its_strides() -> None:
    model = CPMobile(strides={"b1": (2, 1), "b4": (1, 2)}).eval()
    shapes = []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    assert model(torch.zeros(2, 1, 256, 64)).shape == (2, 10)
    assert shapes == [(32, 32, 16), (32, 32, 16), (32, 32, 16), (72, 32, 8), (72, 32, 8), (168, 32, 8)]
    pooled = [block.pool is not None for block in model.blocks]
    assert pooled == [True, False, False, False, False, False]  # b4 changes the width: no residual to shrink
    assert [block.residual for block in model.blocks] == [True, True, True, False, True, False]


def test_strides_of_a_block_that_is_not_there_are_refused() -> None:
    with pytest.raises(InputError, match=r"strides name \['b7'\]"):
        build_model("cpm", {"strides": {"b7": (2, 1)}}, 10)


def test_residual_is_the_pooled_input() -> None:
    block = CPMobile(padding="symmetric").blocks[1].eval()
    torch.nn.init.zeros_(block.project.conv.weight)  # the block's own path is then batch norm's bias, 0
    x = torch.rand(2, 32, 9, 7)
    expected = torch.zeros(2, 32, 5, 4)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    for i in range(5):
        for j in range(4):
            expected[:, :, i, j] = torch.from_numpy(
                padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].mean(axis=(2, 3))
            )
    torch.testing.assert_close(block(x), expected)


def test_grn_against_numpy() -> None:
    x = torch.randn(3, 5, 4, 6)
    layer = GRN()
    with torch.no_grad():
        layer.gamma.fill_(0.7)
        layer.beta.fill_(-0.2)
    array = x.numpy().astype(np.float64)
    energy = np.sqrt((array**2).sum(axis=(2, 3)))
    share = energy / (energy.mean(axis=1, keepdims=True) + 1e-6)
    expected = 0.7 * array * share[:, :, None, None] - 0.2 + array
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_frozen_grn_follows_the_batches_and_then_stands_still() -> None:
    torch.manual_seed(0)
    scale = torch.tensor([0.2, 1.0, 3.0]).view(1, 3, 1, 1)
    batches = [scale * torch.randn(16, 3, 8, 8) for _ in range(80)]
    layer, exact = FrozenGRN(3), GRN()
    with torch.no_grad():
        for module in (layer, exact):
            module.gamma.fill_(0.5)
            module.beta.fill_(0.1)
    for batch in batches:
        layer(batch)
    mean = torch.stack([normalizer(batch).mean(dim=0)[:, 0, 0] for batch in batches]).mean(dim=0)
    torch.testing.assert_close(layer.n, mean, rtol=0.03, atol=0.0)
    layer.eval()
    before = layer.n.clone()
    # These channels' shares hardly change from clip to clip, so the frozen form is close to the exact one ...
    torch.testing.assert_close(layer(batches[0]), exact(batches[0]), rtol=0.1, atol=0.1)
    # ... and it is affine in each channel, whatever comes in.
    louder = layer(5 * batches[0]) - 0.1
    torch.testing.assert_close(louder, 5 * (layer(batches[0]) - 0.1))
    assert torch.equal(before, layer.n)


def test_frozen_grn_starts_as_the_identity() -> None:
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(FrozenGRN(4)(x), x)


def test_unknown_norm_is_refused() -> None:
    with pytest.raises(InputError, match="norm is 'layer'"):
        build_model("cpm", {"norm": "layer"}, 10)


def test_cp_resnet_sizes() -> None:
    def size(base: int) -> int:
        return sum(parameter.numel() for parameter in CPResNet(base_channels=base).parameters())

    assert size(32) == 127_684
    assert size(64) == 504_724
    assert size(128) == 2_006_932


def test_cp_resnet_kernels_follow_rho() -> None:
    def kernels(rho: int) -> list[tuple[int, int]]:
        blocks = CPResNet(rho=rho).blocks
        return [(block.conv1.kernel_size[0], block.conv2.kernel_size[0]) for block in blocks]

    assert kernels(8) == [(3, 1), (3, 3), (3, 3), (3, 1)]
    assert kernels(9) == [(3, 1), (3, 3), (3, 3), (3, 3)]
    assert kernels(4) == [(3, 1), (3, 3), (3, 1), (1, 1)]
    assert kernels(1) == [(3, 1), (1, 1), (1, 1), (1, 1)]


def test_cp_resnet_starts_undecided_and_learns() -> None:
    torch.manual_seed(0)
    model = CPResNet(base_channels=8)
    x, y = torch.randn(8, 1, 256, 43), torch.arange(8) % 4
    assert torch.count_nonzero(model(x)) == 0  # the head starts at zero
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'base_channels'"):
        build_model("cpm", {"base_chanels": 8}, 10)
    with pytest.raises(InputError, match="expected one of cpm, cpr"):
        build_model("resnet", {}, 10)
