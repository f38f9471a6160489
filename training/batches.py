"""Snippets of a fold, batch by batch, straight from the memory-mapped cache.

The order of an epoch is a function of (seed, epoch) alone, and every random draw of a step one of (seed, epoch, step)
and of the process, when several train: a run that was killed and goes on from its last checkpoint therefore sees
exactly what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..runtime.errors import InputError
from ..runtime.output import Output
from .data.cache import SnippetCache, open_cache
from .data.contiguous import contiguous_clips
from .data.corpus import Corpus, Fold, read_corpus
from .data.holdout import held_out_recordings
from .data.mapped import packed, unpacked
from .label_map import translate
from .parallel import ALONE, Share

#: Full scale of the cache's int16 samples.
INT16_SCALE = 1.0 / 32768.0

# Purposes of draws, so that an epoch's order and its first step's augmentation are independent.
_ORDER, _STEP = 0, 1


class Batch(NamedTuple):
    """One batch; `teacher` are the precomputed logits of its clips, or empty (batch, 0)."""

    wave: Tensor  # (batch, n_samples) int16
    label: Tensor  # (batch,) int64
    device: Tensor  # (batch,) int64, index into the cache's devices
    teacher: Tensor  # (batch, n_classes or 0) float32


@dataclass(frozen=True)
class TrainingData:
    """A corpus, its cache and the fold to train and evaluate on."""

    corpus: Corpus
    cache: SnippetCache
    fold: Fold
    fold_number: int
    split: int | None = None  # per cent of the training side, DCASE 2024's lists
    holdout: float = 0.0  # share of each scene's training recordings that is kept aside
    scenes: tuple[str, ...] | None = None  # of the network, where they are not the corpus', see `named_as`

    @cached_property
    def train(self) -> NDArray[np.int64]:
        """Indices of the training snippets, without those of recordings kept aside."""
        return self.cache.of_clips(self._training_clips[0])

    @cached_property
    def held_out(self) -> NDArray[np.int64]:
        """Indices of the snippets of training recordings kept aside; none when `holdout` is 0."""
        return self.cache.of_clips(self._training_clips[1])

    @cached_property
    def evaluate(self) -> NDArray[np.int64]:
        """Indices of the evaluation snippets."""
        return self.cache.of_clips(self.fold.evaluate)

    @property
    def labels(self) -> tuple[str, ...]:
        """The scenes: index is class number."""
        return self.corpus.labels if self.scenes is None else self.scenes

    @cached_property
    def seen_devices(self) -> tuple[str, ...]:
        """Devices with clips on the training side."""
        return tuple(self.cache.devices[i] for i in np.unique(self.cache.device[self.train]))

    @cached_property
    def contiguous_clips(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All clips with the recordings that they follow each other in, see `data.contiguous`."""
        clips = self.corpus.clips
        return contiguous_clips(clips, np.bincount(self.cache.clip, minlength=len(clips)), self.fold)

    def with_holdout(self, share: float) -> TrainingData:
        """The same data with this share of the training recordings kept aside."""
        return self if share == self.holdout else replace(self, holdout=share)

    def named_as(self, scenes: Sequence[str]) -> TrainingData:
        """The same snippets with labels that count among `scenes`, a network's; -1 where it does not know the scene."""
        scenes = tuple(scenes)
        if scenes == self.labels:
            return self
        known = translate(self.labels, scenes)
        number = np.array([scenes.index(known[s]) if s in known else -1 for s in self.labels], np.int64)
        # -1 stays -1: it picks the entry behind the last.
        label = np.append(number, -1)[self.cache.label]
        return replace(self, scenes=scenes, cache=replace(self.cache, label=label))

    @cached_property
    def _training_clips(self) -> tuple[Sequence[int], Sequence[int]]:
        """Clips of the training side: to train on, and kept aside."""
        if not self.holdout:
            return self.fold.train, ()
        clips = self.corpus.clips
        aside = held_out_recordings((clips[i] for i in self.fold.train), self.holdout)
        kept = [i for i in self.fold.train if clips[i].identifier not in aside]
        return kept, [i for i in self.fold.train if clips[i].identifier in aside]


def open_data(
    folder: Path,
    fold: int,
    split: int | None,
    cache_dir: Path | None,
    output: Output | None,
    holdout: float = 0.0,
    labelled: bool = True,
) -> TrainingData:
    """Read the corpus in `folder`, choose a fold, and build the cache when there is none.

    Unless `labelled`, nothing needs to say which scenes its clips are of. Raises `InputError` when either side of the
    fold is empty, or when `holdout` leaves nothing of a scene to train on.
    """
    return open_corpus(read_corpus(folder, labelled), fold, split, cache_dir, output, holdout)


