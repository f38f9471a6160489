"""Which MQTT broker to talk to, and as whom."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import InputError

USER, PASSWORD = "TINYSCENE_MQTT_USER", "TINYSCENE_MQTT_PASSWORD"

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Broker:
    """An address with what it takes to be let in."""

    host: str
    port: int
    tls: bool
    ca: Path | None = None  # PEM file of the only authority to trust; None trusts the system's
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The address without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    def tls_context(self) -> ssl.SSLContext:
        """A context that checks the broker's certificate and name; raises `InputError` for a bad authority's file."""
        try:
            return ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        except OSError as error:  # SSLError is one
            raise InputError(
                f"cannot read an authority from {self.ca} ({error}): set --mqtt-ca to a PEM file of certificates"
            ) from error


def parse_broker(url: str, ca: Path | None, environment: Mapping[str, str], allow_plain_password: bool) -> Broker:
    """The broker at `url` (mqtt://HOST[:PORT] or mqtts://HOST[:PORT]), with the credentials of `environment`.

    Raises `InputError` for anything else, and for a password that would cross a network unencrypted.
    """
    expected = "expected mqtt://HOST[:PORT], or mqtts://HOST[:PORT] with TLS: set --mqtt"
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
        if host is not None:
            host.encode("idna")
    except ValueError as error:  # UnicodeError is one
        raise InputError(f"{_without_credentials(url)!r} is no broker ({error}): {expected}") from error
    if parts.username is not None or parts.password is not None:
        raise InputError(
            "the broker's URL holds a user or password, which every user of this machine can read in the list of "
            f"processes: put them into the environment as {USER} and {PASSWORD}"
        )
    if parts.scheme not in _PORTS or not host or port == 0 or parts.path not in ("", "/") or parts.query:
        raise InputError(f"{url!r} is no broker: {expected}")
    tls = parts.scheme == "mqtts"
    if ca is not None and not tls:
        raise InputError(f"--mqtt-ca is for TLS, but the broker is {url}: use mqtts://")
    user, password = environment.get(USER) or None, environment.get(PASSWORD) or None
    if password is not None and user is None:
        raise InputError(f"{PASSWORD} is set but {USER} is not: set both, or neither")
    if password is not None and not tls and not allow_plain_password and not _is_loopback(host):
        raise InputError(
            f"the password would cross the network to {host} unencrypted: use mqtts://{host}, "
            "or --mqtt-allow-plain-password where everyone on the network may know it"
        )
    return Broker(host, port or _PORTS[parts.scheme], tls, ca, user, password)


def listener_name(wanted: str | None) -> str:
    """The name in topics: `wanted`, or one made of the host's name.

    Raises `InputError` for a name with characters that Home Assistant does not allow in a topic.
    """
    if wanted is None:
        return re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname().split(".")[0]).strip("-")[:64] or "tinyscene"
    if not _NAME.fullmatch(wanted):
        raise InputError(f"MQTT name {wanted!r} is not 1 to 64 of A-Z a-z 0-9 _ -: set --mqtt-name")
    return wanted


def topic_prefix(wanted: str) -> str:
    """`wanted` if messages may be published under it; raises `InputError` for wildcards and empty levels."""
    if not wanted or any(character in wanted for character in "+#\0") or "" in wanted.split("/"):
        raise InputError(
            f"discovery prefix {wanted!r} is no topic: set --mqtt-discovery-prefix (default homeassistant)"
        )
    return wanted


def client_id(name: str, root: Path = Path("/")) -> str:
    """An identity that stays the same on one machine and differs between two, also if they have the same name.

    The machine's own identity is hashed, as machine-id(5) asks for.
    """
    try:
        machine = (root / "etc/machine-id").read_text().strip()
    except OSError:
        machine = socket.gethostname()
    return f"tinyscene-{name}-{hashlib.sha256(f'tinyscene:{machine}'.encode()).hexdigest()[:8]}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without_credentials(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//...@", url)
