"""Logits of a teacher for the snippets of a cache, computed once and kept beside them.

A folder `logits/ARCH-KEY` in the cache's own holds one teacher's: a `.npy` file of (n_snippets, n_classes) float32, a
row for each snippet of the cache (that is, for each clip and crop), NaN where nobody has asked yet; and `index.json`,
written last, which names that file, its SHA-256, and the version of the recordings it was computed from. Both sides
of every fold share it, and what is missing is added.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..runtime.atomic import write_file
from ..runtime.errors import InputError
from ..runtime.output import Output
from .batches import TrainingData
from .context import Windows, windows_around
from .data.cache import SNIPPET_SAMPLES
from .data.lock import lock
from .data.progress import track
from .predict import predictor
from .run import WEIGHTS, Run

SCHEMA = "tinyscene.logits/1"

#: Snippets' worth of audio that a teacher hears at once, and how many times it does between two saves.
BLOCK = 64
BLOCKS_A_SAVE = 64


def teacher_logits(
    run: Run,
    data: TrainingData,
    indices: NDArray[np.int64],
    *,
    context_s: float = 1.0,
    device: torch.device,
    output: Output,
) -> NDArray[np.float32]:
    """Logits of `run` for every snippet of the cache, (n_snippets, n_classes) memory map; rows at `indices` are there.

    Other rows may be NaN. With `context_s` above 1 the teacher hears that much of the recording around each snippet
    (`windows_around`). Kept logits are computed anew, with a line in the log, when they are damaged or of another
    version of the recordings; a computation that was killed goes on where it last saved, and a process that finds
    another one computing waits for it. Raises `InputError` when the teacher's answers are no numbers.
    """
    windows = windows_around(data, context_s)
    key = logits_key(run, context_s, windows)
    folder = data.cache.path / "logits" / f"{run.arch}-{key[:16]}"
    about = {
        "schema": SCHEMA,
        "key": key,
        "data_hash": data.cache.data_hash,
        "teacher": {"run": run.path.name, "arch": run.arch, "weights_sha256": run.files[WEIGHTS]},
        "context_s": context_s,
        "labels": list(run.labels),
    }
    store = _Store(folder, about, (len(data.cache), len(run.labels)))
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder, f"computing the logits of {run.path}", output):
        kept = store.read(output)
        missing = indices if kept is None else indices[np.isnan(kept[indices, 0])]
        if kept is None or len(missing):
            output.log(f"{run.path}: logits of {len(missing):,} snippets")
            logits = np.full(store.shape, np.nan, dtype=np.float32) if kept is None else np.array(kept)
            logits_of = predictor(run.build(), run.frontend, device)
            blocks = _blocks(windows, windows.of_snippet[missing])
            for number, block in enumerate(track(blocks, "batches predicted", len(blocks), output), start=1):
                answers = logits_of(windows.waves(data.cache, block))
                if not np.isfinite(answers).all():
                    raise InputError(f"teacher {run.path} answers with logits that are no numbers: train it again")
                snippets, place = windows.snippets(block)
                logits[snippets] = answers[place]
                if number % BLOCKS_A_SAVE == 0:
                    store.write(logits)
            kept = store.write(logits)
    return kept


def logits_key(run: Run, context_s: float, windows: Windows) -> str:
    """SHA-256 of all that a teacher's logits depend on but the audio: its network, front end, and what it hears."""
    parts = [run.files[WEIGHTS], run.frontend.hash(), run.arch, json.dumps(dict(run.arguments), sort_keys=True)]
    if context_s > 1.0:
        parts.append(windows.digest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _blocks(windows: Windows, wanted: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The windows to predict together, block by block, until all those `wanted` are there.

    What is predicted together never depends on what was asked for, so neither does the last bit of any answer: sums
    are rounded differently in batches of another shape. Windows of one block have one length.
    """
    starts = np.flatnonzero(np.diff(windows.length, prepend=-1)).tolist()
    bounds: list[int] = []
    for start, stop in zip(starts, [*starts[1:], len(windows)], strict=True):
        bounds += range(start, stop, max(1, BLOCK * SNIPPET_SAMPLES // int(windows.length[start])))
    chosen = np.unique(np.searchsorted(bounds, wanted, side="right")) - 1
    return [np.arange(bounds[i], [*bounds, len(windows)][i + 1]) for i in chosen.tolist()]


@dataclass(frozen=True)
class _Store:
    """One teacher's folder; `about` is what its index says beside the file."""

    folder: Path
    about: Mapping[str, Any]
    shape: tuple[int, int]

    def read(self, output: Output) -> NDArray[np.float32] | None:
        """The kept logits; None when there are none, or none that may be used."""
        if not (self.folder / "index.json").exists():
            return None
        try:
            index = json.loads((self.folder / "index.json").read_bytes())
            if index["data_hash"] != self.about["data_hash"]:
                output.log(f"{self.folder} holds logits of another version of the recordings: they are computed anew")
                return None
            file = self.folder / Path(index["file"]).name
            if hashlib.sha256(file.read_bytes()).hexdigest() == index["sha256"]:
                kept: NDArray[np.float32] = np.load(file, mmap_mode="r", allow_pickle=False)
                same = all(index[name] == self.about[name] for name in ("schema", "key", "labels"))
                if same and kept.shape == self.shape and kept.dtype == np.float32:
                    return kept
        except (OSError, ValueError, KeyError, TypeError):
            pass
        output.log(f"{self.folder} is damaged: its logits are computed anew")
        return None

    def write(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Replace what is kept by `logits`; they come back as a memory map."""
        buffer = io.BytesIO()
        np.save(buffer, logits, allow_pickle=False)
        digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
        # A new name: the old file stays whole until the index is replaced, and a kill loses one stretch at most.
        file = self.folder / f"{digest[:16]}.npy"
        write_file(file, buffer.getvalue())
        index = {**self.about, "file": file.name, "sha256": digest}
        write_file(self.folder / "index.json", (json.dumps(index, indent=1) + "\n").encode())
        for other in self.folder.iterdir():
            if other.name not in ("lock", "index.json", file.name):
                other.unlink()  # the old file, and what a kill left half-written
        return np.load(file, mmap_mode="r", allow_pickle=False)
