"""Recordings kept aside: whole, a fair share of each scene, and the same ones whatever the order."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_data import memory_data

from tinyscene.runtime.errors import InputError
from tinyscene.training.data.corpus import Clip, read_corpus
from tinyscene.training.data.holdout import held_out_recordings


def clips_of(recordings: dict[str, list[int]]) -> list[Clip]:
    """Scene -> clips of each of its recordings."""
    return [
        Clip(f"{scene}{r}_{i}.wav", scene, f"{scene}-{r}", "", "", "a")
        for scene, counts in recordings.items()
        for r, count in enumerate(counts)
        for i in range(count)
    ]


counts = st.lists(st.integers(1, 4), min_size=2, max_size=12)


@given(
    recordings=st.dictionaries(st.sampled_from(["bus", "park", "tram"]), counts, min_size=1),
    share=st.floats(0.01, 0.5),
    order=st.randoms(),
)
def test_a_share_of_each_scene_s_recordings(
    recordings: dict[str, list[int]], share: float, order: random.Random
) -> None:
    clips = clips_of(recordings)
    chosen = held_out_recordings(clips, share)
    for scene, each in recordings.items():
        aside = sum(identifier.startswith(f"{scene}-") for identifier in chosen)
        assert 1 <= aside < len(each)
        assert abs(aside - share * len(each)) <= 1
    order.shuffle(clips)
    assert held_out_recordings(clips, share) == chosen
    assert held_out_recordings(clips, 0.0) == frozenset()


def test_sides_of_real_recordings(shared: Path) -> None:
    corpus = read_corpus(shared / "data" / "tut2017")
    train = [corpus.clips[i] for i in corpus.fold(1).train]
    aside = held_out_recordings(train, 0.2)
    identifiers = {clip.identifier for clip in train}
    assert aside < identifiers
    assert 0.1 < len(aside) / len(identifiers) < 0.3
    assert {clip.scene for clip in train if clip.identifier in aside} == set(corpus.labels)
    assert {clip.scene for clip in train if clip.identifier not in aside} == set(corpus.labels)


def test_data_is_split_by_recording_and_complete() -> None:
    clips = clips_of({"bus": [2, 3, 1, 2], "park": [1, 1, 4]})
    data = memory_data(clips, [2] * len(clips), Path("nowhere"), train=range(len(clips) - 4))
    kept = data.with_holdout(0.3)
    assert len(kept.held_out)
    assert sorted([*kept.train, *kept.held_out]) == data.train.tolist()
    identifiers = np.array([clip.identifier for clip in clips])[data.cache.clip]
    assert not set(identifiers[kept.train]) & set(identifiers[kept.held_out])
    assert np.array_equal(kept.evaluate, data.evaluate)
    assert kept.with_holdout(0.0).held_out.tolist() == []
    assert kept.with_holdout(0.3) is kept


def test_scenes_without_recordings_to_spare() -> None:
    single = clips_of({"bus": [3], "park": [2, 2]})
    assert all(identifier.startswith("park") for identifier in held_out_recordings(single, 0.3))
    with pytest.raises(InputError, match="no scene has two recordings"):
        held_out_recordings(clips_of({"bus": [3], "park": [2]}), 0.3)
    # Every scene at the same two places: what one keeps aside, the others lose.
    places = [
        Clip(f"{s}{p}.wav", s, p, "", "", "a") for s, ps in {"bus": "xy", "park": "x", "tram": "y"}.items() for p in ps
    ]
    with pytest.raises(InputError, match=r"leaves no recording of '(park|tram)' to train on"):
        held_out_recordings(places, 0.3)
