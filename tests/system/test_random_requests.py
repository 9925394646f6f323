"""Random requests, as bytes: the writer and a follower, with a query string and without, give the same answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from hashlib import sha256

import pytest
from door_builders import KEY, Answer, Door, doors
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "BREW", "")
PATHS = (
    "/compras", "/compras/", "/compras/x", "/compras/x/eventos", "/usuarios/1", "/usuarios/+1", "/usuarios/1/recargas",
    "/tokens", "/tokens/101", "/tokens/1_0_1", "/altas/x", "/operador", "/livez", "/web/app.js", "/web/..%2fx", "/nada",
    "//compras", "/compras%2Fx", "/%C3%B1", "/%ff", "*", "compras", "http://evil.example/compras", "/openapi.json",
    "http://localhost/compras", "http://u@localhost/", "ftp://localhost/", "/compras#x", "/usuarios%2f1", "/./compras",
)  # fmt: skip
HEADERS = (
    "Content-Type: application/json", "Content-Type: application/json; charset=utf-8", "content-type:text/plain",
    "Accept: */*", "Accept-Encoding: gzip", "Prefer: wait=1", "Prefer: wait=-1", "Prefer: respond-async, wait=\"1\"",
    "Idempotency-Key: a b", "Idempotency-Key: \xf1", "Idempotency-Key:", "Expect: 100-continue", "TE: trailers",
    f"Authorization: Bearer {KEY}", "Authorization: Bearer wrong", "Authorization: Basic eDp4", "Cookie: zoco=1",
    "Content-Encoding: gzip", "Content-Encoding: identity", "Connection: Upgrade", "Upgrade: h2c", "Origin: null",
    "Origin: http://localhost", "If-None-Match: *", "Range: bytes=0-1", "X-Zoco-Replica: 1.00",
    "X-Zoco-Client: 6.6.6.6", "X-Forwarded-For: 6.6.6.6", "Last-Event-ID: x", "Bad Name: x", "X: \x7f",
    "Host: localhost", "If-Match: *", "If-Unmodified-Since: x", "Content-Range: bytes 0-1/2", "Accept: text/html;q=0",
)  # fmt: skip
NUMBERS = st.one_of(st.integers(-1, 2**64), st.floats(), st.text(max_size=3), st.none(), st.booleans())
FIELDS = st.dictionaries(st.sampled_from(["usuarioId", "tokenId", "precioMaximo", "nombre", "saldo", "monto"]), NUMBERS)
BODIES = st.one_of(
    st.just(b""),
    st.just(b'{"usuarioId": 1, "tokenId": 101}'),
    st.just(b'{"usuarioId": 1, "usuarioId": 2, "tokenId": 101}'),
    st.just(b'{"nombre": "Ana", "saldo": 5}'),
    st.just(b'{"monto": 5}'),
    FIELDS.map(lambda found: json.dumps(found).encode()),
    st.lists(FIELDS, max_size=3).map(lambda found: json.dumps(found).encode()),
    st.binary(max_size=64),
    st.just(b"[" * 5_000),
    st.just(b'{"usuarioId": 1, "tokenId": 101}'.ljust(20_000)),
)
REQUESTS = st.tuples(
    st.sampled_from(METHODS),
    st.sampled_from(PATHS),
    st.lists(st.sampled_from(HEADERS), max_size=5),
    BODIES,
    st.booleans(),
)
Request = tuple[str, str, list[str], bytes, bool]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Door]]:
    with doors(tmp_path_factory.mktemp("doors")) as found:
        yield found


async def answers(both: dict[str, Door], request: Request) -> list[tuple[str, Answer]]:
    method, path, headers, body, chunked = request
    lines = list(headers)
    if not any(line.startswith("Idempotency-Key") for line in lines):
        # Without one each would be a purchase of its own; and no other request's.
        lines.append(f"Idempotency-Key: {sha256(repr(request).encode()).hexdigest()}")
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked and body else b"0\r\n\r\n" if chunked else body
    lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}")
    head = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
    ways = [(name, query) for name in both for query in ("", "?desde=0")]
    found = await asyncio.gather(*(both[name].ask_raw(f"{method} {path}{query}", head, sent) for name, query in ways))
    return [(name + query, answer) for (name, query), answer in zip(ways, found, strict=True)]


def same(both: dict[str, Door], request: Request) -> None:
    (way, first), *others = asyncio.run(answers(both, request))
    assert first[0].startswith("HTTP/1.1 ") and " 500 " not in first[0], first
    for other, answer in others:
        assert answer == first, (way, other)


# A stream has no end, and the page tells each address its own.
def ends(request: Request) -> bool:
    return "eventos" not in request[1] or request[0] != "GET"


@settings(max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(request=REQUESTS.filter(ends))
# What ten thousand found.
@example(("GET", "compras", [], b"", False))
@example(("GET", "/compras%2Fx", [], b'{"usuarioId": 1, "tokenId": 101}', False))
@example(("GET", "/compras/x", [], b" " * 20_000, False))
@example(("GET", "/compras/x", ["Expect: 100-continue"], b"", False))
@example(("GET", "/web/app.js", ["Accept-Encoding: gzip"], b" " * 20_000, False))
def test_a_random_request_has_one_answer(both: dict[str, Door], request: Request) -> None:
    same(both, request)


@pytest.mark.long
@settings(max_examples=10_000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(request=REQUESTS.filter(ends))
def test_ten_thousand_random_requests_have_one_answer_each(both: dict[str, Door], request: Request) -> None:
    same(both, request)
