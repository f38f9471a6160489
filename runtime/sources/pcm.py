"""Raw samples from a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import BinaryIO

import numpy as np

from ..errors import InputError
from .source import BLOCK_S, Block, check_rate


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
        self.losses: dict[str, int] = {}
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
