"""Events to a real broker: what it keeps, what it says when this program dies, and what happens while it is away."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mosquitto import PASSWORD, USER, Gate, Mosquitto, Reader
from processes import poll_until
from test_background import numbered

from tinyscene.runtime.errors import UnavailableError
from tinyscene.runtime.events import background
from tinyscene.runtime.events.broker import Broker
from tinyscene.runtime.events.discovery import discovery_message
from tinyscene.runtime.events.event import Event
from tinyscene.runtime.events.mqtt import MqttSink

LABELS = ("park", "tram")
NOW = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    server = Mosquitto(tmp_path)
    yield server.start()
    server.kill()


@pytest.fixture
def gate(broker: Mosquitto) -> Iterator[Gate]:
    way = Gate(broker)
    yield way.open()
    way.shut()


@pytest.fixture
def secure_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    server = Mosquitto(tmp_path, secure=True)
    yield server.start()
    server.kill()


def address(server: Mosquitto, ca: str = "ca.pem", password: str = PASSWORD) -> Broker:
    if not server.secure:
        return Broker("127.0.0.1", server.port, False)
    return Broker("127.0.0.1", server.port, True, server.folder / ca, USER, password)


def sink_to(broker: Broker, log: Callable[[str], None] = lambda text: None, capacity: int = 1000) -> MqttSink:
    return MqttSink(broker, "porch", "bands", LABELS, log, capacity=capacity, first_retry_s=0.05, longest_retry_s=0.1)


def scene(name: str, number: int = 0) -> Event:
    return Event("scene", 1.0, NOW, {"scene": name, "previous": None, "probability": 0.75, "n": number})


@pytest.mark.parametrize("kind", ["broker", "secure_broker"])
def test_what_a_late_reader_finds(kind: str, request: pytest.FixtureRequest) -> None:
    server: Mosquitto = request.getfixturevalue(kind)
    early = Reader(server)
    sink = sink_to(address(server))
    sink.emit(Event("started", 0.0, NOW, {"source": "mic"}))
    sink.emit(scene("park"))
    poll_until(lambda: len(early.payloads("tinyscene/porch/event")) == 2, 30)
    poll_until(lambda: not sink.waiting, 30)
    late = Reader(server)
    wanted = {"homeassistant/device/tinyscene_porch/config", "tinyscene/porch/state", "tinyscene/porch/availability"}
    poll_until(lambda: {topic for topic, _, _ in late.messages} == wanted, 30)
    assert all(retained for _, _, retained in late.messages)
    kept = {topic: payload for topic, payload, _ in late.messages}
    expected = discovery_message("porch", "tinyscene/porch", "bands", LABELS)
    assert json.loads(kept["homeassistant/device/tinyscene_porch/config"]) == expected
    assert kept["tinyscene/porch/availability"] == "online"
    assert json.loads(kept["tinyscene/porch/state"]) == {
        "schema": "tinyscene.state/1",
        "scene": "park",
        "unsure": False,
        "probability": 0.75,
        "since": NOW,
        "listening": True,
        "reason": None,
        "dropped_samples": 0,
        "bundle": "bands",
        "source": "mic",
    }
    events = [json.loads(payload) for payload in early.payloads("tinyscene/porch/event")]
    assert [event["kind"] for event in events] == ["started", "scene"]
    sink.emit(Event("stopped", 2.0, NOW, {"dropped_samples": 480}))
    sink.close()
    poll_until(lambda: late.payloads("tinyscene/porch/availability")[-1] == "offline", 30)
    state = json.loads(late.payloads("tinyscene/porch/state")[-1])
    assert (state["listening"], state["reason"], state["dropped_samples"]) == (False, "stopped", 480)
    assert sink.undelivered == 0
    early.close()
    late.close()


def test_home_assistant_is_told_nothing_without_discovery(broker: Mosquitto) -> None:
    reader = Reader(broker)
    sink = MqttSink(address(broker), "porch", "bands", LABELS, lambda text: None, discovery_prefix=None)
    sink.emit(scene("park"))
    poll_until(lambda: bool(reader.payloads("tinyscene/porch/event")), 30)
    sink.close()
    assert not [topic for topic, _, _ in reader.messages if topic.startswith("homeassistant")]
    reader.close()


CLIENT = """
import sys
from tinyscene.runtime.events.broker import Broker
from tinyscene.runtime.events.event import Event
from tinyscene.runtime.events.mqtt import MqttSink
sink = MqttSink(Broker("127.0.0.1", int(sys.argv[1]), False), "porch", "bands", ("park",), print)
sink.emit(Event("scene", 0.0, "now", {"scene": "park", "probability": 0.5}))
sys.stdin.read()
"""


def test_the_broker_says_offline_when_the_program_is_killed(broker: Mosquitto) -> None:
    reader = Reader(broker)
    client = subprocess.Popen([sys.executable, "-c", CLIENT, str(broker.port)], stdin=subprocess.PIPE)
    try:
        poll_until(lambda: bool(reader.payloads("tinyscene/porch/event")), 60)
        assert reader.payloads("tinyscene/porch/availability") == ["online"]
    finally:
        client.send_signal(signal.SIGKILL)
        client.communicate()
    poll_until(lambda: reader.payloads("tinyscene/porch/availability") == ["online", "offline"], 30)
    reader.close()


def through(gate: Gate) -> Broker:
    return Broker("127.0.0.1", gate.port, False)


def test_a_broker_that_is_away_costs_the_oldest_events_only(broker: Mosquitto, gate: Gate) -> None:
    lines: list[str] = []
    sink = sink_to(through(gate), lines.append, capacity=10)
    sink.emit(scene("park"))
    poll_until(lambda: not sink.waiting, 30)
    gate.shut()
    broker.kill()
    sink.emit(scene("tram", 1))
    poll_until(lambda: sink.undelivered > 0, 30)
    for number in range(2, 51):
        sink.emit(scene("tram", number))
    assert sink.waiting == 11
    assert sink.undelivered == 50
    reader = Reader(broker.start())
    gate.open()
    poll_until(lambda: not sink.waiting, 60)
    poll_until(lambda: len(reader.payloads("tinyscene/porch/event")) == 11, 30)
    received = [json.loads(payload)["n"] for payload in reader.payloads("tinyscene/porch/event")]
    assert received == [1, *range(41, 51)]
    assert sink.undelivered == 39
    # The broker kept nothing, and knows everything again.
    kept = {topic: payload for topic, payload, _ in reader.messages}
    assert kept["tinyscene/porch/availability"] == "online"
    assert json.loads(kept["tinyscene/porch/state"])["scene"] == "tram"
    assert "homeassistant/device/tinyscene_porch/config" in kept
    sink.close()
    reader.close()
    assert lines[0].startswith(f"{sink.name}: ")
    assert lines[-2:] == [
        f"{sink.name}: events are delivered again, 39 were lost",
        f"{sink.name}: 39 events were not delivered",
    ]


def test_an_acknowledgement_that_the_outage_swallowed_is_waited_for(broker: Mosquitto, gate: Gate) -> None:
    """A frozen broker has the event in its socket; once it is killed the client sends it again, once."""
    sink = sink_to(through(gate))
    sink.emit(scene("park"))
    poll_until(lambda: not sink.waiting, 30)
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    sink.emit(scene("tram", 1))
    sink.emit(scene("park", 2))
    poll_until(lambda: sink._destination._sent is not None, 30)
    gate.shut()
    broker.kill()
    poll_until(lambda: sink.undelivered == 2, 30)
    reader = Reader(broker.start())
    gate.open()
    poll_until(lambda: not sink.waiting, 60)
    poll_until(lambda: len(reader.payloads("tinyscene/porch/event")) >= 2, 30)
    assert [json.loads(payload)["n"] for payload in reader.payloads("tinyscene/porch/event")] == [1, 2]
    assert json.loads(reader.payloads("tinyscene/porch/state")[-1])["scene"] == "park"
    sink.close()
    reader.close()


def test_closing_does_not_wait_for_a_frozen_broker(broker: Mosquitto) -> None:
    sink = sink_to(address(broker))
    sink.emit(scene("park"))
    poll_until(lambda: not sink.waiting, 30)
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    for number in range(5):
        sink.emit(scene("tram", number))
    sink.close()
    assert sink.undelivered == 5


def wait_for_line(broker: Broker) -> str:
    """What is logged first about a broker that does not let this program in."""
    lines: list[str] = []
    sink = sink_to(broker, lines.append)
    sink.emit(scene("park"))
    poll_until(lambda: bool(lines), 30)
    assert sink.undelivered == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "CLOSE_S", 0.1)
        sink.close()
    return lines[0]


def test_a_wrong_password(secure_broker: Mosquitto) -> None:
    line = wait_for_line(address(secure_broker, password="guess"))
    assert line.startswith(
        f"{secure_broker.url}: the broker refused the connection (not authorized): check TINYSCENE_MQTT_USER and "
        "TINYSCENE_MQTT_PASSWORD in the environment"
    )
    assert "guess" not in line


def test_an_authority_that_did_not_sign(secure_broker: Mosquitto) -> None:
    line = wait_for_line(address(secure_broker, ca="other.pem"))
    assert "the broker's certificate is not trusted (" in line
    assert "--mqtt-ca" in line


def test_a_certificate_for_another_host(secure_broker: Mosquitto) -> None:
    line = wait_for_line(replace(address(secure_broker), host="localhost"))
    assert "the broker's certificate is not trusted (Hostname mismatch" in line


def test_tls_with_a_broker_that_speaks_none(broker: Mosquitto) -> None:
    line = wait_for_line(Broker("127.0.0.1", broker.port, True))
    assert "check " in line


def test_no_tls_with_a_broker_that_wants_it(secure_broker: Mosquitto) -> None:
    line = wait_for_line(Broker("127.0.0.1", secure_broker.port, False))
    assert "the broker hung up" in line


def test_no_broker_at_all(broker: Mosquitto) -> None:
    broker.kill()
    assert "cannot connect ([Errno 111] Connection refused)" in wait_for_line(address(broker))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("paho")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "paho", None)
    with pytest.raises(UnavailableError, match=r"pip install 'tinyscene\[mqtt\]'"):
        MqttSink(Broker("127.0.0.1", 1, False), "porch", "bands", LABELS, print)


def test_the_state_is_right_when_its_events_were_given_up(broker: Mosquitto, gate: Gate) -> None:
    gate.shut()
    sink = sink_to(through(gate), capacity=1)
    sink.emit(numbered(0))
    poll_until(lambda: sink.undelivered == 1, 30)
    sink.emit(scene("tram", 1))
    sink.emit(Event("audio_lost", 2.0, NOW, {"total_samples": 9, "n": 2}))  # takes the scene's place in the queue
    reader = Reader(broker)
    gate.open()
    poll_until(lambda: not sink.waiting, 60)
    poll_until(lambda: len(reader.payloads("tinyscene/porch/event")) == 2, 30)
    sink.close()
    state = json.loads(reader.payloads("tinyscene/porch/state")[-1])
    assert (state["scene"], state["dropped_samples"]) == ("tram", 9)
    assert sink.undelivered == 1
    reader.close()


def test_a_broker_that_is_back_is_not_kept_waiting(broker: Mosquitto, gate: Gate) -> None:
    gate.shut()
    sink = MqttSink(through(gate), "porch", "bands", LABELS, lambda text: None, first_retry_s=3600.0)
    sink.emit(scene("park"))
    poll_until(lambda: sink.undelivered == 1, 30)
    gate.open()
    poll_until(lambda: not sink.waiting, 60)
    sink.close()
    assert sink.undelivered == 0
