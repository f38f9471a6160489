"""The running classifier: source -> resample -> features (each frame once) -> engine per hop -> smoothed decision."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from ..engines.engine import Engine
from ..errors import InputError
from ..frontend_spec import FrontendSpec
from ..sources.source import Block, Source
from .decision import Decision
from .gap import Gaps
from .limit import up_to
from .meters import Meters
from .settings import StreamSettings
from .smoothing import Hysteresis, Thresholds, check_smoothing, softmax
from .windows import Window, Windows

#: The level shown for digital silence.
SILENCE_DBFS = -120.0


class SceneStream:
    """One bundle's network listening to one source's blocks.

    A window is `n_frames` consecutive frames of the endless stream: only at the very start and at the end of a file do
    frames see the reflected edge that every training clip has at both ends. Samples that the source lost are replaced
    by silence, so frames and windows stay on the source's clock; a window with too much of it is not judged.

    `thresholds` and `smoothing_s` may be assigned from any thread while the stream runs: they are checked at once and
    hold from the next decision on. `on_frames`, when set, is given a copy of the frames (n_mels, k) as they are made.
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
        self.settings = settings or StreamSettings()
        self.spec, self.labels, self.engine, self.sample_rate_hz = spec, labels, engine, sample_rate_hz
        self.hop_frames = self.settings.hop_frames(spec)
        self.hop_s = self.hop_frames * spec.hop_s
        self.meters = Meters(deadline_s=self.hop_s)
        self.gaps = Gaps()
        self._windows = Windows(spec, sample_rate_hz, self.hop_frames, self.meters)
        self._average = self.settings.running_average(self.hop_s)
        self._hysteresis = Hysteresis(self.settings.thresholds)
        self._thresholds = self.settings.thresholds
        self._smoothing_s = self._taken_smoothing_s = self.settings.smoothing_s
        self._power, self._power_samples = 0.0, 0

    @property
    def thresholds(self) -> Thresholds:
        """Probabilities at which a scene is taken and given up."""
        return self._thresholds

    @thresholds.setter
    def thresholds(self, thresholds: Thresholds) -> None:
        if not isinstance(thresholds, Thresholds):
            raise InputError(f"thresholds are {thresholds!r}, expected Thresholds(enter, leave)")
        self._thresholds = thresholds

    @property
    def smoothing_s(self) -> float:
        """Time constant or length of the average, in seconds."""
        return self._smoothing_s

    @smoothing_s.setter
    def smoothing_s(self, smoothing_s: float) -> None:
        check_smoothing(smoothing_s)
        self._smoothing_s = smoothing_s

    @property
    def on_frames(self) -> Callable[[NDArray[np.float32]], None] | None:
        """Called with new frames (n_mels, k); those of a long loss, all silence, are left out."""
        return self._windows.on_frames

    @on_frames.setter
    def on_frames(self, on_frames: Callable[[NDArray[np.float32]], None] | None) -> None:
        self._windows.on_frames = on_frames

    @property
    def time_s(self) -> float:
        """How far the stream has come in the source's time, lost samples included; it never goes back."""
        return self.gaps.position / self.sample_rate_hz

    def push(self, block: Block) -> Iterator[Decision]:
        """Take in a block and yield the decisions it completes."""
        self.meters.dropped_samples = block.dropped
        lost = self.gaps.lose(block.dropped)
        if lost:
            for window in self._windows.make_up(lost):
                yield from self._judge(window, block.arrived_s)
        samples = block.samples
        if len(samples):
            self.gaps.hear(len(samples))
            self.meters.audio_s = self.gaps.heard / self.sample_rate_hz
            self._power += float(np.dot(samples, samples))
            self._power_samples += len(samples)
            for window in self._windows.hear(samples):
                yield from self._judge(window, block.arrived_s)

    def finish(self, arrived_s: float) -> Iterator[Decision]:
        """End the stream, whose last sample arrived at `arrived_s`, and yield its last decisions.

        Raises `InputError` when the whole stream was shorter than one window.
        """
        if self.spec.n_frames(max(1, round(self.time_s * self.spec.sample_rate_hz))) < self.spec.n_frames():
            raise InputError(
                f"{self.time_s:.2f} s of audio are too short: a decision needs "
                f"{self.spec.clip_samples / self.spec.sample_rate_hz:.2f} s"
            )
        for window in self._windows.finish():
            yield from self._judge(window, arrived_s)

    def _judge(self, window: Window, arrived_s: float) -> Iterator[Decision]:
        """The decision on a window, unless too much of it was lost."""
        lost_share = 1.0 if window.log_mel is None else self._lost_share(window.end)
        if window.log_mel is None or lost_share > self.settings.max_lost_share:
            self._average.skip(window.steps)
            return
        yield self._decide(window.log_mel, window.end, lost_share, arrived_s)

    def _lost_share(self, end: int) -> float:
        """Lost share of all the samples that the window's frames see, half a frame's window beyond either end."""
        spec, scale = self.spec, self.sample_rate_hz / self.spec.sample_rate_hz
        first, half = (end - spec.n_frames()) * spec.hop_length, spec.win_length // 2
        last = (end - 1) * spec.hop_length
        return self.gaps.share((first - half) * scale, (last + half + 1) * scale)

    def _decide(self, log_mel: NDArray[np.float32], end: int, lost_share: float, arrived_s: float) -> Decision:
        start = time.perf_counter()
        logits = self.engine.logits(log_mel)
        ran = time.perf_counter()
        if self._smoothing_s != self._taken_smoothing_s:
            self._taken_smoothing_s = self._smoothing_s
            self._average.retime(self._taken_smoothing_s)
        self._hysteresis.thresholds = self._thresholds
        probabilities = self._average.update(softmax(logits))
        state = self._hysteresis.update(probabilities)
        best, scene = int(probabilities.argmax()), self._hysteresis.scene
        done = time.perf_counter()
        self.meters.record("engine", ran - start)
        self.meters.record("smoothing", done - ran)
        self.meters.record_latency(done - arrived_s)
        heard = (end - self.spec.n_frames()) * self.spec.hop_length + self.spec.clip_samples
        return Decision(
            t_s=heard / self.spec.sample_rate_hz,
            scene=None if scene is None else self.labels[scene],
            state=state,
            top=self.labels[best],
            probability=float(probabilities[best if scene is None else scene]),
            probabilities=dict(zip(self.labels, probabilities.tolist(), strict=True)),
            latency_ms=1e3 * (done - arrived_s),
            dropped_samples=self.gaps.lost,
            level_dbfs=self._level_dbfs(),
            lost_share=lost_share,
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
    arrived_s = time.perf_counter()
    with closing(up_to(source, duration_s)) as blocks:
        for block in blocks:
            arrived_s = block.arrived_s
            yield from stream.push(block)
    yield from stream.finish(arrived_s)
