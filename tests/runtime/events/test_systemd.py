"""The service manager's protocol on a real socket, and the unit judged by systemd itself."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

from tinyscene.runtime.events.event import Event
from tinyscene.runtime.events.systemd import open_systemd, watched
from tinyscene.runtime.sources.source import Block
from tinyscene.runtime.systemd import unit_text

NOW = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    # The socket's path has to stay under 108 bytes, which pytest's own folders do not promise.
    path = f"/tmp/tinyscene-notify-{os.getpid()}-{tmp_path.name[-12:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.settimeout(30)
        yield server
    Path(path).unlink()


def received(server: socket.socket) -> list[str]:
    """Everything that waits in the socket."""
    server.setblocking(False)
    messages = []
    try:
        while True:
            messages.append(server.recv(4096).decode())
    except BlockingIOError:
        return messages


def test_what_a_service_manager_is_told(manager: socket.socket) -> None:
    sink = open_systemd({"NOTIFY_SOCKET": manager.getsockname()})
    assert sink is not None
    sink.emit(Event("started", 0.0, NOW, {"source": "USB\nmicrophone"}))
    sink.emit(Event("scene", 1.0, NOW, {"scene": "park"}))
    sink.emit(Event("audio_lost", 1.0, NOW, {"samples": 5}))
    sink.emit(Event("unsure", 2.0, NOW, {"previous": "park"}))
    sink.emit(Event("source_down", 3.0, NOW, {"reason": "unplugged"}))
    sink.emit(Event("source_up", 4.0, NOW, {"after_s": 1.0}))
    sink.close()
    assert received(manager) == [
        "READY=1\nSTATUS=listening to USB microphone",
        f"STATUS=park since {NOW}",
        f"STATUS=unsure since {NOW}",
        f"STATUS=hears nothing since {NOW}: unplugged",
        f"STATUS=hears again since {NOW}",
        "STOPPING=1",
    ]
    assert sink.undelivered == 0


def test_an_abstract_socket() -> None:
    name = f"tinyscene-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0{name}")
        sink = open_systemd({"NOTIFY_SOCKET": f"@{name}"})
        assert sink is not None
        sink.close()
        assert received(server) == ["STOPPING=1"]


def test_a_manager_that_is_gone_or_does_not_read_is_not_waited_for(manager: socket.socket, tmp_path: Path) -> None:
    sink = open_systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert sink is not None
    sink.notify("READY=1")
    assert sink.undelivered == 1
    full = open_systemd({"NOTIFY_SOCKET": manager.getsockname()})
    assert full is not None
    for _ in range(10_000):  # more than a socket holds
        full.notify("STATUS=x")
    assert full.undelivered > 0
    assert full.undelivered + len(received(manager)) == 10_000


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "relative"}])
def test_without_a_service_manager(environment: dict[str, str]) -> None:
    assert open_systemd(environment) is None
    source = Ticking()
    assert watched(source, {**environment, "WATCHDOG_USEC": "1000"}) is source


class Ticking:
    """A source of empty blocks that knows when it was closed."""

    name, sample_rate_hz, losses = "ticking", 48_000, {"down": 3}
    extra = "its own"
    closed = False

    def blocks(self) -> Generator[Block, None, None]:
        try:
            for _ in range(5):
                yield Block(np.empty(0, np.float32), time.perf_counter(), down="unplugged")
        finally:
            self.closed = True


def test_every_block_that_is_asked_for_is_a_sign_of_life(manager: socket.socket) -> None:
    inner = Ticking()
    source = watched(inner, {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1"})
    assert (source.name, source.sample_rate_hz, source.losses) == ("ticking", 48_000, {"down": 3})
    assert source.extra == "its own"  # type: ignore[attr-defined]
    blocks = source.blocks()
    assert received(manager) == []
    next(blocks)
    assert received(manager) == ["WATCHDOG=1"]
    assert received(manager) == []  # nobody asks: a loop that hangs is one that systemd restarts
    next(blocks)
    assert received(manager) == ["WATCHDOG=1"]
    blocks.close()
    assert inner.closed


def test_signs_of_life_are_no_more_than_four_times_as_many_as_asked_for(manager: socket.socket) -> None:
    source = watched(Ticking(), {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": str(3600 * 10**6)})
    assert len(list(source.blocks())) == 5
    assert received(manager) == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    "watchdog", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}]
)
def test_a_watchdog_that_is_not_meant(manager: socket.socket, watchdog: dict[str, str]) -> None:
    source = Ticking()
    assert watched(source, {"NOTIFY_SOCKET": manager.getsockname(), **watchdog}) is source


def settings_of(text: str) -> dict[str, list[str]]:
    """Each setting's values; a plain reading of systemd.syntax(7)."""
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", ";", "["))]
    values: dict[str, list[str]] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        assert equals, line
        values.setdefault(name, []).append(value)
    return values


def test_the_unit_runs_this_environment_and_is_held_back() -> None:
    text = unit_text(Path("/srv/venv"))
    assert [line for line in text.splitlines() if line.startswith("[")] == ["[Unit]", "[Service]", "[Install]"]
    unit = settings_of(text)
    assert unit["ExecStart"][0].split()[:3] == ["/srv/venv/bin/tinyscene", "listen", "/opt/tinyscene/bundle"]
    for name, value in {
        "Type": "notify",
        "Restart": "always",
        "DynamicUser": "yes",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "CapabilityBoundingSet": "",
        "StateDirectory": "tinyscene",
        "EnvironmentFile": "-/etc/tinyscene/environment",
    }.items():
        assert unit[name] == [value]
    assert "audio" in unit["SupplementaryGroups"][0].split()
    assert float(unit["WatchdogSec"][0]) >= 10
    assert "PASSWORD" not in unit["ExecStart"][0]


def test_the_unit_is_printed_for_the_python_that_prints_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tinyscene.runtime.systemd"], capture_output=True, text=True, check=True
    )
    assert f"ExecStart={sys.prefix}/bin/tinyscene listen" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("task", [["verify"], ["security", "--offline=yes", "--threshold=30"]])
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path, task: list[str]) -> None:
    """`verify` finds unknown and malformed settings; `security` fails above an exposure of 3.0 of 10."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: run `apt-get install -y --no-install-recommends systemd`")
    unit = tmp_path / "tinyscene.service"
    program = tmp_path / "bin" / "tinyscene"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit.write_text(unit_text(tmp_path))
    done = subprocess.run(["systemd-analyze", *task, str(unit)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tinyscene.service" not in done.stderr
