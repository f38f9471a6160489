"""Unseen devices on a corpus that has none: its clips as heard through microphones that training never had.

Each clip is convolved with one measured impulse response, which its audio decides, as device impulse responses do in
training: the response's own level stays, and what then exceeds full scale is clipped, as by a recorder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from .augment import read_responses, responses_digest
from .data.cache import SAMPLE_RATE_HZ, SnippetCache
from .metrics import UNSEEN_PREFIX

#: Snippets convolved at once: their spectra in double precision take 1 MB each.
_CHUNK = 64


def simulate_devices(cache: SnippetCache, folder: Path) -> SnippetCache:
    """The snippets of `cache` as heard through microphones with the impulse responses in `folder`.

    `waves` computes the rows that are asked for; all else is as before, but for the devices, which are called
    "unseen:RESPONSE", and the hash. A clip keeps its response wherever its corpus lies and whatever its file is called.
    Raises `InputError` when `folder` holds no usable responses.
    """
    responses = read_responses(folder, SAMPLE_RATE_HZ)
    of_clip = np.array([int(digest, 16) % len(responses) for digest in cache.clip_digests()], dtype=np.int64)
    device = of_clip[cache.clip]
    waves = ConvolvedWaves(cache, list(responses.values()), device)
    return replace(
        cache,
        waves=cast("NDArray[np.int16]", waves),
        device=device,
        devices=tuple(UNSEEN_PREFIX + name for name in responses),
        data_hash=hashlib.sha256(f"{cache.data_hash} {responses_digest(folder)}".encode()).hexdigest(),
    )


class ConvolvedWaves:
    """Stands for the waves of a cache, convolved clip by clip: indexed by snippets it gives (..., n_samples) int16.

    What a snippet hears of its clip's past is as long as the longest response, so that much is convolved with it and
    thrown away (overlap-save): rows are those of the whole clip's convolution, and cost the same in a clip of an hour.
    """

    def __init__(
        self, cache: SnippetCache, responses: Sequence[NDArray[np.float32]], response: NDArray[np.int64]
    ) -> None:
        """`response` (n_snippets,) is the index of each snippet's response."""
        self.cache = cache
        self.response = response
        self.first = np.searchsorted(cache.clip, cache.clip)  # (n_snippets,) where each snippet's clip starts
        samples = self.shape[1]
        self.past = -(-(max(map(len, responses)) - 1) // samples)  # snippets before a snippet that still sound in it
        # The circular convolution wraps only into what is thrown away.
        n_fft = (self.past + 1) * samples
        # In double precision, so that a row does not depend on which others it is computed with.
        self.spectra = torch.stack([torch.fft.rfft(torch.from_numpy(ir).double(), n=n_fft) for ir in responses])

    def __len__(self) -> int:
        return len(self.cache)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_snippets, n_samples)."""
        return self.cache.waves.shape

    def __getitem__(self, which: Any) -> NDArray[np.int16]:
        """Rows of the snippets at a number, a slice, or an array of numbers."""
        chosen = np.arange(len(self))[which]
        rows = np.empty((chosen.size, self.shape[1]), dtype=np.int16)
        for start in range(0, chosen.size, _CHUNK):
            rows[start : start + _CHUNK] = self._convolve(chosen.reshape(-1)[start : start + _CHUNK])
        return rows.reshape(*chosen.shape, self.shape[1])

    def _convolve(self, snippets: NDArray[np.int64]) -> NDArray[np.int16]:
        heard = snippets[:, None] + np.arange(-self.past, 1)
        inside = heard >= self.first[snippets, None]  # before its first snippet a clip is silent
        waves = self.cache.waves[np.where(inside, heard, 0)] * inside[..., None]
        spectrum = torch.fft.rfft(torch.from_numpy(waves).double().flatten(1))
        spectrum *= self.spectra[self.response[snippets]]
        convolved = torch.fft.irfft(spectrum, n=waves[0].size)[:, -self.shape[1] :]
        return convolved.round_().clamp_(-32768, 32767).short().numpy()
