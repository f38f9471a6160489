"""A stream made of a corpus' held-out recordings: which scene is heard when, and its audio piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import InputError
from ..runtime.stream.metrics import Truth
from .data.corpus import Clip, Corpus
from .data.stitch import RATE_HZ, play

#: How long one scene lasts: time to go in, stay and leave.
SHORTEST_S, LONGEST_S = 30.0, 180.0


@dataclass(frozen=True)
class Stay:
    """One scene, named as the model names it, from `start` to `end` (samples at 32 kHz)."""

    scene: str
    start: int
    end: int


@dataclass(frozen=True)
class StreamPlan:
    """Scenes one after the other, none following itself, and the held-out clips of each scene to play them from."""

    corpus: Corpus
    clips: Mapping[str, tuple[Clip, ...]]
    stays: tuple[Stay, ...]
    seed: int

    @property
    def duration_s(self) -> float:
        """Length of the whole stream."""
        return self.stays[-1].end / RATE_HZ

    def truth(self, labels: Sequence[str]) -> Truth:
        """What is there when, as indices into the model's `labels`."""
        starts = tuple(stay.start / RATE_HZ for stay in self.stays)
        return Truth(starts, tuple(labels.index(stay.scene) for stay in self.stays), self.duration_s)

    def audio(self) -> Iterator[NDArray[np.float32]]:
        """The stream (float32 at 32 kHz) a stay at a time.

        A stay plays whole recordings of its scene, the clips of each in their order and at one level, as many as it
        takes, and is cut at its end. A scene's recordings come in random order, all of them before one comes again.
        """
        rng = np.random.default_rng([self.seed, 1])
        rounds = {scene: _recordings(clips, rng) for scene, clips in self.clips.items()}
        for stay in self.stays:
            left = stay.end - stay.start
            pieces: list[NDArray[np.float32]] = []
            while left > 0:
                piece = play(self.corpus, next(rounds[stay.scene]))[:left].astype(np.float32)
                pieces.append(np.clip(piece, -1.0, 1.0))
                left -= len(piece)
            yield np.concatenate(pieces)


def plan_stream(corpus: Corpus, fold: int, meanings: Mapping[str, str], minutes: float, seed: int) -> StreamPlan:
    """Stays of 30 s to 3 min, the last up to half a minute longer, that add up to `minutes`, on what `fold` held out.

    `meanings` says which of the model's scenes each corpus scene is; clips of other scenes are left out. Raises
    `InputError` for a bad length and where fewer than two scenes are left.
    """
    if not 1.0 < minutes <= 24 * 60.0:
        raise InputError(f"a stream of {minutes:g} minutes is not possible: expected more than 1 and at most 1440")
    held_out = [corpus.clips[index] for index in corpus.fold(fold).evaluate]
    clips = {
        scene: tuple(clip for clip in held_out if meanings.get(clip.scene) == scene)
        for scene in sorted({meanings[clip.scene] for clip in held_out if clip.scene in meanings})
    }
    if len(clips) < 2:
        raise InputError(
            f"the model knows {len(clips)} of the scenes held out in fold {fold} ({', '.join(corpus.labels)}), "
            "a stream needs two: give names that differ with --label-map"
        )
    rng = np.random.default_rng([seed, 0])
    return StreamPlan(corpus, clips, tuple(_stays(tuple(clips), round(minutes * 60 * RATE_HZ), rng)), seed)


def _stays(scenes: Sequence[str], samples: int, rng: np.random.Generator) -> Iterator[Stay]:
    shortest, longest = round(SHORTEST_S * RATE_HZ), min(round(LONGEST_S * RATE_HZ), samples // 2)  # two at least
    start, last = 0, ""
    queue: list[str] = []
    while start < samples:
        if not queue:  # every scene once before one comes again
            queue = list(rng.permutation(scenes))
            if queue[0] == last:
                queue.append(queue.pop(0))
        last = str(queue.pop(0))
        end = start + int(rng.integers(shortest, longest, endpoint=True))
        if samples - end < shortest:  # what is left would be no stay
            end = samples
        yield Stay(last, start, end)
        start = end


def _recordings(clips: Sequence[Clip], rng: np.random.Generator) -> Iterator[list[Clip]]:
    """The recordings of one scene without end, each as its clips, in a new order every round."""
    ordered = sorted(clips, key=lambda clip: (clip.scene, clip.identifier, clip.filename))
    whole = [list(group) for _, group in groupby(ordered, key=lambda clip: (clip.scene, clip.identifier))]
    while True:
        for number in rng.permutation(len(whole)):
            yield whole[number]
