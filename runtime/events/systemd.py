"""What the service manager is told: that listening began, what is heard, and that the loop still turns.

The protocol is that of sd_notify(3): one datagram of lines `NAME=value` to the socket that `NOTIFY_SOCKET` names.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any

from ..sources.source import Block, Source
from .event import Event


class SystemdSink:
    """READY=1 when listening has begun, the scene as STATUS, STOPPING=1 at the end. Nothing waits, nothing raises."""

    name = "systemd"

    def __init__(self, address: str) -> None:
        """Notify the socket at `address`; one that begins with @ is abstract."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.undelivered = 0

    def emit(self, event: Event) -> None:
        """Tell what the event changed, if it says anything to a service manager."""
        data: Mapping[str, Any] = event.data
        if event.kind == "started":
            self.notify(f"READY=1\nSTATUS=listening to {_line(data.get('source'))}")
        elif event.kind == "scene":
            self.notify(f"STATUS={_line(data.get('scene'))} since {event.at}")
        elif event.kind == "unsure":
            self.notify(f"STATUS=unsure since {event.at}")
        elif event.kind == "source_down":
            self.notify(f"STATUS=hears nothing since {event.at}: {_line(data.get('reason'))}")
        elif event.kind == "source_up":
            self.notify(f"STATUS=hears again since {event.at}")

    def notify(self, lines: str) -> None:
        """Send `lines`; what cannot be sent at once is counted."""
        try:
            self._socket.sendto(lines.encode("utf-8", "replace"), self._address)
        except OSError:
            self.undelivered += 1

    def close(self) -> None:
        """Say that the program ends."""
        self.notify("STOPPING=1")
        self._socket.close()


class WatchedSource:
    """A source that sends the watchdog's signs of life while its blocks are asked for.

    A sign means that the whole loop turned once more: a block was taken in and the next one is there. A microphone that
    is away gives empty blocks, so it does not count as a hang.
    """

    def __init__(self, source: Source, beat: Callable[[], None], every_s: float) -> None:
        """Call `beat` at most every `every_s` while the blocks of `source` are consumed."""
        self._source, self._beat, self._every_s = source, beat, every_s

    @property
    def name(self) -> str:
        """The source's own."""
        return self._source.name

    @property
    def sample_rate_hz(self) -> int:
        """The source's own."""
        return self._source.sample_rate_hz

    @property
    def losses(self) -> Mapping[str, int]:
        """The source's own."""
        return self._source.losses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def blocks(self) -> Generator[Block, None, None]:
        """The source's own; closing the iterator closes the source's."""
        last_s = float("-inf")
        with closing(self._source.blocks()) as blocks:
            for block in blocks:
                now = time.monotonic()
                if now - last_s >= self._every_s:
                    last_s = now
                    self._beat()
                yield block


def open_systemd(environment: Mapping[str, str] | None = None) -> SystemdSink | None:
    """The sink for the service manager that started this program; None without one."""
    address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
    return SystemdSink(address) if address.startswith(("/", "@")) else None


def watched(source: Source, environment: Mapping[str, str] | None = None) -> Source:
    """`source` with four times the signs of life that the service manager asks for; as it is when it asks for none."""
    environment = os.environ if environment is None else environment
    sink, period = open_systemd(environment), environment.get("WATCHDOG_USEC", "")
    mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if sink is None or not mine or not period.isdecimal() or int(period) == 0:
        return source
    return WatchedSource(source, lambda: sink.notify("WATCHDOG=1"), int(period) / 4e6)


def _line(value: Any) -> str:
    return " ".join(str(value).split())