def open_corpus(
    corpus: Corpus, fold: int, split: int | None, cache_dir: Path | None, output: Output | None, holdout: float = 0.0
) -> TrainingData:
    """`open_data` for a corpus that was read already."""
    chosen = corpus.fold(fold, split)
    for side in ("train", "evaluate"):
        if not getattr(chosen, side):
            root = corpus.root
            raise InputError(f"fold {fold} of {root} has no clips to {side}: run `tinyscene data check {root}`")
    held_out_recordings((corpus.clips[i] for i in chosen.train), holdout)  # its errors come before the cache is built
    return TrainingData(corpus, open_cache(corpus, cache_dir, output), chosen, fold, split, holdout)


def step_generator(seed: int, epoch: int, step: int, rank: int = 0) -> Generator:
    """The generator of all draws of one training step, in the process numbered `rank`."""
    return Generator().manual_seed(_mix(_STEP, seed, epoch, step, *([rank] if rank else [])))


def _mix(*numbers: int) -> int:
    # SeedSequence spreads neighbouring seeds over all 64 bits; torch takes 63 of them.
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class EpochOrder(Sampler[NDArray[np.int64]]):
    """Batches of positions in a new order each epoch (Lightning calls `set_epoch`), this process's share of each."""

    def __init__(self, n: int, batch_size: int, seed: int, share: Share = ALONE) -> None:
        self.n = n
        self.batch_size = batch_size
        self.seed = seed
        self.share = share
        self.epoch = 0
        # A last batch of one item would leave Freq-MixStyle nothing to mix: it joins its neighbour.
        self._stops = [stop for stop in range(batch_size, n, batch_size) if n - stop > 2 * share.world - 1]

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch's order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._stops) + 1

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        order = np.random.default_rng(_mix(_ORDER, self.seed, self.epoch)).permutation(self.n)
        yield from (self.share.of(batch) for batch in np.split(order, self._stops))

    def total(self, step: int) -> int:
        """How many snippets all processes together have in the batch of `step`."""
        bounds = [0, *self._stops, self.n]
        return bounds[step + 1] - bounds[step]


class SnippetBatches(Dataset[Batch]):
    """The batch at an array of positions among `indices`: one gather from the memory map, no work per item."""

    def __init__(
        self, cache: SnippetCache, indices: NDArray[np.int64], teacher: NDArray[np.float32] | None = None
    ) -> None:
        self.cache = cache
        self.indices = indices
        self.teacher = teacher

    def __len__(self) -> int:
        return len(self.indices)

    def __getstate__(self) -> dict[str, Any]:
        return packed(self.__dict__)  # logits may lie in a memory map, as the cache's waves do

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(unpacked(state))

    def __getitem__(self, positions: NDArray[np.int64]) -> Batch:
        chosen = self.indices[positions]
        teacher = np.empty((len(chosen), 0), np.float32) if self.teacher is None else self.teacher[positions]
        return Batch(
            torch.from_numpy(self.cache.rows(chosen)),
            torch.from_numpy(self.cache.label[chosen]),
            torch.from_numpy(self.cache.device[chosen]),
            torch.from_numpy(np.ascontiguousarray(teacher)),
        )


def train_loader(
    data: TrainingData,
    batch_size: int,
    seed: int,
    teacher: NDArray[np.float32] | None = None,
    share: Share = ALONE,
    workers: int = 0,
) -> DataLoader[Batch]:
    """Shuffled batches of the training side; `teacher` holds a row of logits for each of its snippets.

    `workers` processes gather them ahead of time; they are sent the cache's path, not its samples.
    """
    order: Sampler[Any] = EpochOrder(len(data.train), batch_size, seed, share)
    return _loader(SnippetBatches(data.cache, data.train, teacher), order, workers)


def evaluate_loader(
    cache: SnippetCache, indices: NDArray[np.int64], batch_size: int = 64, share: Share = ALONE, workers: int = 0
) -> DataLoader[Batch]:
    """Batches of the snippets at `indices`, in order: up to `batch_size` for each process, none of the last maybe."""
    step = batch_size * share.world
    order: Any = [share.of(np.arange(i, min(i + step, len(indices)))) for i in range(0, len(indices), step)]
    return _loader(SnippetBatches(cache, indices), order, workers)


def _loader(batches: SnippetBatches, order: Any, workers: int) -> DataLoader[Batch]:
    # New processes rather than forked ones: a fork of a process with OpenMP or CUDA threads may hang.
    return DataLoader(
        batches,
        sampler=order,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
