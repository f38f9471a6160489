"""A sink that delivers in a thread of its own, behind a bounded queue: no disk and no network stops the audio."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from .event import Event

#: Events that wait at most: at one a second more than a quarter of an hour, in about a megabyte.
CAPACITY = 1000

#: `Sink.close` delivers what is left for at most this long.
CLOSE_S = 2.0

#: Tries while closing come this often: the time is short.
CLOSING_RETRY_S = 0.1


class DeliveryError(Exception):
    """An event cannot be delivered now; the message says why, for a person."""


class Destination(Protocol):
    """Takes events one at a time, from one thread."""

    def deliver(self, event: Event) -> None:
        """Deliver an event, however long it takes; after an error the same event comes again.

        Raises `DeliveryError` or `OSError` while that is not possible.
        """
        ...

    def close(self) -> None:
        """Release what the destination holds."""
        ...


class BackgroundSink:
    """The queue before a `Destination`: in order, at most `capacity` long, the oldest event given up first.

    What happens now is worth more than what happened during a long outage. Each cause of an outage is logged once, and
    its end; tries are repeated after `first_retry_s`, then after twice as long each time, up to `longest_retry_s`.
    """

    def __init__(
        self,
        name: str,
        destination: Destination,
        log: Callable[[str], None],
        capacity: int = CAPACITY,
        first_retry_s: float = 0.5,
        longest_retry_s: float = 30.0,
    ) -> None:
        """Start to deliver to `destination`; `log` takes lines for a person, from the thread that delivers."""
        self._name, self._destination, self._log = name, destination, log
        self._capacity, self._first_retry_s, self._longest_retry_s = capacity, first_retry_s, longest_retry_s
        self._changed = threading.Condition()
        self._waiting: deque[Event] = deque()
        self._current: Event | None = None  # taken from the queue, not delivered yet
        self._lost = 0
        self._causes: set[str] = set()  # of the present outage; empty while all is well
        self._retry_now = False
        self._deadline: float | None = None  # time.monotonic() at which a sink that closes gives up
        self._thread = threading.Thread(target=self._work, name=f"events to {name}", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """Where the events go, for a person."""
        return self._name

    @property
    def undelivered(self) -> int:
        """Events lost for good, and while the destination is out of order those that wait for it."""
        with self._changed:
            return self._lost + (self._left() if self._causes else 0)

    @property
    def waiting(self) -> int:
        """Events that are neither delivered nor given up."""
        with self._changed:
            return self._left()

    def emit(self, event: Event) -> None:
        """Queue an event; returns at once."""
        with self._changed:
            if self._deadline is not None:
                self._lost += 1
                return
            if len(self._waiting) >= self._capacity:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append(event)
            self._changed.notify()

    def retry(self) -> None:
        """Do not wait for the next try: the destination may be back."""
        with self._changed:
            self._retry_now = True
            self._changed.notify()

    def close(self) -> None:
        """Deliver what is left for at most `CLOSE_S` and stop; what is left then is lost."""
        with self._changed:
            first = self._deadline is None
            if first:
                self._deadline = time.monotonic() + CLOSE_S
                self._changed.notify()
        self._thread.join(CLOSE_S)
        with self._changed:
            left = self._left()
            self._lost += left
            self._waiting.clear()
            self._current = None
        if first and self._lost:
            self._say(f"{self._lost:,} events were not delivered")

    def _left(self) -> int:
        return len(self._waiting) + (self._current is not None)

    def _work(self) -> None:
        retry_s = self._first_retry_s
        while (event := self._next()) is not None:
            try:
                self._destination.deliver(event)
            except (DeliveryError, OSError) as error:
                if not self._failed(error, retry_s):
                    break
                retry_s = min(2.0 * retry_s, self._longest_retry_s)
            except Exception as error:  # of our own making: no event may stop those after it
                self._given_up(error)
            else:
                retry_s = self._first_retry_s
                self._delivered()
        self._destination.close()

    def _next(self) -> Event | None:
        """The event to deliver, waited for; None when the sink is closed and all is delivered."""
        with self._changed:
            while self._current is None:
                if self._waiting:
                    self._current = self._waiting.popleft()
                elif self._deadline is not None:
                    return None
                else:
                    self._changed.wait()
            return self._current

    def _delivered(self) -> None:
        with self._changed:
            self._current = None
            recovered, self._causes = bool(self._causes), set()
            lost = self._lost
        if recovered:
            self._say("events are delivered again" + (f", {lost:,} were lost" if lost else ""))

    def _given_up(self, error: Exception) -> None:
        with self._changed:
            self._current = None
            self._lost += 1
        self._say(f"an event could not be written and is lost ({error!r})")

    def _failed(self, error: Exception, retry_s: float) -> bool:
        """Wait for the next try; False when there is no time for one."""
        cause = str(error)
        with self._changed:
            new = cause not in self._causes
            self._causes.add(cause)
        if new:
            self._say(f"{cause}; events wait, up to {self._capacity:,} of them")
        end = time.monotonic() + retry_s
        with self._changed:
            while not self._retry_now:
                now = time.monotonic()
                if self._deadline is not None:
                    if now + CLOSING_RETRY_S > self._deadline:
                        return False
                    self._changed.wait(CLOSING_RETRY_S)
                    return True
                if now >= end:
                    break
                self._changed.wait(end - now)
            self._retry_now = False
            return True

    def _say(self, text: str) -> None:
        # Standard error may be a pipe whose reader is gone; that is no reason to stop delivering.
        with contextlib.suppress(Exception):
            self._log(f"{self._name}: {text}")
