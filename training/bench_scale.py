"""What a corpus of TAU22's size costs: memory and time to read its lists, open its cache, and gather batches.

    python -m tinyscene.training.bench_scale [--clips 230350]

A corpus is generated whose names and lists are TAU22's in form. Its audio files are links to a few one-second ones and
its cache's samples are holes in a file of full length, so nothing is decoded and little disk is needed; every clip has
its entry in each list, its file to look at, and its row of the cache. The figures are of a process of its own; how
long a disk takes to read the samples is not among them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..runtime.output import format_table
from .batches import EpochOrder, SnippetBatches, TrainingData, open_corpus
from .data.cache import RECORD, SAMPLE_RATE_HZ, SNIPPET_SAMPLES, cache_folder, file_stats, write_index
from .data.corpus import read_corpus

#: Files of TAU Urban Acoustic Scenes 2022 Mobile, development set, and of its first fold's two sides.
CLIPS, TRAIN, EVALUATE = 230_350, 139_620, 29_680

SCENES = (
    "airport", "bus", "metro", "metro_station", "park", "public_square", "shopping_mall", "street_pedestrian",
    "street_traffic", "tram",
)  # fmt: skip
CITIES = ("barcelona", "helsinki", "lisbon", "london", "lyon", "milan", "paris", "prague", "stockholm", "vienna")
DEVICES = ("a", "b", "c", "s1", "s2", "s3", "s4", "s5", "s6")

#: File systems allow 65,000 names of one file.
NAMES_A_FILE = 20_000

BATCH, BATCHES = 64, 200

T = TypeVar("T")


def names(clips: int) -> Iterator[tuple[str, str, str, str]]:
    """(file name, scene, identifier, device) of so many clips; ten of a second make a recording by one device."""
    for number in range(clips):
        segment, chunk = divmod(number, 10)
        place = segment // len(DEVICES)
        scene, city = SCENES[place % len(SCENES)], CITIES[place // len(SCENES) % len(CITIES)]
        location, device = 100 + place // 20, DEVICES[segment % len(DEVICES)]
        yield (
            f"audio/{scene}-{city}-{location}-{40_000 + place}-{chunk}-{device}.wav",
            scene,
            f"{city}-{location}",
            device,
        )


def write_corpus(root: Path, clips: int = CLIPS) -> Path:
    """Write a corpus of that many clips into `root`: lists in TAU22's form, files that are links to a few."""
    import soundfile

    rows = list(names(clips))
    (root / "audio").mkdir(parents=True)
    (root / "evaluation_setup").mkdir()
    header = "filename\tscene_label\tidentifier\tsource_label\n"
    (root / "meta.csv").write_text(header + "".join("\t".join(row) + "\n" for row in rows))
    train, evaluate = clips * TRAIN // CLIPS, clips * EVALUATE // CLIPS
    for side, part in (("train", rows[:train]), ("evaluate", rows[train : train + evaluate])):
        lines = "".join(f"{name}\t{scene}\n" for name, scene, _, _ in part)
        (root / "evaluation_setup" / f"fold1_{side}.csv").write_text("filename\tscene_label\n" + lines)
    for number, (name, *_) in enumerate(rows):
        if number % NAMES_A_FILE == 0:
            file = root / name
            soundfile.write(file, np.zeros(SAMPLE_RATE_HZ), SAMPLE_RATE_HZ, subtype="PCM_16")
        else:
            os.link(file, root / name)
    return root


def write_cache(root: Path, cache_dir: Path) -> None:
    """Write the finished cache of the corpus in `root`, its samples a hole in a file of full length."""
    corpus = read_corpus(root)
    folder = cache_folder(corpus, cache_dir)
    folder.mkdir(parents=True)
    records = np.zeros(len(corpus.clips), dtype=RECORD)
    records["snippets"] = 1
    records["bytes"], records["mtime_ns"] = file_stats(corpus).T
    records["digest"] = [f"{number:016x}" for number in range(len(records))]
    (folder / "clips.bin").write_bytes(records.tobytes())
    with (folder / "waves.i16").open("wb") as waves:
        waves.truncate(2 * SNIPPET_SAMPLES * len(records))
    write_index(folder)


def measure(root: Path, cache_dir: Path) -> list[dict[str, Any]]:
    """Seconds and peak memory of each step from the lists to batches, as rows of a table."""
    rows: list[dict[str, Any]] = [{"step": "start, torch imported", "seconds": 0.0, **memory()}]

    def step(name: str, run: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = run()
        rows.append({"step": name, "seconds": time.perf_counter() - start, **memory()})
        return result

    corpus = step("read the lists", lambda: read_corpus(root))
    data: TrainingData = step("open the cache", lambda: open_corpus(corpus, 1, None, cache_dir, None))
    order = EpochOrder(len(data.train), BATCH, seed=0)
    batches = step("order of an epoch", lambda: list(order))
    snippets = SnippetBatches(data.cache, data.train)

    def gather() -> None:
        for positions in batches[:BATCHES]:
            snippets[positions]

    step(f"gather {min(BATCHES, len(batches))} batches of {BATCH}", gather)
    return rows


def memory() -> dict[str, float]:
    """Peak of the process' memory so far, and what of it now is its own rather than files' pages (MB)."""
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    status = Path("/proc/self/status")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines()) if status.exists() else {}
    own_mb = int(lines["RssAnon"].split()[0]) / 1024 if "RssAnon" in lines else float("nan")
    return {"own_mb": own_mb, "peak_mb": peak_mb}


def main() -> None:
    """Generate the corpus, measure in another process, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--clips", type=int, default=CLIPS, help="clips to generate (default: TAU22's %(default)s)")
    parser.add_argument("--measure", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure / "corpus", arguments.measure / "cache")))
        return
    with tempfile.TemporaryDirectory(prefix="tinyscene-scale-") as folder:
        rows = measure_apart(Path(folder), arguments.clips)
    audio_gb = 2 * SNIPPET_SAMPLES * arguments.clips / 1e9
    print(f"{arguments.clips:,} clips, {audio_gb:.1f} GB of samples in the cache\n")
    print(format_table(["step", "s", "own MB", "peak MB"], [list(row.values()) for row in rows]))


def measure_apart(folder: Path, clips: int) -> list[dict[str, Any]]:
    """Write a corpus of so many clips and its cache into `folder`, and `measure` them in a new process."""
    write_corpus(folder / "corpus", clips)
    write_cache(folder / "corpus", folder / "cache")
    command = [sys.executable, "-m", "tinyscene.training.bench_scale", "--measure", str(folder)]
    rows: list[dict[str, Any]] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return rows


if __name__ == "__main__":
    main()
