"""The running classifier: source -> resample -> features (each frame once) -> engine per hop -> smoothed decision."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..audio import Resampler
from ..engines.engine import Engine
from ..errors import InputError
from ..frontend import StreamingLogMel
from ..frontend_spec import FrontendSpec
from ..sources.source import Block, Source
from .meters import Meters
from .smoothing import Average, ExponentialAverage, Hysteresis, MovingAverage, State, Thresholds, softmax

#: The level shown for digital silence.
SILENCE_DBFS = -120.0


@dataclass(frozen=True)
class StreamSettings:
    """How often to decide and how steadily."""

    hop_ms: float = 250.0  # rounded to whole frames
    average: Literal["exponential", "moving"] = "exponential"
    smoothing_s: float = 2.0  # time constant of the exponential, length of the moving average; 0 is none
    thresholds: Thresholds = field(default_factory=Thresholds)

    def hop_frames(self, spec: FrontendSpec) -> int:
        """Frames from one decision to the next, at least one; raises `InputError` for a hop that is not positive."""
        if not 0.0 < self.hop_ms <= 60_000.0:
            raise InputError(f"hop is {self.hop_ms} ms, expected more than 0 and at most 60000: set --hop-ms")
        return max(1, round(self.hop_ms / 1e3 / spec.hop_s))

    def running_average(self, step_s: float) -> Average:
        """A fresh average for probabilities that come every `step_s`."""
        kind = MovingAverage if self.average == "moving" else ExponentialAverage
        return kind(self.smoothing_s, step_s)


@dataclass(frozen=True, eq=False)
class Decision:
    """What the stream says at one moment."""

    t_s: float  # end of the window in the source's time, lost samples included
    scene: str | None  # the scene decided on; None while none is certain enough
    state: State
    top: str  # the likeliest scene, decided on or not
    probability: float  # averaged probability of `scene`, or of `top` while there is none
    probabilities: dict[str, float]  # averaged, by label
    latency_ms: float  # from the arrival of the window's last sample to this decision
    dropped_samples: int  # lost by the source so far, at its rate
    level_dbfs: float  # loudness of the audio since the last decision (RMS; a full-scale sine is -3)


class SceneStream:
    """One bundle's network listening to one source's blocks.

    A window is `n_frames` consecutive frames of the endless stream: only at the very start and at the end of a file do
    frames see the reflected edge that every training clip has at both ends.
    """

    def __init__(
        self,
        spec: FrontendSpec,
        labels: tuple[str, ...],
        engine: Engine,
        sample_rate_hz: int,
        settings: StreamSettings | None = None,
    ) -> None:
        """Decide among `labels` by `engine` on blocks of `sample_rate_hz`."""
        settings = settings or StreamSettings()
        self.spec, self.labels, self.sample_rate_hz = spec, labels, sample_rate_hz
        self.meters = Meters()
        self.hop_frames = settings.hop_frames(spec)
        self._engine = engine
        self._resampler = Resampler(sample_rate_hz, spec.sample_rate_hz)
        self._features = StreamingLogMel(spec)
        self._n_frames = spec.n_frames()
        self._recent = np.empty((spec.n_mels, 0), np.float32)  # the frames that a coming window still needs
        self._next_end = self._n_frames  # frame count at which the next window is complete
        self._frames = 0  # frames and samples so far, at the front end's rate
        self._samples = 0
        self._average = settings.running_average(self.hop_frames * spec.hop_s)
        self._hysteresis = Hysteresis(settings.thresholds)
        self._power, self._power_samples = 0.0, 0

    def push(self, block: Block) -> Iterator[Decision]:
        """Take in a block and yield the decisions it completes."""
        self.meters.dropped_samples = block.dropped
        with self.meters.timed("resample"):
            samples = self._resampler.resample(block.samples)
        yield from self._listen(samples, block.arrived_s)

    def finish(self, arrived_s: float) -> Iterator[Decision]:
        """End the stream, whose last sample arrived at `arrived_s`, and yield its last decisions.

        Raises `InputError` when the whole stream was shorter than one window.
        """
        with self.meters.timed("resample"):
            rest = self._resampler.resample(np.empty(0, np.float32), last=True)
        yield from self._listen(rest, arrived_s)
        if self.spec.n_frames(max(1, self._samples)) < self._n_frames:
            raise InputError(
                f"{self._samples / self.spec.sample_rate_hz:.2f} s of audio are too short: a decision needs "
                f"{self.spec.clip_samples / self.spec.sample_rate_hz:.2f} s"
            )
        yield from self._classify(self._features.flush, arrived_s)

    def _listen(self, samples: NDArray[np.float32], arrived_s: float) -> Iterator[Decision]:
        self._samples += len(samples)
        self.meters.audio_s = self._samples / self.spec.sample_rate_hz
        self._power += float(np.dot(samples, samples))
        self._power_samples += len(samples)
        yield from self._classify(lambda: self._features.push(samples), arrived_s)

    def _classify(self, compute: Callable[[], NDArray[np.float32]], arrived_s: float) -> Iterator[Decision]:
        start = time.perf_counter()
        frames = compute()
        count = frames.shape[1]
        self.meters.record("features", time.perf_counter() - start, count)
        if not count:
            return
        self._frames += count
        self._recent = np.concatenate([self._recent, frames], axis=1)
        while self._next_end <= self._frames:
            stop = self._recent.shape[1] - (self._frames - self._next_end)
            yield self._decide(self._recent[:, stop - self._n_frames : stop], arrived_s)
            self._next_end += self.hop_frames
        # The next window begins here; nothing yet when the hop is longer than a window.
        needed = max(0, self._frames - (self._next_end - self._n_frames))
        self._recent = self._recent[:, max(0, self._recent.shape[1] - needed) :]

    def _decide(self, window: NDArray[np.float32], arrived_s: float) -> Decision:
        with self.meters.timed("engine"):
            logits = self._engine.logits(window)
        with self.meters.timed("smoothing"):
            probabilities = self._average.update(softmax(logits))
            state = self._hysteresis.update(probabilities)
        best, scene = int(probabilities.argmax()), self._hysteresis.scene
        heard = (self._next_end - self._n_frames) * self.spec.hop_length + self.spec.clip_samples
        dropped = self.meters.dropped_samples
        latency_s = time.perf_counter() - arrived_s
        self.meters.record_latency(latency_s)
        return Decision(
            t_s=heard / self.spec.sample_rate_hz + dropped / self.sample_rate_hz,
            scene=None if scene is None else self.labels[scene],
            state=state,
            top=self.labels[best],
            probability=float(probabilities[best if scene is None else scene]),
            probabilities=dict(zip(self.labels, probabilities.tolist(), strict=True)),
            latency_ms=1e3 * latency_s,
            dropped_samples=dropped,
            level_dbfs=self._level_dbfs(),
        )

    def _level_dbfs(self) -> float:
        """Level since the last decision."""
        mean = self._power / self._power_samples if self._power_samples else 0.0
        self._power, self._power_samples = 0.0, 0
        return max(SILENCE_DBFS, 10.0 * math.log10(mean)) if mean > 0.0 else SILENCE_DBFS


def decisions(source: Source, stream: SceneStream, duration_s: float | None = None) -> Generator[Decision, None, None]:
    """Listen to `source` until it ends, or to `duration_s` seconds of it, and yield the decisions as they are made.

    Raises `InputError` when the source ends before it held one window, and whatever the source raises. Closing the
    iterator releases the source.
    """
    left = None if duration_s is None else round(duration_s * source.sample_rate_hz)
    arrived_s = time.perf_counter()
    with closing(source.blocks()) as blocks:
        for block in blocks:
            if left is not None:
                block = replace(block, samples=block.samples[:left])
                left -= len(block.samples)
            arrived_s = block.arrived_s
            yield from stream.push(block)
            if left == 0:
                break
    yield from stream.finish(arrived_s)
