"""Who may connect, from headers alone."""

from __future__ import annotations

import pytest

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.live.gate import TOKEN_VARIABLE, make_gate, token_in_cookies


@pytest.mark.parametrize("host", ["127.0.0.1:8737", "localhost:8737", "LOCALHOST", "[::1]:8737"])
def test_loopback_answers_to_its_names(host: str) -> None:
    assert make_gate(None, {}).check_host(host) is None


@pytest.mark.parametrize("host", [None, "", "evil.example:8737", "localhost.evil.example", "192.168.1.9:8737", "[::2]"])
def test_loopback_refuses_other_names(host: str | None) -> None:
    refusal = make_gate(None, {}).check_host(host)
    assert refusal is not None
    assert refusal.status == 421


def test_an_open_page_answers_to_addresses_but_not_to_foreign_names() -> None:
    gate = make_gate("0.0.0.0", {})
    assert gate.check_host("192.168.1.9:8737") is None
    assert gate.check_host("[fe80::1]:8737") is None
    assert gate.check_host("evil.example:8737") is not None


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1:8737", "http://127.0.0.1:1", "null", ""])
def test_pages_of_other_origins_are_refused(origin: str) -> None:
    refusal = make_gate(None, {}).check_origin(origin, "127.0.0.1:8737")
    assert refusal is not None
    assert refusal.status == 403


def test_the_page_itself_and_programs_may_listen() -> None:
    gate = make_gate(None, {})
    assert gate.check_origin("http://127.0.0.1:8737", "127.0.0.1:8737") is None
    assert gate.check_origin(None, "127.0.0.1:8737") is None


def test_a_token_is_wanted_only_beyond_loopback() -> None:
    assert make_gate(None, {TOKEN_VARIABLE: "x"}).check_token(None) is None
    gate = make_gate("0.0.0.0", {})
    assert gate.token is not None
    assert len(gate.token) >= 24
    assert gate.token != make_gate("0.0.0.0", {}).token
    for wrong in (None, "", "x", gate.token[:-1], gate.token + "x", "\u00e9" * 24):
        refusal = gate.check_token(wrong)
        assert refusal is not None
        assert refusal.status == 401
    assert gate.check_token(gate.token) is None


def test_a_token_of_ones_own_is_long_and_plain() -> None:
    assert make_gate("0.0.0.0", {TOKEN_VARIABLE: "abcdefgh-12345678"}).token == "abcdefgh-12345678"
    for bad in ("short", "sixteen chars; x", "\u00e9" * 20):
        with pytest.raises(InputError, match=TOKEN_VARIABLE):
            make_gate("0.0.0.0", {TOKEN_VARIABLE: bad})


def test_the_token_is_found_among_cookies() -> None:
    assert token_in_cookies("a=b; tinyscene_token=xyz; c=d") == "xyz"
    assert token_in_cookies("other_tinyscene_token=xyz") is None
    assert token_in_cookies(None) is None
