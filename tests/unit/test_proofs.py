"""What proves that a replica has passed a request on, and that another has answered it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from services.compras.replicas import FRESH_SECONDS, PROOF, Passed, answer_proof, passed_on

SECRET, OTHER = b"a secret of the shop", b"another one"
HEADERS = [(b"content-type", b"application/json"), (b"idempotency-key", b"k")]
PASSED = Passed("http://10.0.0.1:8000", "PUT", b"/usuarios/1?x=%F1", HEADERS, b'{"nombre": "Ana"}')


def proof(seconds_ago: float = 0) -> bytes:
    return PASSED.proof(SECRET, time.time_ns() - int(seconds_ago * 1e9))


def test_what_was_signed_holds() -> None:
    assert PASSED.holds(SECRET, proof())
    assert PASSED.holds(SECRET, proof(-FRESH_SECONDS / 2))


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://10.0.0.2:8000"},
        {"method": "POST"},
        {"target": b"/usuarios/2?x=%F1"},
        {"headers": HEADERS[:1]},
        {"headers": [HEADERS[0], (b"idempotency-key", b"l")]},
        # Cut elsewhere, the bytes of all parts together are the same.
        {"headers": [HEADERS[0], (b"idempotency-key", b'k{"nombre"')], "body": b': "Ana"}'},
        {"body": b'{"nombre": "Eva"}'},
    ],
    ids=str,
)
def test_for_nothing_else_it_holds(change: dict[str, Any]) -> None:
    assert not replace(PASSED, **change).holds(SECRET, proof())


@pytest.mark.parametrize("seconds_ago", [FRESH_SECONDS + 1, -FRESH_SECONDS - 1])
def test_it_does_not_hold_at_another_time(seconds_ago: float) -> None:
    assert not PASSED.holds(SECRET, proof(seconds_ago))


@pytest.mark.parametrize("told", [b"", b".", b"1.", b"\xff", b"1." + b"0" * 64, b"9" * 30 + b"." + b"0" * 64])
def test_what_is_no_proof_does_not_hold(told: bytes) -> None:
    assert not PASSED.holds(SECRET, told)
    assert not PASSED.holds(OTHER, proof())


def test_another_time_written_to_it_does_not_hold() -> None:
    _, _, signature = proof(FRESH_SECONDS + 1).partition(b".")
    assert not PASSED.holds(SECRET, b"%d.%b" % (time.time_ns(), signature))


def test_an_answer_is_to_one_request_and_all_that_is_passed_on_of_it_is_signed() -> None:
    headers, asked = [(b"location", b"/compras/1")], proof()
    one = answer_proof(SECRET, asked, 202, headers, b"{}")
    others = [
        answer_proof(OTHER, asked, 202, headers, b"{}"),
        answer_proof(SECRET, proof(1), 202, headers, b"{}"),
        answer_proof(SECRET, asked, 200, headers, b"{}"),
        answer_proof(SECRET, asked, 202, [(b"location", b"/compras/2")], b"{}"),
        answer_proof(SECRET, asked, 202, headers, b"[]"),
        # A request is no answer.
        asked.partition(b".")[2],
    ]
    assert one not in others


def test_of_an_answers_headers_those_of_its_connection_stay_behind() -> None:
    came = [(b"Date", b"today"), (b"Connection", b"close"), (b"Content-Length", b"2"), (PROOF, b"x")]
    stays = [(b"Link", b"<a>"), (b"link", b"<b>"), (b"ETag", b'"1"'), (b"Set-Cookie", b"a=b")]
    assert passed_on([*came, *stays]) == [(name.lower(), value) for name, value in stays]
