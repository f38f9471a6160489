"""A microphone that never ends by itself: what takes it away is waited out, and every lost sample is counted.

What a sound card's driver reports is not enough: an unplugged device raises nothing, a suspended one merely falls
silent, and whole seconds go missing without `input_overflow`. So the device lives in a process of its own (`recorder`)
that is killed when nothing comes for `DEAD_S`, opened again by name until it is back, and its frames are counted
against the clock (`ClockLoss`). Received and lost samples together are the time that went by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

import numpy as np
from numpy.typing import NDArray

from ..errors import UnavailableError
from .clock import ClockLoss
from .devices import stable_name
from .recorder import OPEN_S, Ended, Heard, Opened, Recorder, Request, wait_opened
from .remembered import recall, remember
from .source import Block, check_rate

#: Without a sample for this long, a device counts as away.
DEAD_S = 2.0

#: A device that was just opened may take this long before its first sample (a suspended one takes for ever).
FIRST_SOUND_S = 5.0

#: Pauses between attempts to open a device that is away: the first, doubled up to the longest.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0

#: While the device is away an empty block says so this often.
DOWN_BLOCK_S = 0.25

#: Of a device that is back this much is held until it is known where on the clock its samples belong.
HOLD_S = 0.3

#: While it is away the loss is counted up to this long ago: what it may still hand over when it is back.
MARGIN_S = 0.1

#: Exact zeros for this long mean a muted or unconnected input: worth a word, as no room is that quiet.
MUTED_S = 5.0


class Microphone:
    """An input device, its channels averaged. It records from when it is made until it is closed.

    `losses` says what was lost since `blocks` began, in samples: "overrun", thrown away because the consumer fell
    behind by more than `recorder.QUEUE_S` (exact); "down", while the device was away, and "clock", missing in between
    (both by frames against the clock, to within `ClockLoss.TOLERANCE_S` and the drift of the card's clock).
    """

    def __init__(
        self,
        device: str | None = None,
        sample_rate_hz: int | None = None,
        log: Callable[[str], None] = lambda text: None,
        wait: bool = False,
    ) -> None:
        """Open the input with the index or (part of) the name `device`, else the one chosen last, else the default.

        The rate is the input's own unless one is given; `log` takes warnings. With `wait`, an input that is not there
        is waited for; without, raises `InputError` that lists the inputs when `device` is none of them, and
        `UnavailableError` when there is none or it cannot be opened.
        """
        if sample_rate_hz is not None:
            check_rate(sample_rate_hz)
        self._log = log
        self.on_frames: Callable[[NDArray[np.float32]], None] | None = None  # sees the channels apart: (n, channels)
        remembered = recall(log) if device is None else None
        request = Request(wanted=device, follow=remembered, fall_back=not wait, rate=sample_rate_hz)
        self._recorder, opened = _open_first(request, log, wait)
        self.device = opened.device
        self.name = opened.device.name
        self.sample_rate_hz = opened.sample_rate_hz
        self.channels = opened.channels
        found = (self.device.name, self.device.host_api)
        if device is not None:
            remember(self.device, log)
        elif remembered is not None and self.device.stable_name != stable_name(remembered[0]):
            log(f"{remembered[0]}, chosen last, is not there: listening to {self.name}; --device NAME chooses anew")
        self._again = Request(follow=found, rate=self.sample_rate_hz)
        self._clock = ClockLoss(self.sample_rate_hz)
        self._overrun = self._down = 0
        self._thrown: int | None = None  # as the recorder last said; None before its first sound
        self._discarded = 0
        self._muted = 0
        self._last_s = time.perf_counter()

    @property
    def losses(self) -> dict[str, int]:
        """Samples lost so far by cause; they add up to the last block's `dropped`."""
        return {"overrun": self._overrun, "clock": self._clock.lost, "down": self._down}

    def close(self) -> None:
        """Give the device back; `blocks` does it when its iterator is closed."""
        self._recorder.close()

    def blocks(self) -> Generator[Block, None, None]:
        """Blocks until the iterator is closed, whatever happens to the device; empty ones while it is away."""
        start_s = self._last_s = time.perf_counter()
        try:
            while True:
                reason = yield from self._hear(start_s)
                self._recorder.close()
                before = self._down
                held = yield from self._return(reason, before)
                yield from self._settled(held, before)
        finally:
            self._recorder.close()

    def _hear(self, start_s: float) -> Generator[Block, None, str]:
        """Blocks until the device goes away; returns why."""
        silent_since = time.perf_counter()
        while True:
            said = self._recorder.receive(0.1)
            if isinstance(said, Heard):
                if said.moment_s >= start_s:  # before, nobody was listening
                    yield from self._take(said)
                silent_since = time.perf_counter()
            elif isinstance(said, Ended):
                return said.reason
            # How long was waited, not how old the last sample is: a consumer that stalled finds a full pipe.
            elif time.perf_counter() - silent_since > DEAD_S:
                return f"it has sent nothing for {DEAD_S:g} s: suspended, or its sound server is frozen"

    def _take(self, heard: Heard) -> Generator[Block, None, None]:
        thrown = self._newly_thrown(heard)
        self._overrun += thrown
        self._clock.update(len(heard.frames) + thrown, heard.moment_s)
        yield from self._give(heard)

    def _newly_thrown(self, heard: Heard) -> int:
        """Frames thrown away just before `heard`; what was thrown before the first one was never listened to."""
        thrown = 0 if self._thrown is None else heard.thrown - self._thrown
        self._thrown = heard.thrown
        self._last_s = heard.moment_s
        return thrown

    def _give(self, heard: Heard) -> Generator[Block, None, None]:
        """The block of `heard`, without what silence has replaced already."""
        frames = heard.frames
        late = min(len(frames), self._clock.surplus - self._discarded)
        if late:
            self._discarded += late
            frames = frames[late:]
            if not len(frames):
                return
        if self.on_frames is not None:
            self.on_frames(frames)
        mono = np.ascontiguousarray(frames[:, 0]) if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float32)
        self._watch_muted(mono)
        yield Block(mono, heard.moment_s, self._dropped())

    def _return(self, reason: str, before: int) -> Generator[Block, None, list[Heard]]:
        """Empty blocks until the device is back; returns the first that was heard of it."""
        self._log(f"{self.name} is away ({reason}): waiting for it")
        away_s, pause_s = time.perf_counter(), FIRST_PAUSE_S
        while True:
            until = time.perf_counter() + pause_s
            while (left := until - time.perf_counter()) > 0:
                time.sleep(min(left, DOWN_BLOCK_S))
                yield self._down_block(before, reason)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            self._recorder = Recorder(self._again)
            held: list[Heard] = []
            limit = time.perf_counter() + OPEN_S
            while time.perf_counter() < limit:
                said = self._recorder.receive(DOWN_BLOCK_S)
                if isinstance(said, Ended):
                    reason = said.reason
                    break
                if isinstance(said, Opened):
                    limit = time.perf_counter() + FIRST_SOUND_S
                if isinstance(said, Heard):
                    held.append(said)
                    limit = time.perf_counter() + DEAD_S
                    if said.moment_s - held[0].moment_s >= HOLD_S:
                        self._log(f"{self.name} is back after {time.perf_counter() - away_s:.1f} s")
                        return held
                else:
                    yield self._down_block(before, reason)
            self._recorder.close()

    def _settled(self, held: list[Heard], before: int) -> Generator[Block, None, None]:
        """Count what the absence cost, now that the device is back, and give what was held of it.

        `before` is the loss by absences until this one.
        """
        self._thrown = None
        arrivals = [(len(heard.frames) + self._newly_thrown(heard), heard.moment_s) for heard in held]
        self._down = before + self._clock.settle(arrivals, counted=self._down - before)
        for heard in held:
            yield from self._give(heard)

    def _down_block(self, before: int, reason: str) -> Block:
        now = time.perf_counter()
        gone = round((now - self._last_s - MARGIN_S) * self.sample_rate_hz)
        self._down = max(self._down, before + gone)
        return Block(np.empty(0, np.float32), now, self._dropped(), reason)

    def _dropped(self) -> int:
        return self._overrun + self._clock.lost + self._down

    def _watch_muted(self, mono: NDArray[np.float32]) -> None:
        before = self._muted
        self._muted = 0 if mono.any() else before + len(mono)
        if before < MUTED_S * self.sample_rate_hz <= self._muted:
            self._log(f"{self.name} has sent only zeros for {MUTED_S:g} s: is it muted?")


def _open_first(request: Request, log: Callable[[str], None], wait: bool) -> tuple[Recorder, Opened]:
    """A recorder that has opened what `request` asks for; with `wait` after as many attempts as that takes."""
    said, pause_s = False, FIRST_PAUSE_S
    while True:
        recorder = Recorder(request)
        try:
            return recorder, wait_opened(recorder)
        except UnavailableError as error:
            recorder.close()
            if not wait:
                raise
            if not said:
                log(f"{error}; waiting for it")
            said = True
        except BaseException:
            recorder.close()
            raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
