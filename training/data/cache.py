"""Snippets of a corpus at 32 kHz in one memory-mapped file, made once.

A cache folder holds `waves.i16` (n_snippets x 32,000 int16, clip after clip), `clips.bin` (one record a clip: how many
snippets, size and time of its file, digest of its samples) and `index.json`, which is written last: without it the
other two are an unfinished build, taken up where it stopped. What a clip is called, and on which side of a fold it is,
comes from the corpus each time, so only changed audio makes a cache stale.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.atomic import write_file
from ...runtime.errors import InputError
from ...runtime.frontend_spec import STUDENT
from ...runtime.output import Output
from .corpus import Corpus
from .lock import lock
from .mapped import packed, unpacked
from .progress import track
from .snippets import cut_files

SCHEMA = "tinyscene.cache/1"
SAMPLE_RATE_HZ = STUDENT.sample_rate_hz
SNIPPET_SAMPLES = STUDENT.clip_samples

#: What `clips.bin` holds of a clip.
RECORD = np.dtype([("snippets", "<i4"), ("bytes", "<i8"), ("mtime_ns", "<i8"), ("digest", "S16")])


@dataclass(frozen=True)
class SnippetCache:
    """The snippets of a corpus; those of one clip follow each other, clips are in the corpus' order."""

    waves: NDArray[np.int16]  # (n_snippets, 32000) memory map, read-only; a sample is int16 / 32768
    clip: NDArray[np.int32]  # (n_snippets,) index into the corpus' clips
    label: NDArray[np.int64]  # (n_snippets,) index into the corpus' labels
    device: NDArray[np.int64]  # (n_snippets,) index into `devices`
    devices: tuple[str, ...]
    data_hash: str  # of the audio with its labels, recordings and devices; the same wherever the corpus lies
    path: Path

    def __len__(self) -> int:
        return len(self.waves)

    def rows(self, snippets: NDArray[np.integer[Any]]) -> NDArray[np.int16]:
        """Waves of the snippets, (k, 32000) int16, in the order they are given.

        They are read from the file: what the system has not at hand comes in twice as fast as through the memory map,
        and the pages do not count as this process' memory. Raises `InputError` when the file became shorter.
        """
        if not isinstance(self.waves, np.memmap):
            return self.waves[snippets]
        found = np.empty((len(snippets), self.waves.shape[1]), dtype=np.int16)
        for row, snippet in zip(found, snippets.tolist(), strict=True):
            if os.preadv(self._descriptor, [row], self.waves.offset + snippet * row.nbytes) != row.nbytes:
                raise InputError(f"{self.waves.filename} was cut short: delete its folder, to have it built anew")
        return found

    @cached_property
    def _descriptor(self) -> int:
        assert isinstance(self.waves, np.memmap)
        assert self.waves.filename is not None
        descriptor = os.open(self.waves.filename, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    def __getstate__(self) -> dict[str, Any]:
        # To a worker process goes the path of the waves, which it maps itself.
        return packed({field.name: getattr(self, field.name) for field in fields(self)})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(unpacked(state))

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        # Clip i's snippets are _starts[i] up to _starts[i + 1]; a clip beyond the last has none.
        return np.searchsorted(self.clip, np.arange(int(self.clip[-1]) + 2)).astype(np.int64)

    def of_clips(self, clip_indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Indices of the snippets of the clips, (k,) int64, in the order the clips are given."""
        clips = np.asarray(clip_indices, dtype=np.int64)
        first = self._starts[clips]
        count = self._starts[clips + 1] - first
        # Whole ranges without a loop: count up through all, then shift each clip's stretch to where it starts.
        before = np.cumsum(count) - count
        return np.arange(int(count.sum()), dtype=np.int64) + np.repeat(first - before, count)

    def clip_digests(self) -> list[str]:
        """A digest of each clip's samples, in hexadecimal."""
        records = np.frombuffer((self.path / "clips.bin").read_bytes(), dtype=RECORD)
        return [digest.decode() for digest in records["digest"]]


def open_cache(corpus: Corpus, cache_dir: Path | None = None, output: Output | None = None) -> SnippetCache:
    """The cache of `corpus`, built or completed first when need be.

    It lies in a folder of its own under `cache_dir`, by default $TINYSCENE_CACHE or ~/.cache/tinyscene. A build that
    was killed goes on after its last whole clip; a process that finds another one building waits for it. Progress goes
    to `output`'s log. Raises `InputError` naming the first file that is missing, corrupt or too short.
    """
    folder = cache_folder(corpus, cache_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the cache folder {folder} ({error}): give another with --cache DIR") from error
    files = file_stats(corpus)
    with lock(folder, f"building the cache {folder}", output):
        records = _read_finished(folder, files)
        if records is None:
            records = _build(corpus, folder, files, output)
        return _open(corpus, folder, records)


def cache_folder(corpus: Corpus, cache_dir: Path | None) -> Path:
    """The folder of the cache of `corpus`, which follows from where the corpus lies and its clips' names."""
    base = cache_dir or Path(os.environ.get("TINYSCENE_CACHE") or Path.home() / ".cache" / "tinyscene")
    root = corpus.root.resolve()
    names = "\n".join((str(root), *(clip.filename for clip in corpus.clips)))
    return base / f"{root.name}-{hashlib.sha256(names.encode()).hexdigest()[:16]}"


def file_stats(corpus: Corpus) -> NDArray[np.int64]:
    """Size and modification time of every clip's file, (n_clips, 2) int64."""
    found = np.empty((len(corpus.clips), 2), dtype=np.int64)
    root = str(corpus.root)
    for i, clip in enumerate(corpus.clips):
        try:
            status = os.stat(f"{root}/{clip.filename}")  # noqa: PTH116 (a Path for each of 230,000 clips takes seconds)
        except OSError as error:
            raise InputError(
                f"{corpus.path(clip)} is listed but cannot be read ({error.strerror}): "
                f"run `tinyscene data check {corpus.root}`"
            ) from None
        found[i] = status.st_size, status.st_mtime_ns
    return found


def _read_finished(folder: Path, files: NDArray[np.int64]) -> NDArray[np.void] | None:
    """The clips' records of a finished cache that still describes `files`; None when there is none."""
    try:
        index = json.loads((folder / "index.json").read_bytes())
        data = (folder / "clips.bin").read_bytes()
        waves_bytes = (folder / "waves.i16").stat().st_size
    except (OSError, ValueError):
        return None
    if not isinstance(index, dict) or index.get("schema") != SCHEMA:
        return None
    if index.get("clips_sha256") != hashlib.sha256(data).hexdigest():
        return None
    records = np.frombuffer(data, dtype=RECORD)
    whole = waves_bytes == 2 * SNIPPET_SAMPLES * int(records["snippets"].sum())
    return records if whole and len(records) == len(files) and _current(records, files).all() else None


def _current(records: NDArray[np.void], files: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each record was made from the file as it is now."""
    stats = files[: len(records)]
    current: NDArray[np.bool_] = (records["bytes"] == stats[:, 0]) & (records["mtime_ns"] == stats[:, 1])
    return current


def _build(corpus: Corpus, folder: Path, files: NDArray[np.int64], output: Output | None) -> NDArray[np.void]:
    if (folder / "index.json").exists():
        # A finished cache whose audio changed. Its files are replaced, not rewritten: another process may map them.
        for name in ("index.json", "clips.bin", "waves.i16"):
            (folder / name).unlink(missing_ok=True)
    kept = _resume(folder, files)
    if output is not None:
        already = f", {kept:,} done before" if kept else ""
        output.log(
            f"caching {len(corpus.clips):,} files of {corpus.root} at {SAMPLE_RATE_HZ // 1000} kHz in {folder}{already}"
        )
    with (folder / "waves.i16").open("ab") as waves, (folder / "clips.bin").open("ab") as clips:
        paths = (corpus.path(clip) for clip in itertools.islice(corpus.clips, kept, None))
        snippets = cut_files(paths, SAMPLE_RATE_HZ, SNIPPET_SAMPLES)
        for i, cut in enumerate(track(snippets, "caching", len(corpus.clips), output, done=kept), start=kept):
            # Samples before their record: a record therefore never speaks of samples that are not there.
            waves.write(cut.tobytes())
            waves.flush()
            record = np.array((len(cut), *files[i], _digest(cut.tobytes())), dtype=RECORD)
            clips.write(record.tobytes())
            clips.flush()
        os.fsync(waves.fileno())
        os.fsync(clips.fileno())
    return write_index(folder)


def write_index(folder: Path) -> NDArray[np.void]:
    """Declare a cache whose other files are written finished; returns its clips' records."""
    data = (folder / "clips.bin").read_bytes()
    records = np.frombuffer(data, dtype=RECORD)
    index = {
        "schema": SCHEMA,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "snippet_samples": SNIPPET_SAMPLES,
        "clips": len(records),
        "snippets": int(records["snippets"].sum()),
        "clips_sha256": hashlib.sha256(data).hexdigest(),
    }
    write_file(folder / "index.json", (json.dumps(index, indent=1) + "\n").encode())
    return records


def _resume(folder: Path, files: NDArray[np.int64]) -> int:
    """Cut an unfinished build back to its leading clips that are whole and current; how many those are."""
    try:
        data = (folder / "clips.bin").read_bytes()
        waves = (folder / "waves.i16").open("rb")
    except OSError:
        data, waves = b"", None
    records = np.frombuffer(data[: len(data) // RECORD.itemsize * RECORD.itemsize], dtype=RECORD)[: len(files)]
    kept = snippets = 0
    if waves is not None:
        with waves:
            for record, current in zip(records, _current(records, files), strict=True):
                # The digest is read back because a power cut, other than a kill, may lose samples written before it.
                samples = waves.read(2 * SNIPPET_SAMPLES * int(record["snippets"])) if current else b""
                if not current or _digest(samples) != record["digest"]:
                    break
                kept, snippets = kept + 1, snippets + int(record["snippets"])
    for name, size in (("clips.bin", kept * RECORD.itemsize), ("waves.i16", snippets * 2 * SNIPPET_SAMPLES)):
        with (folder / name).open("ab") as handle:
            handle.truncate(size)
    return kept


def _digest(samples: bytes) -> bytes:
    # A trailing zero byte would be lost in numpy's fixed-width strings: hexadecimal has none.
    return hashlib.blake2b(samples, digest_size=8).hexdigest().encode()


def _open(corpus: Corpus, folder: Path, records: NDArray[np.void]) -> SnippetCache:
    total = int(records["snippets"].sum())
    waves = np.memmap(folder / "waves.i16", dtype=np.int16, mode="r", shape=(total, SNIPPET_SAMPLES))
    clip = np.repeat(np.arange(len(records), dtype=np.int32), records["snippets"])
    number = {label: i for i, label in enumerate(corpus.labels)}
    devices = tuple(sorted({entry.device for entry in corpus.clips}))
    labels = np.array([number[entry.scene] for entry in corpus.clips], dtype=np.int64)
    device = np.array([devices.index(entry.device) for entry in corpus.clips], dtype=np.int64)
    lines = sorted(
        "\t".join((entry.filename, entry.scene, entry.identifier, entry.device, record["digest"].decode()))
        for entry, record in zip(corpus.clips, records, strict=True)
    )
    return SnippetCache(
        waves=waves,
        clip=clip,
        label=labels[clip],
        device=device[clip],
        devices=devices,
        data_hash=hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        path=folder,
    )
