"""The process that holds the microphone: it opens one input and writes what it hears to a pipe.

PortAudio looks for devices only when it is initialised, may end the process when it is initialised a second time, and
never returns from some calls when a sound server is frozen. In a process of its own all that is harmless: it is killed
and a new one is started (`recorder`). It imports nothing of the runtime but `devices`, not even numpy, so that it
starts in a tenth of a second and needs little memory.

Messages: a header (`HEADER`: kind, payload's bytes, moment, frames thrown away so far), then the payload. Kind `J` is
a JSON object, `A` audio: interleaved float32 in the machine's byte order.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, BinaryIO

from ..errors import InputError, TinysceneError, UnavailableError
from .devices import InputDevice, default_inputs, find_input, follow_input, no_input, portaudio, query_inputs

#: kind, bytes of payload, time.perf_counter() of the last sample, frames thrown away before this message
HEADER = struct.Struct("=cIdQ")


class Backlog:
    """What was heard and not yet fetched: bounded, the oldest thrown away and counted."""

    def __init__(self, most_frames: int) -> None:
        self._most = most_frames
        self._blocks: deque[tuple[bytes, int, float]] = deque()
        self._frames = 0
        self._thrown = 0
        self._changed = threading.Condition()
        self._finished = False

    def put(self, data: bytes, frames: int, moment: float) -> None:
        """Add a block of `frames`; what is being said now is worth more than what was said two seconds ago."""
        with self._changed:
            self._blocks.append((data, frames, moment))
            self._frames += frames
            while self._frames > self._most and len(self._blocks) > 1:
                gone = self._blocks.popleft()[1]
                self._frames -= gone
                self._thrown += gone
            self._changed.notify()

    def finish(self) -> None:
        """Say that nothing more will come."""
        with self._changed:
            self._finished = True
            self._changed.notify()

    def get(self) -> tuple[bytes, float, int] | None:
        """The oldest block, its moment, and the frames thrown away before it; None after the last."""
        with self._changed:
            while not self._blocks and not self._finished:
                self._changed.wait()
            if not self._blocks:
                return None
            data, frames, moment = self._blocks.popleft()
            self._frames -= frames
            return data, moment, self._thrown


def main() -> None:
    """Serve the request in the last argument (JSON) until the parent goes away; never returns."""
    request = json.loads(sys.argv[-1])
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)  # it lives as long as the process
    os.dup2(2, 1)  # a library that prints must not end up in the audio
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        sounddevice = portaudio()
        devices = query_inputs(sounddevice)
        if request["list"]:
            _say(pipe, devices=[asdict(device) for device in devices])
        else:
            _record(pipe, sounddevice, devices, request)
    except TinysceneError as error:
        _say(pipe, error=type(error).__name__, text=str(error))
    except BrokenPipeError:
        pass
    except Exception as error:
        _say(pipe, error="UnavailableError", text=f"the sound system fails ({error}): `tinyscene devices` shows more")
    finally:
        # Not through the interpreter's end: PortAudio would wait there for a device that may be frozen.
        os._exit(0)


def candidates(devices: list[InputDevice], request: dict[str, Any]) -> list[InputDevice]:
    """The inputs to try in turn for a request's `wanted` or `follow`; raises as the choosing does."""
    if request["wanted"] is not None:
        if not devices:
            raise no_input()
        return [find_input(devices, request["wanted"])]
    if request["follow"] is not None:
        found = follow_input(devices, *request["follow"])
        if found is not None:
            return [found]
        if not request["fall_back"]:
            raise UnavailableError(
                f"microphone {request['follow'][0]!r} is not there: `tinyscene devices` lists what is"
            )
    return default_inputs(devices)


def open_input(
    sounddevice: Any,
    device: InputDevice,
    sample_rate_hz: int,
    block: int,
    put: Callable[[bytes, int, float], None],
    finished: Callable[[], None],
) -> tuple[Any, int]:
    """Start to record `device` in blocks of `block` frames and return PortAudio's stream and its channel count.

    Stereo where there is, as one of two capsules may be the live one; a plug-in device that offers 32 channels gives
    two, an array that takes only its full number gets that. Raises `UnavailableError` when the device takes none.
    """

    def receive(data: Any, frames: int, moment: Any, status: Any) -> None:
        put(bytes(data), frames, time.perf_counter())

    most = device.channels
    error: Exception | None = None
    for channels in dict.fromkeys((min(most, 2), 1, most)):
        try:
            stream = sounddevice.RawInputStream(
                device=device.index,
                samplerate=sample_rate_hz,
                channels=channels,
                dtype="float32",
                blocksize=block,
                latency="high",
                callback=receive,
                finished_callback=finished,
            )
            stream.start()
            return stream, channels
        except sounddevice.PortAudioError as failed:
            error = error or failed
    raise UnavailableError(
        f"cannot open microphone {device.name!r} at {sample_rate_hz} Hz ({error}): "
        "try another --rate or --device; `tinyscene devices` lists them"
    ) from error


def _record(pipe: BinaryIO, sounddevice: Any, devices: list[InputDevice], request: dict[str, Any]) -> None:
    choice = candidates(devices, request)
    for last, device in enumerate(choice, 1 - len(choice)):
        rate = request["rate"] or device.sample_rate_hz
        backlog = Backlog(round(request["queue_s"] * rate))
        block = max(1, round(request["block_s"] * rate))
        try:
            stream, channels = open_input(sounddevice, device, rate, block, backlog.put, backlog.finish)
            break
        except UnavailableError:
            if not last:
                raise
    else:
        raise InputError("no input to try")  # `candidates` gives one at least
    _say(pipe, device=asdict(device), rate=rate, channels=channels)
    while item := backlog.get():
        data, moment, thrown = item
        pipe.write(HEADER.pack(b"A", len(data), moment, thrown) + data)
    _say(pipe, finished=True)
    del stream


def _say(pipe: BinaryIO, **fields: Any) -> None:
    data = json.dumps(fields).encode()
    pipe.write(HEADER.pack(b"J", len(data), time.perf_counter(), 0) + data)


def _end_with_parent() -> None:
    """The parent holds the other end of stdin, which the system closes however the parent ends."""
    os.read(0, 1)
    os._exit(0)
