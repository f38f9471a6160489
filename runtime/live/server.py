"""The page's server: one thread with an event loop of its own, that only ever takes what the mailbox holds.

HTTP and WebSocket (RFC 6455) by the package websockets. Every browser has a bounded queue: one that reads slowly gets
fewer updates and is told how many it missed, one that does not read at all is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from ..errors import InputError
from .assets import HEADERS, read_assets
from .gate import COOKIE, Gate, token_in_cookies

#: Where the connection of the page is.
LIVE = "/live"

#: Browsers at a time; and connections of any kind, so that they never take the files that the audio needs.
VIEWERS, CONNECTIONS = 16, 64

#: Updates that wait for one browser, and how long it may take to read the oldest of them.
WAITING, PATIENCE_S = 20, 10.0

#: Until which a connection must have asked for something.
OPENING_S = 5.0

#: Bytes of a browser's message.
LONGEST_MESSAGE = 4096

#: Between two updates, in seconds.
TICK_S = 0.1


class Feed(Protocol):
    """What is sent."""

    def hello(self) -> dict[str, Any]:
        """What a browser needs first."""
        ...

    def tick(self) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
        """What is new since the last tick: an update, and columns (k, bands) of the spectrogram or None."""
        ...

    def take(self, message: str | bytes) -> dict[str, Any]:
        """A browser's message; returns the answer: "settings" goes to all, anything else to this browser."""
        ...


