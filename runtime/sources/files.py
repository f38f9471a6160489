"""Audio files as a source."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

from ..audio import AudioFile
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
        start, read = time.perf_counter(), 0
        for samples in self._file.blocks(BLOCK_S):
            arrived = time.perf_counter()
            if self._realtime:
                read += len(samples)
                due = start + read / self.sample_rate_hz
                time.sleep(max(0.0, due - arrived))
                # Due, not now: a consumer that falls behind must see its latency grow.
                arrived = due
            yield Block(samples, arrived)
