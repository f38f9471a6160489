"""Who may connect to the page: which names it answers to, which pages may open its connection, who has the token.

A page of any other site can make a browser connect to a loopback address. Its requests then carry that site's `Origin`
(RFC 6455, 10.2) or, after the site's name was pointed at this machine (DNS rebinding), that name as `Host`.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InputError

#: Where the page is served unless an address is given.
LOOPBACK = "127.0.0.1"

#: The environment's token, for a page that must keep its address; and the shortest that is taken.
TOKEN_VARIABLE, TOKEN_LENGTH = "TINYSCENE_WEB_TOKEN", 16

#: In which the browser keeps the token, so that it stays in no address and no history.
COOKIE = "tinyscene_token"


@dataclass(frozen=True)
class Refusal:
    """Why somebody is not let in: an HTTP status and a sentence."""

    status: int
    reason: str


@dataclass(frozen=True)
class Gate:
    """Decides on requests from their headers alone."""

    names: frozenset[str]  # hosts that the page answers to, lower case
    any_address: bool  # and to any that is written as numbers
    token: str | None  # None: whoever is on this machine may look

    def check_host(self, host: str | None) -> Refusal | None:
        """Refuse a request for another name (header `Host`) than this machine's."""
        name = _name_of(host or "")
        if name in self.names or (self.any_address and _is_address(name)):
            return None
        return Refusal(421, f"this page is not {host!r}: open it by the address that tinyscene printed")

    def check_origin(self, origin: str | None, host: str | None) -> Refusal | None:
        """Refuse a WebSocket that another page opened; programs that are no browsers send no `Origin`."""
        if origin is None or (host is not None and origin.lower() == f"http://{host}".lower()):
            return None
        return Refusal(403, f"a page of {origin} may not listen here")

    def check_token(self, given: str | None) -> Refusal | None:
        """Refuse a token that is missing or wrong."""
        if self.token is None or (given is not None and self.is_token(given)):
            return None
        return Refusal(401, "the token is missing: open the address that tinyscene printed, with its ?token=")

    def is_token(self, given: str) -> bool:
        """Whether `given` is the token, in a time that does not tell how much of it is right."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())


def make_gate(host: str | None, environ: Mapping[str, str]) -> Gate:
    """The gate of a page on `host`: without one loopback and no token, otherwise a token, made up unless it is set.

    Raises `InputError` for a token in the environment that is too short to keep anybody out.
    """
    names = {"localhost", LOOPBACK, "::1"}
    if host is None:
        return Gate(frozenset(names), False, None)
    token = environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(18)
    if len(token) < TOKEN_LENGTH or not token.isascii() or not all(c.isalnum() or c in "-_" for c in token):
        raise InputError(
            f"{TOKEN_VARIABLE} is {len(token)} characters, expected {TOKEN_LENGTH} or more letters, digits, - and _: "
            "unset it to have one made"
        )
    machine = socket.gethostname().lower()
    names |= {host.lower(), machine, f"{machine}.local", socket.getfqdn().lower()}
    return Gate(frozenset(names), True, token)


def token_in_cookies(header: str | None) -> str | None:
    """The token that a browser sends back in its `Cookie` header."""
    for part in (header or "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return None


def _name_of(host: str) -> str:
    """The name or address in a `Host` header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