class PageServer:
    """Serves the page until `close`, in a thread of its own; how to reach it is in `port`."""

    def __init__(self, gate: Gate, host: str, port: int, feed: Feed) -> None:
        """Raises `InputError` when the address cannot be had; port 0 takes one that is free."""
        self.shed = 0  # connections that were not let in for lack of room
        self.port = port
        self._gate, self._host, self._feed = gate, host, feed
        self._assets = read_assets()
        self._viewers: set[Viewer] = set()
        self._transports: set[asyncio.BaseTransport] = set()
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._ready = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise InputError(f"{host} port {port}: {self._error.strerror}: choose another with --port or --host")

    def close(self) -> None:
        """Say goodbye to the browsers and give the port back; takes two seconds at most."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._error = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        # Compression would cost more processor time than a local network costs.
        server = serve(
            self._follow,
            self._host,
            self.port,
            process_request=self._answer,
            create_connection=cast("type[ServerConnection]", self._connection),
            compression=None,
            max_size=LONGEST_MESSAGE,
            max_queue=4,
            write_limit=2**15,
            open_timeout=OPENING_S,
            close_timeout=1.0,
            server_header=None,
            backlog=2 * CONNECTIONS,  # as many are open for a moment before they are cut off
        )
        async with server as running:
            self.port = running.sockets[0].getsockname()[1]
            self._ready.set()
            while not self._ending.is_set():
                self._send_news()
                try:
                    await asyncio.wait_for(self._ending.wait(), TICK_S)
                except asyncio.TimeoutError:
                    continue
            self._send_news()
            await asyncio.sleep(0.05)
            running.close(code=1001, reason="tinyscene ended")
            for transport in tuple(self._transports):
                if not any(viewer.connection.transport is transport for viewer in self._viewers):
                    transport.abort()  # type: ignore[attr-defined]

    def _send_news(self) -> None:
        update, columns = self._feed.tick()
        for viewer in self._viewers:
            viewer.offer(update, columns)

    def _connection(self, *arguments: Any, **options: Any) -> ServerConnection:
        return _Counted(self._transports, self._count_shed, *arguments, **options)

    def _count_shed(self) -> None:
        self.shed += 1

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """An HTTP answer, or None to go on with the WebSocket."""
        headers, url = request.headers, urlsplit(request.path)
        host = headers.get("Host")
        refusal = self._gate.check_host(host)
        if refusal is None and url.path == "/":
            given = parse_qs(url.query).get("token", [""])[0]
            if self._gate.is_token(given):
                return _moved_with(given)
        if refusal is None and url.path in ("/", LIVE):
            # The other files say nothing about what is heard.
            refusal = self._gate.check_token(token_in_cookies(headers.get("Cookie")))
        if refusal is None and url.path == LIVE:
            refusal = self._gate.check_origin(headers.get("Origin"), host)
        if refusal is not None:
            return _response(refusal.status, "text/plain; charset=utf-8", f"{refusal.reason}\n".encode())
        if url.path == LIVE and headers.get("Upgrade", "").lower() == "websocket":
            return None
        asset = self._assets.get(url.path)
        if asset is None:
            return _response(404, "text/plain; charset=utf-8", b"there is nothing here\n")
        return _response(200, asset.media_type, asset.content)

    async def _follow(self, connection: ServerConnection) -> None:
        if len(self._viewers) >= VIEWERS:
            self._count_shed()
            await connection.close(1013, "too many viewers")
            return
        viewer = Viewer(connection)
        await connection.send(json.dumps(self._feed.hello()))
        self._viewers.add(viewer)
        sending = asyncio.create_task(viewer.send())
        try:
            async for message in connection:
                answer = self._feed.take(message)
                for one in self._viewers if answer["type"] == "settings" else (viewer,):
                    one.say(answer)
        except ConnectionClosed:
            pass
        finally:
            self._viewers.discard(viewer)
            sending.cancel()


class Viewer:
    """One browser, and what waits for it."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self._missed = 0
        self._updates: deque[tuple[dict[str, Any], bytes | None]] = deque()
        self._answers: deque[dict[str, Any]] = deque(maxlen=8)
        self._news = asyncio.Event()

    def offer(self, update: dict[str, Any], columns: NDArray[np.uint8] | None) -> None:
        """Queue an update; when too many wait, the new one is put together with the last: only columns are lost."""
        picture = None if columns is None or not len(columns) else columns.tobytes()
        if len(self._updates) >= WAITING:
            self._missed += 1
            before, shown = self._updates[-1]
            joined = {name: before[name] + update[name] for name in ("stretches", "events")}
            # A list that nobody reads must not grow either: the page asks for the whole again when it comes back.
            self._updates[-1] = {**update, **{name: entries[-1000:] for name, entries in joined.items()}}, shown
        else:
            self._updates.append((update, picture))
        self._news.set()

    def say(self, answer: dict[str, Any]) -> None:
        """Queue an answer."""
        self._answers.append(answer)
        self._news.set()

    async def send(self) -> None:
        """Send what waits, for as long as the browser reads it."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._answers:
                    await self._send(json.dumps(self._answers.popleft()))
                while self._updates:
                    update, picture = self._updates.popleft()
                    if picture is not None:
                        await self._send(picture)
                    await self._send(json.dumps({**update, "shed": self._missed}, allow_nan=False))
        except ConnectionClosed:
            pass
        except asyncio.TimeoutError:
            # A closing handshake would wait for the same browser.
            self.connection.transport.abort()

    async def _send(self, message: str | bytes) -> None:
        await asyncio.wait_for(self.connection.send(message), PATIENCE_S)


class _Counted(ServerConnection):
    """A connection that is cut off at once when there are too many already."""

    def __init__(
        self, transports: set[asyncio.BaseTransport], shed: Callable[[], None], *arguments: Any, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._transports, self._shed = transports, shed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._transports) >= CONNECTIONS:
            self._shed()
            transport.abort()  # type: ignore[attr-defined]
        else:
            self._transports.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transports.discard(self.transport)
        super().connection_lost(exc)


def _response(status: int, media_type: str, body: bytes) -> Response:
    headers = Headers(HEADERS)
    headers["Content-Type"] = media_type
    headers["Content-Length"] = str(len(body))
    headers["Connection"] = "close"
    return Response(status, http.HTTPStatus(status).phrase, headers, body)


def _moved_with(token: str) -> Response:
    """To the page without the token in its address; the browser keeps it as a cookie that no script can read."""
    response = _response(303, "text/plain; charset=utf-8", b"")
    response.headers["Location"] = "/"
    response.headers["Set-Cookie"] = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
    return response
