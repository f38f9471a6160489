"""Folds for a corpus that brings none: whole recordings are dealt out, so none lies on both sides."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

#: A corpus without lists is evaluated in quarters.
N_FOLDS = 4


def deal(scenes: Sequence[str], identifiers: Sequence[str]) -> list[int | None]:
    """Fold (1 to `N_FOLDS`) whose evaluation side each clip is on; None for clips that are always trained on.

    `scenes` and `identifiers` (the recording or place a clip comes from) are parallel, one entry a clip. The result
    depends on them alone, not on their order. Every scene's clips are spread evenly over the folds as far as keeping a
    recording together allows; a scene with a single recording is only trained on, since evaluating on it would leave
    nothing to learn it from.
    """
    clips_of: dict[str, Counter[str]] = defaultdict(Counter)  # identifier -> scene -> clips
    for scene, identifier in zip(scenes, identifiers, strict=True):
        clips_of[identifier][scene] += 1
    recordings_of: dict[str, list[str]] = defaultdict(list)
    for identifier, counts in clips_of.items():
        for scene in counts:
            recordings_of[scene].append(identifier)

    # A digest gives an order that says nothing about when or where a recording was made.
    def order(identifier: str) -> bytes:
        return hashlib.sha256(identifier.encode()).digest()

    fold_of: dict[str, int | None] = {}
    # Scenes with the fewest recordings choose first: they have the least room when recordings hold several scenes.
    for scene in sorted(recordings_of, key=lambda scene: (len(recordings_of[scene]), scene)):
        recordings = sorted(recordings_of[scene], key=order)
        load = [0] * N_FOLDS
        for identifier in recordings:
            fold = fold_of.get(identifier)
            if fold is not None:
                load[fold - 1] += clips_of[identifier][scene]
        for identifier in recordings:
            if identifier in fold_of:
                continue
            if len(recordings) == 1:
                fold_of[identifier] = None
                continue
            fold = min(range(N_FOLDS), key=load.__getitem__) + 1
            load[fold - 1] += clips_of[identifier][scene]
            fold_of[identifier] = fold
    return [fold_of[identifier] for identifier in identifiers]
