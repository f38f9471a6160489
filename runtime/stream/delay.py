"""What a microphone's sound waits for before any computing: the delay that is left on an infinitely fast machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..audio import Resampler
from ..frontend_spec import FrontendSpec
from ..sources.source import BLOCK_S


@dataclass(frozen=True)
class AlgorithmicDelay:
    """The parts of the delay in milliseconds; the time that computing takes comes on top of `total_ms`.

    Waiting for the next decision (at most a hop) and for the average is not in it: both are chosen, not suffered.
    """

    block_ms: float  # a sample waits for its block to be full: this long at most, half of it on average
    resampler_ms: float  # audio that the resampler holds back
    features_ms: float  # half the window of the STFT: a frame is complete when its second half has been heard

    @property
    def total_ms(self) -> float:
        """The longest that a sound waits."""
        return self.block_ms + self.resampler_ms + self.features_ms

    def to_dict(self) -> dict[str, float]:
        """The parts and their sum."""
        return {**vars(self), "total_ms": self.total_ms}


def algorithmic_delay(spec: FrontendSpec, sample_rate_hz: int, block_s: float = BLOCK_S) -> AlgorithmicDelay:
    """The delay of a source of `sample_rate_hz` in blocks of `block_s`.

    What the resampler holds back is found by asking it: half a second of silence goes in, what is missing of it is
    the delay. It varies by some milliseconds from block to block; the largest is given.
    """
    resampler = Resampler(sample_rate_hz, spec.sample_rate_hz)
    block = np.zeros(max(1, round(block_s * sample_rate_hz)), np.float32)
    heard_s = given_s = held_s = 0.0
    while heard_s < 0.5:
        heard_s += len(block) / sample_rate_hz
        given_s += len(resampler.resample(block)) / spec.sample_rate_hz
        if heard_s > 0.25:  # it has settled
            held_s = max(held_s, heard_s - given_s)
    return AlgorithmicDelay(1e3 * block_s, 1e3 * held_s, 1e3 * spec.win_length / 2 / spec.sample_rate_hz)
