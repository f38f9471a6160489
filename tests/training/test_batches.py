"""Order and contents of batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tinyscene.training.batches import EpochOrder, TrainingData, evaluate_loader, step_generator, train_loader


@pytest.mark.parametrize(("n", "batch", "sizes"), [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1])])
def test_every_snippet_once_an_epoch_and_no_batch_of_one_left_over(n: int, batch: int, sizes: list[int]) -> None:
    order = EpochOrder(n, batch, seed=3)
    batches = list(order)
    assert [len(part) for part in batches] == sizes
    assert len(order) == len(sizes)
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))


def test_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochOrder(50, 50, seed)
        sampler.set_epoch(epoch)
        return next(iter(sampler)).tolist()

    assert order(1, 4) == order(1, 4)
    different = {tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}
    assert len(different) == 6


def test_draws_are_a_function_of_seed_epoch_and_step() -> None:
    def draw(*key: int) -> float:
        return torch.rand((), generator=step_generator(*key), dtype=torch.float64).item()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    keys = [(seed, epoch, step) for seed in range(3) for epoch in range(3) for step in range(3)]
    assert len({draw(*key) for key in keys}) == len(keys)


def test_batches_hold_what_the_cache_has(tiny_data: TrainingData) -> None:
    cache, rows = tiny_data.cache, len(tiny_data.train)
    teacher = np.arange(3.0 * rows, dtype=np.float32).reshape(rows, 3)
    loader = train_loader(tiny_data, batch_size=7, seed=0, teacher=teacher)
    seen = []
    for batch in loader:
        positions = (batch.teacher[:, 0] / 3).long().numpy()  # the logits say which snippets these are
        snippets = tiny_data.train[positions]
        assert np.array_equal(batch.wave.numpy(), cache.waves[snippets])
        assert np.array_equal(batch.label.numpy(), cache.label[snippets])
        assert np.array_equal(batch.device.numpy(), cache.device[snippets])
        seen += positions.tolist()
    assert sorted(seen) == list(range(rows))


def test_evaluation_is_in_order(tiny_data: TrainingData) -> None:
    batches = list(evaluate_loader(tiny_data.cache, tiny_data.evaluate, batch_size=5))
    labels = torch.cat([batch.label for batch in batches]).numpy()
    assert np.array_equal(labels, tiny_data.cache.label[tiny_data.evaluate])
    assert all(batch.teacher.shape == (len(batch.label), 0) for batch in batches)


def test_fold_of_the_tiny_corpus(tiny_data: TrainingData) -> None:
    assert (len(tiny_data.train), len(tiny_data.evaluate)) == (24, 12)
    assert tiny_data.seen_devices == ("a", "b", "s1")
    assert tiny_data.labels == ("bus", "park", "tram")
