"""A microphone through PortAudio, at its native rate, that never hangs and counts what it loses.

What a sound card's driver reports is not enough: an unplugged device raises nothing, a suspended one merely falls
silent, and whole seconds go missing without `input_overflow`. So lost samples are found by counting frames against the
clock (`ClockLoss`), and a device that sends nothing for a while ends the stream with an error.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnavailableError
from .clock import ClockLoss
from .devices import find_input, portaudio
from .source import BLOCK_S, Block, check_rate

#: A consumer may fall this far behind before the oldest audio is thrown away.
QUEUE_S = 2.0


#: Without a sample for this long, a device counts as dead.
DEAD_S = 2.0


#: Closing a device takes milliseconds, unless it never comes back.
RELEASE_S = 1.0


#: Exact zeros for this long mean a muted or unconnected input: worth a word, as no room is that quiet.
MUTED_S = 5.0


class Microphone:
    """An input device, its channels averaged, through a bounded queue."""

    def __init__(
        self,
        device: str | None = None,
        sample_rate_hz: int | None = None,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Choose an input as `find_input` does and its native rate unless one is given; `log` takes warnings."""
        if sample_rate_hz is not None:
            check_rate(sample_rate_hz)
        self.device = find_input(device)
        self.name = self.device.name
        self.sample_rate_hz = sample_rate_hz or self.device.sample_rate_hz
        self._log = log
        block = max(1, round(BLOCK_S * self.sample_rate_hz))
        self._blocksize = block
        self._queue: queue.Queue[Block] = queue.Queue(max(2, round(QUEUE_S / BLOCK_S)))
        self._clock = ClockLoss(self.sample_rate_hz)
        self._overrun = 0  # samples thrown away because the consumer was too slow
        self._finished = threading.Event()
        self.losses: dict[str, int] = {}

    def blocks(self) -> Generator[Block, None, None]:
        """Blocks until the iterator is closed; raises `UnavailableError` when the device cannot be opened, is
        unplugged, or sends nothing for `DEAD_S`."""
        stream = self._open()
        try:
            muted = 0
            while True:
                block = self._next()
                silent = not block.samples.any()
                muted = muted + len(block.samples) if silent else 0
                if 0 <= muted - MUTED_S * self.sample_rate_hz < len(block.samples) and silent:
                    self._log(f"{self.name} has sent only zeros for {MUTED_S:.0f} s: is it muted?")
                yield block
        finally:
            _release(stream)

    def _next(self) -> Block:
        deadline = time.perf_counter() + DEAD_S
        while True:
            try:
                return self._queue.get(timeout=0.1)
            except queue.Empty:
                if self._finished.is_set():
                    raise UnavailableError(
                        f"microphone {self.name!r} stopped (unplugged?): `tinyscene devices` lists what is there"
                    ) from None
                if time.perf_counter() > deadline:
                    raise UnavailableError(
                        f"microphone {self.name!r} has sent nothing for {DEAD_S:.0f} s: check that it is not "
                        "suspended or in use by another program"
                    ) from None

    def _receive(self, data: NDArray[np.float32], frames: int, moment: Any, status: Any) -> None:
        """PortAudio's callback, in its own thread: `data` is (frames, channels) and only valid during the call."""
        now = time.perf_counter()
        lost = self._clock.update(frames, now)
        mono = data[:, 0].copy() if data.shape[1] == 1 else data.mean(axis=1, dtype=np.float32)
        while True:
            try:
                self._queue.put_nowait(Block(mono, now, lost + self._overrun))
                return
            except queue.Full:
                pass
            # What is being said now is worth more than what was said two seconds ago.
            with contextlib.suppress(queue.Empty):
                self._overrun += len(self._queue.get_nowait().samples)

    def _open(self) -> Any:
        sounddevice = portaudio()
        most = self.device.channels
        error: Exception | None = None
        # Stereo where there is, as one of two capsules may be the live one; a plug-in device that offers 32 channels
        # gives two, an array that takes only its full number gets that.
        for channels in dict.fromkeys((min(most, 2), 1, most)):
            stream = None
            self._finished.clear()
            try:
                stream = sounddevice.InputStream(
                    device=self.device.index,
                    samplerate=self.sample_rate_hz,
                    channels=channels,
                    dtype="float32",
                    blocksize=self._blocksize,
                    latency="high",
                    callback=self._receive,
                    finished_callback=self._finished.set,
                )
                stream.start()
                return stream
            except sounddevice.PortAudioError as failed:
                error = error or failed
                if stream is not None:
                    _release(stream)
        raise UnavailableError(
            f"cannot open microphone {self.name!r} at {self.sample_rate_hz} Hz ({error}): "
            "try another --rate or --device; `tinyscene devices` lists them"
        ) from error


def _release(stream: Any) -> None:
    """Close `stream`, or give it up after `RELEASE_S`: a frozen sound server answers nothing, not even a goodbye."""

    def close() -> None:
        # abort, not stop: stop waits for the device to play out, for ever if it is suspended.
        stream.abort(ignore_errors=True)
        stream.close(ignore_errors=True)

    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    closing.join(RELEASE_S)
    if closing.is_alive():
        # At exit, PortAudio would wait for the same device; the system takes it back anyway.
        atexit.unregister(getattr(portaudio(), "_exit_handler", close))
