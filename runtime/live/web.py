"""The live page: what the stream tells its observers, as messages for browsers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..events.event import Event
from ..output import plain
from ..stream.decision import Decision
from ..stream.meters import Meters
from ..stream.stream import SceneStream
from .control import Control
from .gate import LOOPBACK, make_gate
from .history import WINDOW_S, History
from .mailbox import Mailbox
from .palette import loudness_map, scene_colours
from .server import PageServer
from .spectrogram import Spectrogram
from .vitals import VitalsReader

#: Rows of the spectrogram.
BANDS = 64


class LivePage:
    """An observer that shows itself to browsers. What it is told waits in a mailbox for the page's own thread."""

    def __init__(
        self,
        bundle: Bundle,
        source_name: str,
        engine_name: str,
        stream: SceneStream,
        host: str | None,
        port: int,
        environ: Mapping[str, str],
        log: Callable[[str], None],
    ) -> None:
        """Serve on loopback, or with a token on `host`; raises `InputError` when that cannot be."""
        self._bundle, self._source_name, self._engine_name, self._stream = bundle, source_name, engine_name, stream
        self._mailbox, self._history, self._control = Mailbox(), History(bundle.labels), Control(stream)
        self._spectrogram = Spectrogram(bundle.frontend, BANDS)
        self._vitals = VitalsReader(stream.sample_rate_hz)
        self._meters = stream.meters
        gate = make_gate(host, environ)
        try:
            self.server = PageServer(gate, host or LOOPBACK, port, self)
        except BaseException:
            self._vitals.close()
            raise
        query = "" if gate.token is None else f"?token={gate.token}"
        self.address = f"http://{_shown(host or LOOPBACK)}:{self.server.port}/{query}"
        log(f"live page: {self.address}")

    def frames(self, frames: NDArray[np.float32]) -> None:
        """Keep frames (n_mels, k) for the next tick."""
        self._mailbox.frames(frames)

    def decision(self, decision: Decision, meters: Meters) -> None:
        """Keep a decision for the next tick."""
        self._mailbox.decision(decision, meters)

    def event(self, event: Event) -> None:
        """Keep an event for the next tick."""
        self._mailbox.event(event)

    def close(self) -> None:
        """Say goodbye to the browsers."""
        self.server.close()
        self._vitals.close()

    def hello(self) -> dict[str, Any]:
        """What a browser needs first; everything that is known so far."""
        spec = self._bundle.frontend
        return {
            "type": "hello",
            "bundle": self._bundle.name,
            "source": self._source_name,
            "engine": self._engine_name,
            "labels": list(self._bundle.labels),
            "colours": scene_colours(len(self._bundle.labels)),
            "palette": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in loudness_map()],
            "hop_s": self._stream.hop_s,
            "bands": self._spectrogram.bands,
            "columns_per_s": spec.sample_rate_hz / spec.hop_length,
            "ticks": self._spectrogram.ticks(),
            "window_s": WINDOW_S,
            "settings": self._control.settings(),
            "stretches": list(self._history.stretches),
            "events": [_nested(event) for event in self._history.events],
        }

    def tick(self) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
        """What came since the last tick."""
        mail, history = self._mailbox.take(), self._history
        stretches, events = [], []
        for said in mail.said:
            before = history.stretches[-1] if history.stretches else None
            history.add(said)
            if history.stretches and history.stretches[-1] is not before:
                stretches.append(history.stretches[-1])
            if isinstance(said, Event):
                events.append(_nested(history.events[-1]))
        latest = history.latest
        update = {
            "type": "update",
            "now_s": history.now_s,
            "decision": None if latest is None else _without_probabilities(latest),
            "probabilities": [] if latest is None else [latest.probabilities[label] for label in self._bundle.labels],
            "stretches": stretches,
            "held_s": history.held_s,
            "down": history.down,
            "ended": history.ended,
            "events": events,
            "vitals": vars(self._vitals.read(self._meters)),
        }
        columns = self._spectrogram.columns(np.concatenate(mail.frames, axis=1)) if mail.frames else None
        return plain(update), columns

    def take(self, message: str | bytes) -> dict[str, Any]:
        """Do what a browser asks."""
        return self._control.take(message)


def _without_probabilities(decision: Decision) -> dict[str, Any]:
    return {name: value for name, value in vars(decision).items() if name not in ("probabilities", "dropped_samples")}


def _nested(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event with the data of its kind apart, as the page reads it."""
    about = ("kind", "t_s", "at")
    data = {name: value for name, value in event.items() if name not in (*about, "schema")}
    return plain({**{name: event[name] for name in about}, "data": data})


def _shown(host: str) -> str:
    """An address that a browser can open: all of this machine's are none, IPv6 has brackets."""
    if host in ("0.0.0.0", "::"):
        import socket

        return f"{socket.gethostname()}.local"
    return f"[{host}]" if ":" in host else host
