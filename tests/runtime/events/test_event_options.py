"""What the command line asks for becomes sinks."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from mosquitto import Mosquitto
from processes import json_lines
from test_background import numbered

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.events.event import Sink
from tinyscene.runtime.events.options import add_arguments, open_sinks


def opened(*words: str) -> list[Sink]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return open_sinks(parser.parse_args(words), "bands", ("low", "high"), lambda text: None)


def test_nothing_is_opened_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert opened() == []


def test_a_file_of_a_size_that_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    (sink,) = opened("--events", str(path), "--events-max-mb", "0.001", "--events-keep", "2")
    for number in range(100):
        sink.emit(numbered(number))
    sink.close()
    assert sink.name == str(path)
    assert sink.undelivered == 0
    assert sorted(name.name for name in tmp_path.iterdir()) == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    assert all(name.stat().st_size <= 1000 for name in tmp_path.iterdir())
    assert json_lines(path.read_text())[-1]["n"] == 99


def test_systemd_is_a_sink_where_it_started_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    (sink,) = opened()
    assert sink.name == "systemd"
    sink.close()


def test_a_broker(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path).start()
    try:
        (sink,) = opened("--mqtt", broker.url, "--mqtt-name", "porch")
        sink.emit(numbered(0))
        sink.close()
        assert (sink.name, sink.undelivered) == (broker.url, 0)
    finally:
        broker.kill()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--events", "x", "--events-max-mb", "0"], "--events-max-mb"),
        (["--events", "x", "--events-max-mb", "nan"], "--events-max-mb"),
        (["--events", "x", "--events-keep", "0"], "--events-keep"),
        (["--events", "/"], "is not a file"),
        (["--mqtt", "http://broker"], "set --mqtt"),
        (["--mqtt", "mqtt://broker", "--mqtt-name", "#"], "--mqtt-name"),
        (["--mqtt", "mqtt://broker", "--mqtt-discovery-prefix", "#"], "--mqtt-discovery-prefix"),
        (["--mqtt", "mqtts://broker", "--mqtt-ca", "/nowhere.pem"], "--mqtt-ca"),
    ],
)
def test_what_cannot_be_meant(words: list[str], match: str) -> None:
    with pytest.raises(InputError, match=match):
        opened(*words)


def test_nothing_heavy_is_imported_for_a_file(tmp_path: Path) -> None:
    code = (
        "import argparse, sys\nfrom tinyscene.runtime.events.options import add_arguments, open_sinks\n"
        "parser = argparse.ArgumentParser(); add_arguments(parser)\nprint('numpy' in sys.modules)\n"
        "open_sinks(parser.parse_args(['--events', sys.argv[1]]), 'b', (), print)[0].close()\n"
        "print([name for name in ('paho', 'ssl') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "events.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n[]\n"
