"""The live view in a terminal: one place of it that a thread of its own redraws."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from rich.console import Console, RenderableType
from rich.live import Live

from ..frontend_spec import FrontendSpec
from ..stream.decision import Decision
from .board import Board
from .mailbox import Mailbox

#: Redraws a second at most; decisions may come faster than a terminal (over ssh) can take.
REFRESH_HZ = 10.0

#: The most of a core that redrawing may take; a slow machine redraws less often.
MAX_SHARE = 0.02

#: A terminal that takes nothing any more (Ctrl-S, a lost connection) is left as it is after so long.
_LEAVE_S = 2.0


class LiveView(Mailbox):
    """An observer that shows the latest in a terminal.

    Whoever listens only leaves it in a mailbox: a terminal that is slow, or takes nothing at all, costs no audio.
    Frames are wanted where, when it starts, there is room and colour for the strip.
    """

    def __init__(self, title: str, labels: tuple[str, ...], spec: FrontendSpec, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console()
        self._board = Board(title, labels, spec)
        width, height = self._size()
        coloured = self._console.color_system in ("256", "truecolor") and not self._console.no_color
        self.wants_frames = coloured and self._board.rows(width, height) > 0
        self._live = Live(self._render(), console=self._console, auto_refresh=False)
        self._live.start(refresh=True)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the last decision on the screen."""
        self._closing.set()
        self._thread.join(_LEAVE_S)
        if not self._thread.is_alive():
            with suppress(OSError):
                self._draw()
                self._live.stop()

    def _run(self) -> None:
        pause_s = 1 / REFRESH_HZ
        while not self._closing.wait(pause_s):
            start = time.thread_time()
            try:
                self._draw()
            except OSError:  # the terminal is gone
                return
            pause_s = max(1 / REFRESH_HZ, (time.thread_time() - start) / MAX_SHARE)

    def _draw(self) -> None:
        """Redraw when anything came since the last time."""
        mail = self.take()
        for frames in mail.frames:
            self._board.frames(frames)
        for said in mail.said:
            if isinstance(said, Decision):
                if mail.meters is not None:
                    self._board.decision(said, mail.meters)
            else:
                self._board.event(said)
        if mail.frames or mail.said:
            self._live.update(self._render(), refresh=True)

    def _render(self) -> RenderableType:
        return self._board.render(*self._size(), strip=self.wants_frames)

    def _size(self) -> tuple[int, int]:
        """Columns and lines to draw in: the last line is left to the cursor."""
        return self._console.width, max(1, self._console.height - 1)
