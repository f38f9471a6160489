"""An audio file, or all those of a folder, as a source."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..audio import AudioFile, read_blocks
from ..errors import InputError
from .source import BLOCK_S, Block


class FileSource:
    """An audio file, as fast as it is consumed or, with `realtime`, at the pace of a microphone."""

    def __init__(self, path: Path, realtime: bool = False) -> None:
        """Open `path`; raises `InputError` as `audio.AudioFile` does."""
        self._file = AudioFile(path)
        self._realtime = realtime
        self.losses: dict[str, int] = {}
        self.name = path.name
        self.sample_rate_hz = self._file.sample_rate_hz

    def blocks(self) -> Generator[Block, None, None]:
        """The file's samples; with `realtime` each block when its last sample is due."""
        yield from _paced(self._file.blocks(BLOCK_S), self.sample_rate_hz, self._realtime)


#: Files that libsndfile may read; everything else in a folder is no audio and passed over in silence.
ENDINGS = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64"))


class FolderSource:
    """Every audio file under a folder, in the order of their paths, as one stream at one rate.

    A file that cannot be read, or not to its end, is logged and counted in `skipped`; what was read of it stands.
    """

    def __init__(
        self, folder: Path, sample_rate_hz: int, realtime: bool = False, log: Callable[[str], None] = lambda text: None
    ) -> None:
        """Look for files; raises `InputError` when there are none."""
        self._files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
        if not self._files:
            raise InputError(f"no audio files under {folder}: expected {', '.join(sorted(ENDINGS))}")
        self._realtime, self._log = realtime, log
        self.losses: dict[str, int] = {}
        self.skipped = 0
        self.name = f"{folder.name} ({len(self._files)} files)"
        self.sample_rate_hz = sample_rate_hz

    def blocks(self) -> Generator[Block, None, None]:
        """The files' samples one after the other; with `realtime` each block when its last sample is due."""
        yield from _paced(self._samples(), self.sample_rate_hz, self._realtime)
        if self.skipped:
            self._log(f"{self.skipped} of {len(self._files)} files could not be read whole")

    def _samples(self) -> Iterator[NDArray[np.float32]]:
        for path in self._files:
            try:
                yield from read_blocks(path, self.sample_rate_hz, BLOCK_S)
            except InputError as error:
                self.skipped += 1
                self._log(f"skipped: {error}")


def _paced(pieces: Iterator[NDArray[np.float32]], rate_hz: int, realtime: bool) -> Generator[Block, None, None]:
    start, read = time.perf_counter(), 0
    for samples in pieces:
        arrived = time.perf_counter()
        if realtime:
            read += len(samples)
            due = start + read / rate_hz
            time.sleep(max(0.0, due - arrived))
            # Due, not now: a consumer that falls behind must see its latency grow.
            arrived = due
        yield Block(samples, arrived)
