"""The page's server against good and bad clients, over loopback, with a feed that a test can read."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.live import server as server_module
from tinyscene.runtime.live.gate import Gate, make_gate
from tinyscene.runtime.live.server import CONNECTIONS, VIEWERS, PageServer

TOKEN = "a-token-for-tests-1"


class CountingFeed:
    """Sends a running number, and big pictures when asked to."""

    def __init__(self) -> None:
        self.ticks = 0
        self.picture_columns = 1
        self.longest_tick_s = 0.0
        self._before = time.perf_counter()

    def hello(self) -> dict[str, Any]:
        return {"type": "hello", "ticks": self.ticks}

    def tick(self) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
        self.ticks += 1
        update = {"type": "update", "now_s": self.ticks, "stretches": [[self.ticks, 0]], "events": []}
        return update, np.full((self.picture_columns, 64), self.ticks % 256, np.uint8)

    def take(self, message: str | bytes) -> dict[str, Any]:
        return {"type": "settings" if message == "all" else "refused", "message": str(message)}


@contextlib.contextmanager
def served(feed: CountingFeed, gate: Gate | None = None, host: str = "127.0.0.1") -> Iterator[PageServer]:
    server = PageServer(gate or make_gate(None, {}), host, 0, feed)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def feed() -> CountingFeed:
    return CountingFeed()


@pytest.fixture
def page(feed: CountingFeed) -> Iterator[PageServer]:
    with served(feed) as server:
        yield server


def live(server: PageServer, **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}/live", open_timeout=20, close_timeout=1, **options)


def get(server: PageServer, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content


def until(what: Callable[[], object], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def first(connection: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        message = connection.recv(timeout=20)
        if isinstance(message, str) and json.loads(message)["type"] == kind:
            answer: dict[str, Any] = json.loads(message)
            return answer


def exhaust(connection: ClientConnection) -> None:
    while True:
        connection.recv(timeout=20)


def test_the_page_and_its_files(page: PageServer) -> None:
    status, headers, content = get(page, "/")
    assert status == 200
    assert b"<html" in content
    assert headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert get(page, "/page.css")[1]["content-type"].startswith("text/css")
    assert get(page, "/page.js")[1]["content-type"].startswith("text/javascript")
    for nothing in ("/nothing", "/../options.py", "/%2e%2e/options.py", "//", "/page.css/", "/live"):
        assert get(page, nothing)[0] == 404


def test_hello_then_updates_and_pictures_in_order(page: PageServer) -> None:
    with live(page) as connection:
        assert first(connection, "hello")["ticks"] >= 0
        messages = [connection.recv(timeout=20) for _ in range(8)]
    pictures, updates = messages[0::2], [json.loads(text) for text in messages[1::2]]
    numbers = [update["now_s"] for update in updates]
    assert numbers == list(range(numbers[0], numbers[0] + 4))
    assert [picture[0] for picture in pictures] == [number % 256 for number in numbers]
    assert all(len(picture) == 64 for picture in pictures)


def test_a_setting_is_told_to_all_and_a_refusal_to_one(page: PageServer) -> None:
    with live(page) as one, live(page) as other:
        first(other, "hello")
        one.send("nonsense")
        assert first(one, "refused")["message"] == "nonsense"
        one.send("all")
        assert first(one, "settings")["message"] == "all"
        while True:  # the first thing said to the other: nothing of the refusal
            message = other.recv(timeout=20)
            if isinstance(message, str) and json.loads(message)["type"] != "update":
                assert json.loads(message)["type"] == "settings"
                break


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:1", "null"])
def test_pages_of_other_origins_are_refused(page: PageServer, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        live(page, origin=origin)
    assert refused.value.response.status_code == 403


def test_other_hosts_are_refused(page: PageServer) -> None:
    assert get(page, "/", Host="evil.example")[0] == 421
    with pytest.raises(InvalidStatus) as refused:
        connect(
            f"ws://evil.example:{page.port}/live",
            sock=socket.create_connection(("127.0.0.1", page.port)),
            origin=f"http://evil.example:{page.port}",  # type: ignore[arg-type]
        )
    assert refused.value.response.status_code == 421


def test_without_the_token_nothing_is_heard(feed: CountingFeed) -> None:
    gate = make_gate("127.0.0.1", {"TINYSCENE_WEB_TOKEN": TOKEN})
    with served(feed, gate) as page:
        assert get(page, "/")[0] == 401
        assert get(page, "/?token=wrong")[0] == 401
        for headers in ({}, {"Cookie": "tinyscene_token=wrong"}):
            with pytest.raises(InvalidStatus) as refused:
                live(page, additional_headers=headers)
            assert refused.value.response.status_code == 401
        status, headers, _ = get(page, f"/?token={TOKEN}")
        assert (status, headers["location"]) == (303, "/")
        cookie, *rest = headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict"} <= set(rest)
        assert get(page, "/", Cookie=cookie)[0] == 200
        with live(page, additional_headers={"Cookie": cookie}) as connection:
            first(connection, "update")


def test_more_viewers_than_places_are_told_so(page: PageServer) -> None:
    with contextlib.ExitStack() as stack:
        viewers = [stack.enter_context(live(page)) for _ in range(VIEWERS)]
        for viewer in viewers:
            first(viewer, "hello")
        with live(page) as late, pytest.raises(ConnectionClosed) as closed:
            late.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        first(viewers[0], "update")


def test_a_thousand_idle_clients_leave_room(feed: CountingFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    needed, (soft, hard) = 1400, resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            pytest.skip(f"no more than {hard} files may be open: run `ulimit -Hn 4096` first")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    monkeypatch.setattr(server_module, "OPENING_S", 600.0)  # or the first would be closed while the last connect
    with served(feed) as page, live(page) as viewer:
        first(viewer, "hello")
        idle = [socket.create_connection(("127.0.0.1", page.port), timeout=30) for _ in range(1000)]
        try:
            until(lambda: page.shed >= 1001 - CONNECTIONS)
            # The thousand ends that are open here are this test's own.
            until(lambda: len(list(Path("/proc/self/fd").iterdir())) - len(idle) < CONNECTIONS + 40)
            before = feed.ticks
            until(lambda: feed.ticks >= before + 3)
            first(viewer, "update")
        finally:
            for connection in idle:
                connection.close()
        until(lambda: _answers(page))


def _answers(page: PageServer) -> bool:
    try:
        return get(page, "/")[0] == 200
    except OSError:
        return False


def test_a_connection_that_asks_nothing_is_closed(feed: CountingFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "OPENING_S", 0.2)
    with served(feed) as page, socket.create_connection(("127.0.0.1", page.port), timeout=20) as silent:
        assert silent.recv(1) == b""


def test_a_client_that_never_reads_is_cut_off_and_delays_nobody(
    feed: CountingFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "PATIENCE_S", 0.5)
    feed.picture_columns = 20_000  # 1.3 MB a tick fill every buffer on the way soon
    with served(feed) as page:
        deaf = socket.create_connection(("127.0.0.1", page.port), timeout=20)
        deaf.sendall(
            f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        until(lambda: len(page._viewers) == 1)
        (viewer,) = page._viewers
        waiting = 0
        before = feed.ticks
        while page._viewers:
            waiting = max(waiting, len(viewer._updates))
            assert feed.ticks < before + 600, "a client that reads nothing was never cut off"
            time.sleep(0.01)
        assert waiting <= server_module.WAITING
        deaf.close()
        feed.picture_columns = 1
        with live(page) as reader:
            first(reader, "update")


def test_a_slow_client_loses_pictures_but_no_scene(feed: CountingFeed) -> None:
    from tinyscene.runtime.live.server import Viewer

    viewer = Viewer(None)  # type: ignore[arg-type]
    for number in range(server_module.WAITING + 50):
        viewer.offer({"now_s": number, "stretches": [[number, 0]], "events": [number]}, np.zeros((1, 4), np.uint8))
    updates = [update for update, _ in viewer._updates]
    assert len(updates) == server_module.WAITING
    assert [s for update in updates for s in update["stretches"]] == [[n, 0] for n in range(len(updates) + 50)]
    assert updates[-1]["now_s"] == server_module.WAITING + 49
    assert viewer._missed == 50


def test_messages_that_are_too_long_end_that_browser_alone(page: PageServer) -> None:
    with live(page) as good, live(page) as bad:
        first(good, "hello")
        bad.send("x" * 5000)
        with pytest.raises(ConnectionClosed) as closed:
            exhaust(bad)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        first(good, "update")


def test_garbage_is_survived(feed: CountingFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "OPENING_S", 0.3)
    with served(feed) as page:
        for garbage in (b"\x00" * 100, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n", b"POST / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", page.port), timeout=20) as client:
                client.sendall(garbage)
                with contextlib.suppress(OSError):
                    while client.recv(4096):
                        pass
        assert get(page, "/")[0] == 200


def test_the_end_is_said(feed: CountingFeed) -> None:
    with served(feed) as page:
        with live(page) as connection:
            first(connection, "update")
            threading.Thread(target=page.close).start()
            with pytest.raises(ConnectionClosed) as closed:
                exhaust(connection)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


def test_a_port_in_use_is_an_error_with_advice(page: PageServer, feed: CountingFeed) -> None:
    with pytest.raises(InputError, match=f"port {page.port}.*--port"):
        PageServer(make_gate(None, {}), "127.0.0.1", page.port, feed)
