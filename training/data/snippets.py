"""Audio files cut into snippets of equal length, as 16-bit samples."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.audio import read_blocks
from ...runtime.errors import InputError

#: A last snippet that lacks no more than this is filled with silence: resampling and editing cost a few samples.
TOLERANCE_S = 0.010

#: Decoding and resampling happen outside the interpreter lock; a second thread nearly halves the time.
WORKERS = 2


def to_int16(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    """Round samples in [-1, 1) to int16 (real = int16 / 32768); louder ones are clipped."""
    # Why 16 bits are enough. Rounding adds white noise of power d^2/12 = 7.8e-11 (d = 2^-15). A windowed FFT bin holds
    # sum(w^2) = 1152 times that (Hann, 3072 samples), pre-emphasis raises it by at most 1.97^2 = 3.9, and the widest
    # mel triangle (15.3 kHz) adds up 25 bins: 8.7e-6 at most, 1e-7 below 1 kHz. That is under the 1e-5 that the front
    # end adds before its logarithm, so an empty band moves by 0.1 normalised units at the very top and less below,
    # and a band with sound in it not at all.
    return np.clip(np.rint(wave * np.float32(32768.0)), -32768, 32767).astype(np.int16)


def cut_file(path: Path, sample_rate_hz: int, snippet_samples: int) -> NDArray[np.int16]:
    """Decode, mix down, resample and cut one file: (n, snippet_samples) int16, n >= 1.

    What is left after the last whole snippet is dropped, or filled up when it lacks at most `TOLERANCE_S`. Raises
    `InputError` naming the file when it cannot be decoded or holds less than one snippet.
    """
    blocks = [to_int16(block) for block in read_blocks(path, sample_rate_hz)]
    wave = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.int16)
    n = (len(wave) + round(TOLERANCE_S * sample_rate_hz)) // snippet_samples
    if n == 0:
        raise InputError(
            f"{path} lasts {len(wave) / sample_rate_hz:.2f} s, expected at least {snippet_samples / sample_rate_hz:g}: "
            "run `tinyscene data check` on its folder to find all such files"
        )
    missing = max(0, n * snippet_samples - len(wave))
    return np.pad(wave[: n * snippet_samples], (0, missing)).reshape(n, snippet_samples)


def cut_files(paths: Iterable[Path], sample_rate_hz: int, snippet_samples: int) -> Iterator[NDArray[np.int16]]:
    """`cut_file` of each path, in order, on `WORKERS` threads and never more than a few files ahead."""
    ahead: deque[Future[NDArray[np.int16]]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        rest = iter(paths)
        try:
            for path in itertools.islice(rest, 4 * WORKERS):
                ahead.append(pool.submit(cut_file, path, sample_rate_hz, snippet_samples))
            while ahead:
                result = ahead.popleft().result()
                for path in itertools.islice(rest, 1):  # one in, one out
                    ahead.append(pool.submit(cut_file, path, sample_rate_hz, snippet_samples))
                yield result
        finally:
            for future in ahead:
                future.cancel()
