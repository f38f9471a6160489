"""From a source's samples to the windows that are to be judged: resampling, features once a frame, a window a hop.

Lost samples are replaced by silence of their length, so the frames stay on the source's clock. Once a window, the front
end and the resampler hold nothing but silence, frames of silence are counted and no longer computed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..audio import Resampler
from ..frontend import StreamingLogMel
from ..frontend_spec import FrontendSpec
from .meters import Meters
from .ring import FrameRing

#: Samples whose frames are computed at once, which bounds the frames that come between two windows.
PIECE = 8192

#: What has been heard waits until a window can be complete, for at most so long, in seconds: 16 frames computed at once
#: cost a third of 16 frames one by one between naps, as the processor's caches still hold what the first one loaded.
WAIT_S = 0.25

#: The same where somebody watches the frames: as often as an eye can follow.
WATCHED_WAIT_S = 0.05

#: A loss up to this long goes through the resampler as zeros, at under a millisecond a second; of a longer one (a
#: laptop that slept) whole frames are left out. Then what follows may differ in the last place from what it would be
#: without the loss: soxr rounds by where its blocks begin.
FED_S = 600.0


class Window(NamedTuple):
    """A window, or several in a row of which every sample was lost."""

    end: int  # frames of the stream until its end
    log_mel: NDArray[np.float32] | None  # (n_mels, n_frames), a view valid until the next; None: all lost
    steps: int = 1  # how many; `end` is the last one's


class Windows:
    """Turns samples and losses into windows, the next one `hop_frames` frames after the one before."""

    def __init__(self, spec: FrontendSpec, sample_rate_hz: int, hop_frames: int, meters: Meters) -> None:
        self.on_frames: Callable[[NDArray[np.float32]], None] | None = None
        self._spec, self._sample_rate_hz, self._hop_frames, self._meters = spec, sample_rate_hz, hop_frames, meters
        self._resampler = Resampler(sample_rate_hz, spec.sample_rate_hz)
        self._features = StreamingLogMel(spec)
        self._n_frames = spec.n_frames()
        burst = (PIECE + spec.win_length) // spec.hop_length + 2
        self._ring = FrameRing(spec.n_mels, self._n_frames, burst)
        self._frames = 0  # frames so far
        self._next_end = self._n_frames  # frame count at which the next window is complete
        self._waiting: list[NDArray[np.float32]] = []  # heard and not yet looked at
        self._waiting_samples = 0
        # Samples into the resampler and out of it, what was passed over included, and the least it ever held back.
        self._fed = self._given = 0
        self._held = math.inf
        self._silent = 0  # made-up zeros that left the resampler since the last sample from the source
        # With so many, all frames of the next window and every sample of the next frame are silence.
        self._settled = self._n_frames * spec.hop_length + spec.win_length + 2
        self._zeros = np.zeros(sample_rate_hz, np.float32)  # a second
        # The least whole number of frames that lasts a whole number of the source's samples.
        self._unit_frames = spec.sample_rate_hz // np.gcd(spec.hop_length * sample_rate_hz, spec.sample_rate_hz)
        self._unit = self._unit_frames * spec.hop_length * sample_rate_hz // spec.sample_rate_hz

    def hear(self, samples: NDArray[np.float32]) -> Iterator[Window]:
        """Take in samples of the source, float32 (n,), kept for a while, and yield the windows they complete."""
        if not len(samples):
            return
        self._waiting.append(samples)
        self._waiting_samples += len(samples)
        wait_s = WAIT_S if self.on_frames is None else WATCHED_WAIT_S
        enough = min(self._missing(), round(wait_s * self._sample_rate_hz))
        if self._waiting_samples >= enough:
            yield from self._look()

    def make_up(self, count: int) -> Iterator[Window]:
        """Take in `count` lost samples and yield the windows they complete."""
        yield from self._look()
        while count:
            if self._silent >= self._settled and count > FED_S * self._sample_rate_hz:
                units = count // self._unit
                yield from self._pass_over(int(units * self._unit_frames))
                count -= int(units * self._unit)
                self._fed += int(units * self._unit)
                self._given += int(units * self._unit_frames) * self._spec.hop_length
                continue
            fed = min(count, len(self._zeros))
            yield from self._be_silent(self._resampled(self._zeros[:fed]))
            count -= fed

    def finish(self) -> Iterator[Window]:
        """End the stream and yield its last windows; raises `InputError` when it was shorter than half a frame."""
        yield from self._look()
        yield from self._take_in(self._resampled(np.empty(0, np.float32), last=True))
        start = time.perf_counter()
        count = self._features.flush_into(self._ring.place)
        yield from self._complete(count, time.perf_counter() - start)

    def _missing(self) -> float:
        """Samples of the source, at least, that are still to be fed until the next window is complete."""
        last = (self._next_end - 1) * self._spec.hop_length + self._spec.win_length // 2 + 1
        held = 0.0 if math.isinf(self._held) else self._held
        return (last + held) * self._sample_rate_hz / self._spec.sample_rate_hz - self._fed

    def _look(self) -> Iterator[Window]:
        """Work on what has been heard."""
        waiting, self._waiting, self._waiting_samples = self._waiting, [], 0
        if waiting:
            self._silent = 0
            samples = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
            yield from self._take_in(self._resampled(samples))

    def _resampled(self, samples: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        self._fed += len(samples)
        start = time.perf_counter()
        resampled = self._resampler.resample(samples, last)
        self._meters.record("resample", time.perf_counter() - start)
        self._given += len(resampled)
        if len(samples):
            held = self._fed * self._spec.sample_rate_hz / self._sample_rate_hz - self._given
            self._held = min(self._held, held)
        return resampled

    def _be_silent(self, samples: NDArray[np.float32]) -> Iterator[Window]:
        """Take in made-up samples, computing frames only where they are not known to be silence."""
        if samples.any():  # the end of what was heard, still in the resampler
            self._silent = 0
            yield from self._take_in(samples)
            return
        computed = min(len(samples), max(0, self._settled - self._silent))
        self._silent += len(samples)
        yield from self._take_in(samples[:computed])
        frames, rest = divmod(len(samples) - computed, self._spec.hop_length)
        yield from self._pass_over(frames)
        yield from self._take_in(samples[:rest])

    def _pass_over(self, frames: int) -> Iterator[Window]:
        """Go on by frames of silence where everything kept is silence already."""
        if not frames:
            return
        self._features.skip_silence(frames)
        self._frames += frames
        if self._next_end <= self._frames:
            steps = 1 + (self._frames - self._next_end) // self._hop_frames
            self._next_end += steps * self._hop_frames
            yield Window(self._next_end - self._hop_frames, None, steps)

    def _take_in(self, samples: NDArray[np.float32]) -> Iterator[Window]:
        for first in range(0, len(samples), PIECE):
            start = time.perf_counter()
            count = self._features.push_into(samples[first : first + PIECE], self._ring.place)
            yield from self._complete(count, time.perf_counter() - start)

    def _complete(self, count: int, duration_s: float) -> Iterator[Window]:
        self._meters.record("features", duration_s, count)
        self._frames += count
        if count and self.on_frames is not None:
            self.on_frames(self._ring.latest(count).copy())
        while self._next_end <= self._frames:
            yield Window(self._next_end, self._ring.window(self._frames - self._next_end))
            self._next_end += self._hop_frames
