"""Places of a corpus one after the other in one recording, as a walk through town: something to listen to."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from ...runtime.atomic import write_file
from ...runtime.audio import read_mono
from ...runtime.errors import InputError
from .corpus import Clip, Corpus

RATE_HZ = 32_000


@dataclass(frozen=True)
class Stretch:
    """What is heard from `start_s` on, until the next stretch or the end."""

    start_s: float
    scene: str
    identifier: str


def stitch(corpus: Corpus, fold: int, seconds_per_place: float, seed: int, out: Path) -> list[Stretch]:
    """Write one place a scene of the fold's evaluation side to the WAV file `out` (32 kHz, 16 bit, mono).

    Scenes come in random order; each place plays its clips in their order until `seconds_per_place` or its last one.
    Returns what is heard when. Raises `InputError` for a bad length or a clip that cannot be read.
    """
    if not 0.0 < seconds_per_place <= 3600.0:
        raise InputError(f"{seconds_per_place} s a place is not possible: expected more than 0 and at most 3600")
    rng = np.random.default_rng(seed)
    clips = [corpus.clips[index] for index in corpus.fold(fold).evaluate]
    stretches: list[Stretch] = []
    pieces: list[np.ndarray] = []
    samples = 0
    for scene in rng.permutation(sorted({clip.scene for clip in clips})):
        places = sorted({clip.identifier for clip in clips if clip.scene == scene})
        place = str(rng.choice(places))
        piece = play(corpus, [clip for clip in clips if (clip.scene, clip.identifier) == (scene, place)])
        piece = piece[: round(seconds_per_place * RATE_HZ)]
        stretches.append(Stretch(samples / RATE_HZ, str(scene), place))
        pieces.append(piece)
        samples += len(piece)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(np.concatenate(pieces), -1.0, 1.0), RATE_HZ, subtype="PCM_16", format="WAV")
    write_file(out, buffer.getvalue())
    return stretches


def play(corpus: Corpus, clips: list[Clip]) -> np.ndarray:
    """The clips of one place one after the other, float32 (n,) at 32 kHz, all as loud as the first.

    Raises `InputError` for a clip that cannot be read.
    """
    # They may come from several microphones: one level, so that only the place changes.
    waves = [read_mono(corpus.path(clip), RATE_HZ) for clip in clips]
    levels = [max(1e-6, float(np.sqrt(np.mean(wave**2)))) for wave in waves]
    return np.concatenate([wave * (levels[0] / level) for wave, level in zip(waves, levels, strict=True)])
