"""What the live run listens to: some seconds of sound again and again, as a microphone would hand them over."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..audio import AudioFile
from ..frontend_spec import FrontendSpec
from ..sources.source import BLOCK_S, Block
from .rows import generated_clip

#: Most microphones' rate; the resampler then has its share of the work.
MICROPHONE_HZ = 48_000

#: A file is held in memory up to this length.
_LONGEST_S = 60.0


@dataclass(eq=False)
class LoopSource:
    """`samples` float32 (n,) over and over for `seconds`, in short blocks.

    Paced, a block comes when a microphone would have filled it, and `seconds` are of audio. Otherwise the next one
    comes when the last has been dealt with, and `seconds` are of the clock.
    """

    name: str
    sample_rate_hz: int
    samples: NDArray[np.float32]
    seconds: float
    paced: bool
    losses: dict[str, int] = field(default_factory=dict)
    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], object] = time.sleep

    def blocks(self) -> Generator[Block, None, None]:
        """The blocks; none is ever lost."""
        size = max(1, round(BLOCK_S * self.sample_rate_hz))
        start, given = self.clock(), 0
        while True:
            now, audio_s = self.clock(), given / self.sample_rate_hz
            if (audio_s if self.paced else now - start) >= self.seconds:
                return
            block = np.take(self.samples, np.arange(given, given + size), mode="wrap")
            given += size
            if self.paced:
                due = start + given / self.sample_rate_hz
                self.sleep(max(0.0, due - now))
                now = due  # due, not now: a machine that falls behind must see its latency grow
            yield Block(block, now)


def open_loop(clip: Path | None, spec: FrontendSpec, seconds: float, paced: bool) -> LoopSource:
    """The sound of `clip` at its own rate, or four generated seconds at `MICROPHONE_HZ`."""
    if clip is None:
        # Rate and length are all that is used; any contract's highest frequency has to be possible at this rate.
        at = replace(spec, sample_rate_hz=MICROPHONE_HZ, clip_samples=4 * MICROPHONE_HZ, fmin_hz=0.0, fmax_hz=1.0)
        return LoopSource("a generated sound", MICROPHONE_HZ, generated_clip(at), seconds, paced)
    file = AudioFile(clip)
    blocks: list[NDArray[np.float32]] = []
    for block in file.blocks(1.0):
        blocks.append(block)
        if len(blocks) >= _LONGEST_S:
            break
    return LoopSource(clip.name, file.sample_rate_hz, np.concatenate(blocks), seconds, paced)
