"""MixStyle, Freq-MixStyle and mixup: their definitions, and that their draws have the distribution they claim."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from tinyscene.training.augment import Mixup, beta_weights, freq_mixstyle, mixstyle

#: Each method and the axes that its statistics are taken over.
METHODS = [pytest.param(mixstyle, (2, 3), id="mixstyle"), pytest.param(freq_mixstyle, (1, 3), id="freq_mixstyle")]
Method = Callable[[Tensor, float, float, torch.Generator], Tensor]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def statistics(x: Tensor, axes: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    array = x.numpy()
    return array.mean(axis=axes, keepdims=True), array.std(axis=axes, ddof=1, keepdims=True)


def on_a_parabola(n: int, axes: tuple[int, int], seed: int) -> Tensor:
    """(n, 2, 3, 50) items whose deviation is the square of their mean.

    A mix of two such items lies on the chord between two points of a parabola: from the first, it tells the second.
    """
    x = torch.randn(n, 2, 3, 50, generator=seeded(seed), dtype=torch.float64)
    mean, deviation = (torch.from_numpy(value) for value in statistics(x, axes))
    wanted = 1.0 + 0.01 * torch.arange(n).view(-1, 1, 1, 1)
    return (x - mean) / deviation * wanted**2 + wanted


def found_weights(x: Tensor, mixed: Tensor, axes: tuple[int, int]) -> NDArray[np.float64]:
    """The weight of each item that was mixed with another, (k, values of a statistic); fails when it is no mix."""
    mean, deviation = (value.reshape(len(x), -1) for value in statistics(x, axes))
    new_mean, new_deviation = (value.reshape(len(x), -1) for value in statistics(mixed, axes))
    rows = []
    for item in range(len(x)):
        others = np.delete(np.arange(len(x)), item)
        weight = (new_mean[item] - mean[others]) / (mean[item] - mean[others])
        expected = weight * deviation[item] + (1 - weight) * deviation[others]
        # The methods' 1e-6 under the root moves a deviation of 1 by 5e-7.
        error = np.abs(expected - new_deviation[item]).max(axis=1)
        assert error.min() < 2e-6
        if np.abs(new_mean[item] - mean[item]).max() > 1e-9:  # else it met itself, or kept all of itself
            rows.append(weight[error.argmin()])
    return np.array(rows)


@pytest.mark.parametrize(("method", "axes"), METHODS)
def test_statistics_become_the_mix_of_two_items_and_the_shape_stays(method: Method, axes: tuple[int, int]) -> None:
    x = on_a_parabola(40, axes, 0)
    mixed = method(x, 1.0, 0.4, seeded(1))
    weights = found_weights(x, mixed, axes)
    assert weights.min() > -1e-6
    assert weights.max() < 1 + 1e-6
    # One weight an item, the same for each frequency or channel.
    assert np.ptp(weights, axis=1).max() < 1e-5
    assert ((weights[:, 0] > 0.05) & (weights[:, 0] < 0.95)).sum() > 5
    (mean, deviation), (new_mean, new_deviation) = statistics(x, axes), statistics(mixed, axes)
    shape, new_shape = (x.numpy() - mean) / deviation, (mixed.numpy() - new_mean) / new_deviation
    np.testing.assert_allclose(new_shape, shape, atol=1e-9)


@pytest.mark.parametrize(("method", "axes"), METHODS)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 9), alpha=st.floats(0.05, 5), level=st.floats(-20, 20))
@settings(max_examples=40, deadline=None)
def test_any_batch_keeps_its_shape_and_stays_between_its_extremes(
    method: Method, axes: tuple[int, int], seed: int, n: int, alpha: float, level: float
) -> None:
    generator = seeded(seed)
    x = torch.randn(n, 1, 4, 30, generator=generator, dtype=torch.float64) * 3 + level
    x += torch.randn(n, 1, 4, 1, generator=generator)
    mixed = method(x, 1.0, alpha, generator)
    assert mixed.shape == x.shape
    for old, new in zip(statistics(x, axes), statistics(mixed, axes), strict=True):
        assert (new >= old.min(axis=0) - 1e-5).all()
        assert (new <= old.max(axis=0) + 1e-5).all()
    # Each row of an item is scaled and shifted, so its values keep their order.
    np.testing.assert_array_equal(x.numpy().argsort(axis=3), mixed.numpy().argsort(axis=3))


@pytest.mark.parametrize("alpha", [0.3, 0.4, 1.0])
@pytest.mark.parametrize(("method", "axes"), METHODS)
def test_weights_are_distributed_as_beta(method: Method, axes: tuple[int, int], alpha: float) -> None:
    generator = seeded(5)
    x = on_a_parabola(100, axes, 0)
    weights = np.concatenate([found_weights(x, method(x, 1.0, alpha, generator), axes)[:, 0] for _ in range(20)])
    assert len(weights) > 1900
    assert scipy.stats.kstest(weights, scipy.stats.beta(alpha, alpha).cdf).pvalue > 0.01
    # As many draws tell the distribution from its neighbours.
    assert scipy.stats.kstest(weights, scipy.stats.beta(1.4 * alpha, 1.4 * alpha).cdf).pvalue < 1e-3


@pytest.mark.parametrize(("method", "axes"), METHODS)
@pytest.mark.parametrize("probability", [0.0, 0.4, 0.8])
def test_applied_to_the_share_of_batches_asked_for(method: Method, axes: tuple[int, int], probability: float) -> None:
    x, generator = torch.randn(4, 1, 3, 10), seeded(0)
    applied = sum(method(x, probability, 0.3, generator) is not x for _ in range(1000))
    assert scipy.stats.binomtest(applied, 1000, probability).pvalue > 0.01


@pytest.mark.parametrize(("method", "axes"), METHODS)
def test_no_gradient_through_statistics(method: Method, axes: tuple[int, int]) -> None:
    leaf = torch.randn(4, 2, 3, 10, dtype=torch.float64, requires_grad=True)
    mixed = method(leaf, 1.0, 0.3, seeded(2))
    upstream = torch.randn(leaf.shape, generator=seeded(3), dtype=torch.float64)
    (mixed * upstream).sum().backward()
    assert leaf.grad is not None
    # With constant statistics an item is scaled, by the ratio of its deviations, and shifted: so is its gradient.
    old, new = (statistics(x, axes)[1] for x in (leaf.detach(), mixed.detach()))
    np.testing.assert_allclose(leaf.grad.numpy(), upstream.numpy() * (new / old), rtol=1e-5)


def test_one_channel_log_mels_keep_their_colour_under_mixstyle_alone() -> None:
    x = torch.randn(8, 1, 5, 60) + 3 * torch.randn(8, 1, 5, 1)
    tilt = statistics(x, (1, 3))[0] - statistics(x, (2, 3))[0]
    for method, same in ((mixstyle, True), (freq_mixstyle, False)):
        mixed = method(x, 1.0, 1.0, seeded(1))
        mixed_tilt = statistics(mixed, (1, 3))[0] - statistics(mixed, (2, 3))[0]
        scale = statistics(mixed, (2, 3))[1] / statistics(x, (2, 3))[1]
        assert np.allclose(mixed_tilt, tilt * scale, atol=1e-4) == same


def test_mixup_mixes_each_item_with_another_by_a_weight_of_its_own() -> None:
    mixup = Mixup.draw(500, 0.3, seeded(4), torch.device("cpu"))
    assert sorted(mixup.partner.tolist()) == list(range(500))
    assert scipy.stats.kstest(mixup.weight.numpy(), scipy.stats.beta(0.3, 0.3).cdf).pvalue > 0.01
    x = torch.randn(500, 1, 3, 4)
    weight, partner = mixup.weight.numpy()[:, None, None, None], mixup.partner.numpy()
    expected = weight * x.numpy() + (1 - weight) * x.numpy()[partner]
    np.testing.assert_allclose(mixup.mix(x, x[mixup.partner]).numpy(), expected, atol=1e-6)
    label = torch.arange(500)
    larger = np.where(mixup.weight.numpy() >= 0.5, np.arange(500), partner)
    assert np.array_equal(mixup.larger(label).numpy(), larger)


def test_draws_come_from_the_generator_alone() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = beta_weights(5, 0.4, seeded(1))
    torch.manual_seed(1)
    assert torch.equal(first, beta_weights(5, 0.4, seeded(1)))
    assert not torch.equal(first, beta_weights(5, 0.4, seeded(2)))
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())
