"""The procedural corpus: ten TAU-like scenes in the exact TAU 2022 Mobile layout, the same bytes for the same seed.

1-s files SCENE-CITY-LOCATION-SEGMENT-CHUNK-DEVICE.wav (44.1 kHz, 16 bit, mono) under `audio`, `meta.csv`, and the lists
of fold 1, whose sides share no location. The cities are invented, so that no file is taken for a genuine recording.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from ...runtime.atomic import directory
from ...runtime.errors import InputError, require
from ...runtime.output import Output
from .progress import track
from .recorders import RECORDERS, TRAIN_SHARES, record
from .scenes import SCENES, Location, make_location, render
from .synthesis import RATE_HZ

SCHEMA = "tinyscene.synth/1"

#: Raised whenever the same seed gives other sounds than before.
GENERATOR = 1

#: Consecutive 1-s chunks of a segment, and segments a location is visited for.
CHUNKS, VISITS = 2, 3

#: Share of a scene's clips on the evaluation side, and level of the recordings under full scale.
EVALUATE_SHARE, LEVEL_DB = 2 / 7, (-34.0, -20.0)

TRAIN_CITIES = ("alderby", "brackwell", "corvale", "dunmere", "eastholm", "fennwick", "garrow", "hollin")
EVALUATE_CITIES = (*TRAIN_CITIES, "inverby", "jarrow")  # two cities are new, as in TAU


@dataclass(frozen=True)
class SynthSpec:
    """What decides every byte of a corpus."""

    clips_per_scene: int = 210
    seed: int = 0
    generator: int = GENERATOR

    def __post_init__(self) -> None:
        if self.clips_per_scene < 14:
            raise InputError(
                f"clips per scene is {self.clips_per_scene}, expected at least 14: 10 to train, 4 to evaluate"
            )
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}, expected 0 or more")


@dataclass(frozen=True)
class Segment:
    """One visit to a location with one device; its first `chunks` seconds become files."""

    scene: str
    side: str
    city: str
    location: int
    number: int
    device: str
    chunks: int

    def filename(self, chunk: int) -> str:
        """Path of a chunk's file inside the corpus."""
        return f"audio/{self.scene}-{self.city}-{self.location}-{self.number}-{chunk}-{self.device}.wav"


def plan(spec: SynthSpec) -> list[Segment]:
    """All segments of a corpus, the training side first within each scene."""
    rng = np.random.default_rng([spec.seed, 1])
    segments: list[Segment] = []
    location = 0
    n_evaluate = round(spec.clips_per_scene * EVALUATE_SHARE)
    shares = np.array(list(TRAIN_SHARES.values()))
    for k, scene in enumerate(SCENES):
        for side, n_clips in (("train", spec.clips_per_scene - n_evaluate), ("evaluate", n_evaluate)):
            n_segments = -(-n_clips // CHUNKS)
            if side == "train":
                # Every training device as near to its share as whole numbers allow, in random order.
                devices = rng.permutation(np.repeat(list(TRAIN_SHARES), _rounded_shares(shares, n_segments)))
            else:
                # Each scene starts its round of the nine devices where the one before stopped.
                devices = np.array([list(RECORDERS)[(k * n_segments + i) % len(RECORDERS)] for i in range(n_segments)])
            cities = TRAIN_CITIES if side == "train" else EVALUATE_CITIES
            for i, device in enumerate(devices):
                if i % VISITS == 0:
                    location += 1
                chunks = min(CHUNKS, n_clips - i * CHUNKS)
                city = cities[location % len(cities)]
                segments.append(Segment(scene, side, city, location, len(segments), str(device), chunks))
    return segments


def generate(out: Path, spec: SynthSpec, output: Output | None = None, workers: int = 2) -> bool:
    """Write the corpus `spec` describes to the folder `out`, whole or not at all; False when it is there already.

    Raises `InputError` when `out` holds something else.
    """
    require("soundfile", "train")
    settings = {"schema": SCHEMA, **asdict(spec)}
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        found = _settings(out)
        if found == settings:
            return False
        what = "is not a generated corpus" if found is None else f"holds another generated corpus ({_short(found)})"
        raise InputError(f"{out} {what}: choose another folder, or remove it")
    segments = plan(spec)
    with directory(out) as folder:
        (folder / "audio").mkdir()
        write = partial(write_segment, folder, spec.seed)
        # Fresh interpreters: a fork of a process that has started torch's threads may hang.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            done = pool.map(write, segments, chunksize=2 * VISITS)
            for _ in track(done, f"generating {out}", len(segments), output):
                pass
        _write_lists(folder, segments)
        (folder / "synth.json").write_text(json.dumps(settings, indent=1) + "\n")
    return True


def write_segment(folder: Path, seed: int, segment: Segment) -> None:
    """Render one segment of the corpus with this seed and write its chunks' files into `folder`."""
    import soundfile

    n = CHUNKS * RATE_HZ
    location, level_db = _visit(seed, segment.scene, segment.location)
    rng = np.random.default_rng([seed, 3, segment.number])
    wave = render(segment.scene, location, rng, n)
    heard = record(wave, segment.device, level_db + rng.uniform(-3, 3), rng)
    samples = np.rint(heard * 32767).astype(np.int16)
    for chunk in range(segment.chunks):
        cut = samples[chunk * RATE_HZ : (chunk + 1) * RATE_HZ]
        soundfile.write(folder / segment.filename(chunk), cut, RATE_HZ, subtype="PCM_16")


@lru_cache(maxsize=4)  # a location's segments follow each other
def _visit(seed: int, scene: str, number: int) -> tuple[Location, float]:
    """A location and the level it is recorded at."""
    rng = np.random.default_rng([seed, 2, number])
    return make_location(scene, rng, CHUNKS * RATE_HZ), float(rng.uniform(*LEVEL_DB))


def _write_lists(folder: Path, segments: list[Segment]) -> None:
    def rows(side: str | None) -> Iterator[tuple[Segment, str]]:
        for segment in segments:
            if side in (None, segment.side):
                for chunk in range(segment.chunks):
                    yield segment, segment.filename(chunk)

    meta = ["filename\tscene_label\tidentifier\tsource_label"]
    meta += [f"{name}\t{s.scene}\t{s.city}-{s.location}\t{s.device}" for s, name in rows(None)]
    (folder / "meta.csv").write_text("\n".join(meta) + "\n")
    (folder / "evaluation_setup").mkdir()
    for side in ("train", "evaluate"):
        lines = ["filename\tscene_label", *(f"{name}\t{s.scene}" for s, name in rows(side))]
        (folder / "evaluation_setup" / f"fold1_{side}.csv").write_text("\n".join(lines) + "\n")


def _rounded_shares(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers that add up to `total` and differ from `shares` of it by less than 1."""
    return np.diff(np.rint(np.cumsum(np.append(0, shares)) * total)).astype(int)


def _settings(out: Path) -> dict[str, object] | None:
    try:
        found = json.loads((out / "synth.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("schema") == SCHEMA else None


def _short(settings: dict[str, object]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in islice(settings.items(), 1, None))
