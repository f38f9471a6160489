"""An end to a source that has none."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

from ..errors import InputError
from ..sources.source import Block, Source


def up_to(source: Source, duration_s: float | None) -> Generator[Block, None, None]:
    """The blocks of `source` until `duration_s` of its clock have passed, lost samples included; None is all of them.

    Closing the iterator releases the source. Raises `InputError` for a duration that is not positive.
    """
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise InputError(f"duration is {duration_s} s, expected more than 0: set --duration-s")
    return _up_to(source, None if duration_s is None else round(duration_s * source.sample_rate_hz))


def _up_to(source: Source, most: int | None) -> Generator[Block, None, None]:
    heard = 0
    with closing(source.blocks()) as blocks:
        for block in blocks:
            if most is not None and heard + block.dropped + len(block.samples) >= most:
                dropped = min(block.dropped, most - heard)
                yield replace(block, samples=block.samples[: max(0, most - heard - dropped)], dropped=dropped)
                return
            heard += len(block.samples)
            yield block
