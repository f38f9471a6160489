"""Clips that were cut from one recording, one after the other.

TAU 2022's files of one second, SCENE-CITY-LOCATION-SEGMENT-CHUNK-DEVICE, are cut from ten: those with consecutive CHUNK
numbers are contiguous audio.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .corpus import Clip, Fold, parse_name


def contiguous_clips(
    clips: Sequence[Clip], snippets: NDArray[np.integer[Any]], fold: Fold
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All clips, (n,), those of one recording in the order of its time, and each one's recording, (n,) ascending.

    `snippets` (n,) says how many each clip has. Clips on different sides of the fold, of different devices or folders
    are never of one recording here.
    """
    side = np.zeros(len(clips), dtype=np.int64)
    side[list(fold.train)], side[list(fold.evaluate)] = 1, 2
    numbers: dict[object, int] = {}
    segment = np.empty(len(clips), dtype=np.int64)
    chunk = np.zeros(len(clips), dtype=np.int64)
    for i, clip in enumerate(clips):
        key: object = i
        # A file of several snippets is no one-second chunk, and may have lost its end.
        name = parse_name(clip.filename) if snippets[i] == 1 else None
        if name is not None and name.chunk is not None and name.chunk.isdecimal():
            place = (str(PurePosixPath(clip.filename).parent), clip.identifier, clip.device, int(side[i]))
            key = (name.scene, name.city, name.location, name.segment, name.device, *place)
            chunk[i] = int(name.chunk)
        segment[i] = numbers.setdefault(key, len(numbers))
    order = np.lexsort((chunk, segment))
    follows = (np.diff(segment[order]) == 0) & (np.diff(chunk[order]) == 1)
    return order, np.concatenate([[0], np.cumsum(~follows)])
