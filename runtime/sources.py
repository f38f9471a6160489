"""Where audio comes from: a file, raw samples on standard input, or a microphone (`sources_microphone`).

A source hands out mono blocks at its own rate, each with the moment its last sample was there and the samples lost so
far; the stream resamples them, so that its meters see that stage too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from .audio import AudioFile
from .errors import InputError

#: A block is short against a hop, so that no decision waits for a block to fill.
BLOCK_S = 0.02


@dataclass(frozen=True, eq=False)
class Block:
    """Some consecutive samples of a source."""

    samples: NDArray[np.float32]  # (n,) mono in [-1, 1] at the source's rate
    arrived_s: float  # time.perf_counter() when the last of them was there
    dropped: int = 0  # samples the source has lost since it began, at its rate


class Source(Protocol):
    """Something to listen to, once."""

    @property
    def name(self) -> str:
        """What the source is, for a person."""
        ...

    @property
    def sample_rate_hz(self) -> int:
        """Rate of its blocks."""
        ...

    def blocks(self) -> Generator[Block, None, None]:
        """The blocks until the source ends; closing the iterator releases the source."""
        ...


class FileSource:
    """An audio file, as fast as it is consumed or, with `realtime`, at the pace of a microphone."""

    def __init__(self, path: Path, realtime: bool = False) -> None:
        """Open `path`; raises `InputError` as `audio.AudioFile` does."""
        self._file = AudioFile(path)
        self._realtime = realtime
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


class PcmSource:
    """Raw signed 16-bit little-endian samples, channels interleaved, from a pipe such as standard input."""

    def __init__(
        self,
        stream: BinaryIO,
        sample_rate_hz: int,
        channels: int = 1,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Read from `stream`; raises `InputError` for a rate or channel count that cannot be."""
        check_rate(sample_rate_hz)
        if not 1 <= channels <= 64:
            raise InputError(f"channel count is {channels}, expected 1 to 64: set --channels")
        self._stream = stream
        self._channels = channels
        self._log = log
        self.name = "standard input"
        self.sample_rate_hz = sample_rate_hz

    def blocks(self) -> Generator[Block, None, None]:
        """The samples until the pipe is closed, channels averaged; bytes after the last whole sample are reported."""
        frame_bytes = 2 * self._channels
        block_bytes = frame_bytes * max(1, round(BLOCK_S * self.sample_rate_hz))
        while data := self._stream.read(block_bytes):
            arrived = time.perf_counter()
            frames, rest = divmod(len(data), frame_bytes)
            if rest:
                self._log(f"raw audio ended within a sample: its last {rest} bytes were ignored (is --channels right?)")
            if frames:
                samples = np.frombuffer(data, "<i2", frames * self._channels).reshape(frames, self._channels)
                yield Block(samples.mean(axis=1, dtype=np.float32) / np.float32(32768), arrived)


def check_rate(sample_rate_hz: int) -> None:
    """Raise `InputError` for a sample rate that no sound card has."""
    if not 1000 <= sample_rate_hz <= 768_000:
        raise InputError(f"sample rate is {sample_rate_hz} Hz, expected 1000 to 768000: set --rate")
