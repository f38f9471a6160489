"""The longer recording around a snippet, as far as the cache has it: what a teacher may hear that the student cannot.

Snippets of one clip are contiguous audio, and so are files that were cut from one recording (`data.contiguous`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from ..runtime.errors import InputError
from .batches import TrainingData
from .data.cache import SAMPLE_RATE_HZ, SNIPPET_SAMPLES, SnippetCache
from .features import LogMel
from .run import Run


@dataclass(frozen=True)
class Windows:
    """What is heard around each snippet of a cache; windows are numbered by length, then place, none is there twice."""

    order: NDArray[np.int64]  # (n_snippets,) snippets such that contiguous ones follow each other
    start: NDArray[np.int64]  # (n_windows,) first sample, counted through the snippets in `order`
    length: NDArray[np.int64]  # (n_windows,) samples
    of_snippet: NDArray[np.int64]  # (n_snippets,) the window of each snippet

    def __len__(self) -> int:
        return len(self.start)

    def waves(self, cache: SnippetCache, numbers: NDArray[np.int64]) -> NDArray[np.int16]:
        """Audio of windows of equal length, (k, n_samples) int16."""
        stretches = []
        for start, length in zip(self.start[numbers].tolist(), self.length[numbers].tolist(), strict=True):
            first, offset = divmod(start, SNIPPET_SAMPLES)
            last = (start + length - 1) // SNIPPET_SAMPLES
            stretches.append(cache.rows(self.order[first : last + 1]).reshape(-1)[offset : offset + length])
        return np.stack(stretches)

    def snippets(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All snippets of the windows at `numbers`, (m,), and for each the place of its window in `numbers`, (m,)."""
        by_window, first = self._by_window
        parts = [by_window[first[number] : first[number + 1]] for number in numbers]
        return np.concatenate(parts), np.repeat(np.arange(len(numbers)), [len(part) for part in parts])

    def digest(self) -> str:
        """SHA-256 of which samples belong to which snippet."""
        digest = hashlib.sha256()
        for array in (self.order, self.start, self.length, self.of_snippet):
            digest.update(array.astype("<i8").tobytes())
        return digest.hexdigest()

    @cached_property
    def _by_window(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return (
            np.argsort(self.of_snippet, kind="stable"),
            np.searchsorted(np.sort(self.of_snippet), np.arange(len(self) + 1)),
        )


def windows_around(data: TrainingData, context_s: float) -> Windows:
    """For each snippet of the cache the `context_s` seconds centred on it.

    At the ends of a recording the window is moved inward; of a shorter one it is the whole. A window never reaches from
    one side of the fold into the other.
    """
    cache = data.cache
    wanted = round(context_s * SAMPLE_RATE_HZ)
    if wanted <= SNIPPET_SAMPLES:
        every = np.arange(len(cache), dtype=np.int64)
        return Windows(every, every * SNIPPET_SAMPLES, np.full(len(cache), SNIPPET_SAMPLES, dtype=np.int64), every)
    clips, recording = data.contiguous_clips
    order = cache.of_clips(clips)
    per_clip = np.bincount(cache.clip, minlength=len(data.corpus.clips))[clips]
    of_place = np.repeat(recording, per_clip)  # the recording at each place in `order`, ascending
    ends = np.searchsorted(of_place, of_place, side="right") * SNIPPET_SAMPLES
    begins = np.searchsorted(of_place, of_place, side="left") * SNIPPET_SAMPLES
    length = np.minimum(wanted, ends - begins)
    centred = np.arange(len(order)) * SNIPPET_SAMPLES + (SNIPPET_SAMPLES - length) // 2
    start = np.clip(centred, begins, ends - length)
    # Length and place in one number, because rows of two are slow to sort.
    samples = len(order) * SNIPPET_SAMPLES
    windows, of_place_window = np.unique(length * samples + start, return_inverse=True)
    of_snippet = np.empty(len(order), dtype=np.int64)
    of_snippet[order] = of_place_window
    return Windows(order, windows % samples, windows // samples, of_snippet)


def check_context(run: Run, context_s: float) -> None:
    """Raise `InputError` when the network of `run` cannot hear `context_s` seconds at once."""
    wave = torch.zeros(1, round(context_s * run.frontend.sample_rate_hz))
    try:
        with torch.inference_mode():
            run.build()(LogMel(run.frontend)(wave))
    except (RuntimeError, ValueError, IndexError, InputError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"teacher {run.path} ({run.arch}) cannot hear {context_s:g} s at once ({reason}): set teacher_context_s=1, "
            "or give a teacher whose network takes any length, such as cpr"
        ) from error
