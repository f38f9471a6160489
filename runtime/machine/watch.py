"""A thread that looks at the machine from time to time and says when it begins to throttle."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

from .state import MachineState, read_state
from .throttle import throttled_since


class MachineWatch:
    """Reads the machine's state every `interval_s`; use it as a context manager.

    The first reading is made on entering, in the caller's thread, and one more on leaving. `on_throttled` is called
    from the watch's thread when something that was not there at the reading before holds the machine back; it must
    return soon.
    """

    def __init__(
        self,
        interval_s: float = 5.0,
        on_throttled: Callable[[MachineState, tuple[str, ...]], None] | None = None,
        read: Callable[[], MachineState] = read_state,
        keep: int = 1000,
    ) -> None:
        self._interval_s, self._read, self._on_throttled = interval_s, read, on_throttled
        self._states: deque[MachineState] = deque(maxlen=keep)
        self._held_back: frozenset[str] = frozenset()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="machine watch", daemon=True)

    def __enter__(self) -> MachineWatch:
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._look()

    @property
    def latest(self) -> MachineState | None:
        """The last reading; None before the watch was entered."""
        with self._lock:
            return self._states[-1] if self._states else None

    @property
    def states(self) -> tuple[MachineState, ...]:
        """The readings kept, oldest first."""
        with self._lock:
            return tuple(self._states)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self._look()

    def _look(self) -> None:
        state, before = self._read(), self.latest
        with self._lock:
            self._states.append(state)
        now = throttled_since(None if before is None else before.throttle, state.throttle)
        new = tuple(words for words in now if words not in self._held_back)
        self._held_back = frozenset(now)
        if new and self._on_throttled is not None:
            self._on_throttled(state, new)
