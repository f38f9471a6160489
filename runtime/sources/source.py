"""What every source is: mono blocks at its own rate, each with its time of arrival and what was lost before it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

#: A block is short against a hop, so that no decision waits long for a block to fill, and no shorter: being woken for
#: one takes 0.3 ms of the processor, most of what listening costs.
BLOCK_S = 0.04


@dataclass(frozen=True, eq=False)
class Block:
    """Some consecutive samples of a source."""

    samples: NDArray[np.float32]  # (n,) mono in [-1, 1] at the source's rate
    arrived_s: float  # time.perf_counter() when the last of them was there
    dropped: int = 0  # samples the source has lost since it began, those just before this block included
    down: str | None = None  # why no audio comes at the moment; such a block is empty and comes at least twice a second


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

    @property
    def losses(self) -> Mapping[str, int]:
        """Samples lost so far by cause ("overrun", "clock", "down"); they add up to the last block's `dropped`."""
        ...

    def blocks(self) -> Generator[Block, None, None]:
        """The blocks until the source ends; closing the iterator releases the source."""
        ...


def check_rate(sample_rate_hz: int) -> None:
    """Raise `InputError` for a sample rate that no sound card has."""
    if not 1000 <= sample_rate_hz <= 768_000:
        raise InputError(f"sample rate is {sample_rate_hz} Hz, expected 1000 to 768000: set --rate")
