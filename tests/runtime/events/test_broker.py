"""Which broker, as whom: what a URL and the environment may say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.events.broker import Broker, client_id, listener_name, parse_broker, topic_prefix

SECRET = {"TINYSCENE_MQTT_USER": "tiny", "TINYSCENE_MQTT_PASSWORD": "s3cret"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker.lan", Broker("broker.lan", 1883, False)),
        ("mqtt://127.0.0.1:1884/", Broker("127.0.0.1", 1884, False)),
        ("mqtts://Broker.lan", Broker("broker.lan", 8883, True)),
        ("mqtts://[::1]:8884", Broker("::1", 8884, True)),
    ],
)
def test_addresses(url: str, expected: Broker) -> None:
    assert parse_broker(url, None, {}, False) == expected


def test_the_url_that_is_shown() -> None:
    assert parse_broker("mqtts://[::1]:8884", None, SECRET, False).url == "mqtts://[::1]:8884"
    assert parse_broker("mqtt://localhost", None, {}, False).url == "mqtt://localhost:1883"


@pytest.mark.parametrize(
    "url", ["", "broker", "broker:1883", "http://broker", "mqtt://", "mqtt://broker:0", "mqtt://broker:99999",
            "mqtt://broker:x", "mqtt://broker/topic", "mqtt://broker?qos=1", "mqtt://[::1", "mqtt://" + "a" * 64]
)  # fmt: skip
def test_what_is_no_broker(url: str) -> None:
    with pytest.raises(InputError, match="set --mqtt"):
        parse_broker(url, None, {}, False)


@given(st.text(max_size=40))
def test_any_text_is_a_broker_or_refused(text: str) -> None:
    for url in (text, f"mqtt://{text}"):
        try:
            broker = parse_broker(url, None, {}, False)
        except InputError:
            continue
        assert broker.host
        assert 0 < broker.port < 65536


@pytest.mark.parametrize("url", ["mqtt://tiny:s3cret@broker.lan", "mqtts://tiny@broker.lan", "mqtt://tiny:s3cret@[::1"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_broker(url, None, {}, True)
    assert "s3cret" not in str(refused.value)
    assert "tiny@" not in str(refused.value)


def test_credentials_come_from_the_environment_and_are_not_shown() -> None:
    broker = parse_broker("mqtts://broker.lan", None, SECRET, False)
    assert (broker.user, broker.password) == ("tiny", "s3cret")
    assert "s3cret" not in repr(broker) + broker.url


@pytest.mark.parametrize("host", ["broker.lan", "192.168.1.2", "[fe80::1]", "localhost.evil"])
def test_a_password_does_not_cross_a_network_in_the_clear(host: str) -> None:
    with pytest.raises(InputError, match="unencrypted: use mqtts://"):
        parse_broker(f"mqtt://{host}", None, SECRET, False)
    assert parse_broker(f"mqtt://{host}", None, SECRET, True).password == "s3cret"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_a_password_may_stay_on_this_machine(host: str) -> None:
    assert parse_broker(f"mqtt://{host}", None, SECRET, False).password == "s3cret"


def test_a_password_without_a_user() -> None:
    with pytest.raises(InputError, match="TINYSCENE_MQTT_USER is not"):
        parse_broker("mqtts://broker.lan", None, {"TINYSCENE_MQTT_PASSWORD": "s3cret"}, False)


def test_an_authority_without_tls() -> None:
    with pytest.raises(InputError, match="use mqtts://"):
        parse_broker("mqtt://broker.lan", Path("ca.pem"), {}, False)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_text(content)
    with pytest.raises(InputError, match="set --mqtt-ca to a PEM file"):
        Broker("broker.lan", 8883, True, ca).tls_context()


def test_tls_checks_certificate_and_name() -> None:
    context = Broker("broker.lan", 8883, True).tls_context()
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


@pytest.mark.parametrize(("host", "name"), [("Pi4.lan", "Pi4"), ("bj\xf6rn's pi", "bj-rn-s-pi"), ("...", "tinyscene")])
def test_the_name_is_the_hosts(monkeypatch: pytest.MonkeyPatch, host: str, name: str) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    assert listener_name(None) == name


@pytest.mark.parametrize("name", ["", "a/b", "a b", "#", "x" * 65])
def test_names_that_are_no_topic(name: str) -> None:
    with pytest.raises(InputError, match="set --mqtt-name"):
        listener_name(name)
    assert listener_name("Porch_2-b") == "Porch_2-b"


@pytest.mark.parametrize("prefix", ["", "/", "a//b", "home/#", "+/a", "a/"])
def test_prefixes_that_are_no_topic(prefix: str) -> None:
    with pytest.raises(InputError, match="--mqtt-discovery-prefix"):
        topic_prefix(prefix)
    assert topic_prefix("home/assistant") == "home/assistant"


def test_an_identity_is_the_machines_and_does_not_tell_it(tmp_path: Path) -> None:
    identities = set()
    for machine in ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"):
        root = tmp_path / machine
        (root / "etc").mkdir(parents=True)
        (root / "etc/machine-id").write_text(f"{machine}\n")
        identity = client_id("porch", root)
        assert identity == client_id("porch", root)
        assert machine[:8] not in identity
        identities.add(identity)
    assert len(identities) == 2
    assert client_id("porch", tmp_path) == client_id("porch", tmp_path)  # without one: the host's name
