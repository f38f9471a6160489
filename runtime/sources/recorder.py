"""A recording process (`capture`) as its parent sees it: started, heard, killed, with a limit on every wait."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import errors
from ..errors import TinysceneError, UnavailableError
from .capture import HEADER
from .devices import InputDevice
from .source import BLOCK_S

#: A consumer may fall this far behind before the oldest audio is thrown away.
QUEUE_S = 2.0

#: A slow board takes two seconds to start Python and to look for devices; a frozen sound server takes for ever.
OPEN_S = 10.0

_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {0}.capture import main; main()"


@dataclass(frozen=True)
class Request:
    """What a recording process is asked for."""

    wanted: str | None = None  # index, name or part of a name
    follow: tuple[str, str] | None = None  # name and host API of an input that was used before
    fall_back: bool = False  # take the default when the one to follow is not there
    rate: int | None = None  # the input's own unless given
    list: bool = False  # only say what inputs there are
    queue_s: float = QUEUE_S
    block_s: float = BLOCK_S


@dataclass(frozen=True)
class Opened:
    """The input that was opened."""

    device: InputDevice
    sample_rate_hz: int
    channels: int


@dataclass(frozen=True, eq=False)
class Heard:
    """Some frames that came from it."""

    frames: NDArray[np.float32]  # (n, channels)
    moment_s: float  # time.perf_counter() when the last of them was there
    thrown: int  # frames thrown away since it was opened, because nobody fetched them


@dataclass(frozen=True)
class Ended:
    """Nothing more comes: the input went away, or could not be opened."""

    reason: str
    error: TinysceneError | None = None


class Recorder:
    """A recording process. It lives until `close`, or until this process ends."""

    def __init__(self, request: Request) -> None:
        path = json.dumps(sys.path)  # the same modules as here, wherever this program was started from
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(__package__), path, json.dumps(asdict(request))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # ALSA's library tells at length what it did not find
            start_new_session=True,  # Ctrl-C is for the program, which then closes this
        )
        self._channels = 1
        self._closed = False
        # Short: what nobody fetches has to wait in the other process, where it is counted.
        self._messages: queue.Queue[Opened | Heard | Ended | list[InputDevice]] = queue.Queue(4)
        threading.Thread(target=self._pump, daemon=True).start()

    def receive(self, timeout_s: float) -> Opened | Heard | Ended | list[InputDevice] | None:
        """The next message, or None when none comes within `timeout_s`; `Ended` is the last."""
        try:
            return self._messages.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Kill the process; the system takes the device back, which PortAudio does not always do."""
        self._closed = True
        self._process.kill()
        with contextlib.suppress(queue.Empty):
            while True:
                self._messages.get_nowait()  # lets a waiting pump see that it is over
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in a driver: not ours to wait for
            self._process.wait(1.0)
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _pump(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        with pipe:
            while not self._closed and len(header := pipe.read(HEADER.size)) == HEADER.size:
                kind, length, moment, thrown = HEADER.unpack(header)
                data = pipe.read(length)
                if len(data) < length:
                    break
                if kind == b"A":
                    frames = np.frombuffer(data, np.float32).reshape(-1, self._channels)
                    self._messages.put(Heard(frames, moment, thrown))
                else:
                    self._messages.put(self._understand(json.loads(data)))
        if not self._closed:
            self._messages.put(Ended("its recording process ended"))

    def _understand(self, said: dict[str, Any]) -> Opened | Ended | list[InputDevice]:
        if "devices" in said:
            return [InputDevice(**device) for device in said["devices"]]
        if "device" in said:
            self._channels = said["channels"]
            return Opened(InputDevice(**said["device"]), said["rate"], said["channels"])
        if "error" in said:
            return Ended(said["text"].partition(":")[0], getattr(errors, said["error"])(said["text"]))
        return Ended("it was unplugged, or its sound server ended")


def input_devices() -> list[InputDevice]:
    """Every input of this machine now; raises `UnavailableError` when PortAudio is missing or nothing answers."""
    recorder = Recorder(Request(list=True))
    try:
        said = recorder.receive(OPEN_S)
    finally:
        recorder.close()
    if isinstance(said, list):
        return said
    if isinstance(said, Ended) and said.error is not None:
        raise said.error
    raise not_answering()


def not_answering() -> UnavailableError:
    """What to say of a sound system that is silent."""
    return UnavailableError(
        f"the sound system has not answered for {OPEN_S:.0f} s: restart its server "
        "(`systemctl --user restart pipewire` or `pulseaudio --kill`), or listen to --source FILE"
    )


def wait_opened(recorder: Recorder) -> Opened:
    """Wait until `recorder` has opened its input; raises what kept it from that, or that nothing answers."""
    end = time.perf_counter() + OPEN_S
    said = recorder.receive(end - time.perf_counter())
    if isinstance(said, Opened):
        return said
    if isinstance(said, Ended):
        raise said.error or UnavailableError(f"no microphone: {said.reason}; try `tinyscene devices`")
    raise not_answering()
