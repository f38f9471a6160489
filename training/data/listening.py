"""What one audio file turns out to hold when it is decoded once: its length, level, clipping and content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.audio import AudioFile
from ...runtime.errors import InputError

#: A sample at full scale, within what 16 bits and a converter's rounding leave.
FULL_SCALE = 0.9995


@dataclass(frozen=True)
class Heard:
    """Facts about one file; `error` is set, and the rest empty, when it could not be decoded to its end."""

    error: str | None = None
    seconds: float = 0.0
    sample_rate_hz: int = 0
    level_db: float = -np.inf  # root mean square without its constant part, full scale is 0
    clipped_share: float = 0.0  # of samples in runs of three or more at full scale
    digest: str = ""  # of the mono samples at 16 bits: equal when two files hold the same sound


def listen_to(path: Path) -> Heard:
    """Decode the file at `path` block by block; never raises for what is wrong with it."""
    count, total, power, clipped = 0, 0.0, 0.0, 0
    digest = hashlib.blake2b(digest_size=16)
    try:
        audio = AudioFile(path)
        for block in audio.blocks(block_s=1.0):
            count += len(block)
            total += float(block.sum(dtype=np.float64))
            power += float(np.dot(block, block))
            clipped += _clipped(block)
            digest.update(np.rint(block * 32767).astype("<i2").tobytes())
    except InputError as error:
        return Heard(error=str(error))
    variance = max(0.0, power / count - (total / count) ** 2)
    return Heard(
        seconds=count / audio.sample_rate_hz,
        sample_rate_hz=audio.sample_rate_hz,
        level_db=10 * float(np.log10(variance)) if variance > 0 else -np.inf,
        clipped_share=clipped / count,
        digest=f"{audio.sample_rate_hz}-{digest.hexdigest()}",
    )


def _clipped(block: NDArray[np.float32]) -> int:
    """Samples in runs of three or more at full scale: a peak may touch it, only a clipped one stays there."""
    loud = np.abs(block) >= FULL_SCALE
    runs = loud[:-2] & loud[1:-1] & loud[2:]
    if not runs.any():
        return 0
    clipped = np.zeros_like(loud)
    for shift in range(3):
        clipped[shift : len(runs) + shift] |= runs
    return int(clipped.sum())
