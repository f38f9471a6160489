"""Recordings of the training side that no teacher is trained on: what the weights of an ensemble are fitted to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ...runtime.errors import InputError
from .corpus import Clip


def held_out_recordings(clips: Iterable[Clip], share: float) -> frozenset[str]:
    """Identifiers of about `share` of each scene's recordings, at least one of every scene that has two.

    They are those with the smallest hashes, so the choice follows from the recordings alone: neither from a seed nor
    from the order of the clips. Raises `InputError` when nothing would be kept aside, or all of a scene (an identifier
    that several scenes share is kept aside in all of them).
    """
    if share == 0.0:
        return frozenset()
    recordings: dict[str, set[str]] = {}
    for clip in clips:
        recordings.setdefault(clip.scene, set()).add(clip.identifier)
    chosen: set[str] = set()
    for identifiers in recordings.values():
        ordered = sorted(identifiers, key=_hash)
        chosen.update(ordered[: min(max(1, round(share * len(ordered))), len(ordered) - 1)])
    if not chosen:
        raise InputError(
            f"holdout is {share}, but no scene has two recordings to keep one aside: set holdout=0, "
            "or give each recording an identifier of its own in meta.csv"
        )
    for scene, identifiers in sorted(recordings.items()):
        if identifiers <= chosen:
            raise InputError(
                f"holdout {share} leaves no recording of {scene!r} to train on, because other scenes have the same "
                "identifiers: give each recording an identifier of its own in meta.csv"
            )
    return frozenset(chosen)


def _hash(identifier: str) -> bytes:
    return hashlib.sha256(identifier.encode()).digest()
