"""What a proxy and the shop could take for two things: a target, a version, a header or a parameter that is there
twice. Asked by raw bytes, of the writer and of a follower."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from door_builders import KEY, Door, doors
from patience import PATIENCE_SECONDS

BUYS = b'{"usuarioId": 1, "tokenId": 101}'
NAMED = b'{"nombre": "Ana"}'
JSON, HOST = "Content-Type: application/json", "Host: localhost"
OPERATOR = f"Authorization: Bearer {KEY}"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Door]]:
    with doors(tmp_path_factory.mktemp("doors")) as found:
        yield found


async def said(one: Door, line: str, *headers: str, body: bytes = b"") -> str:
    """All that is answered. Behind the head comes the body, which nobody waits to be asked for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    try:
        lines = [line, *headers, "Connection: close", *([f"Content-Length: {len(body)}"] if body else [])]
        writer.write("".join(f"{one}\r\n" for one in [*lines, ""]).encode("latin-1") + body)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return (await reader.read()).decode()
    finally:
        writer.close()


def status(answer: str) -> int:
    return int(answer.split(" ", 2)[1])


async def bought(one: Door) -> str:
    return (await said(one, "GET /compras?limite=1000 HTTP/1.1", HOST)).partition("\r\n\r\n")[2]


async def refused(both: dict[str, Door], expected: int, line: str, *headers: str, body: bytes = b"") -> list[str]:
    """By each, and nothing came of it."""
    before, answers = await bought(both["writer"]), []
    for one in both.values():
        answers.append(await said(one, line, *headers, body=body))
        assert status(answers[-1]) == expected, (line, headers, answers[-1])
        assert "application/problem+json" in answers[-1]
    assert await bought(both["writer"]) == before
    return answers


@pytest.mark.parametrize("query", ["", "?x=1"])
@pytest.mark.parametrize(
    ("place", "host", "expected"),
    [
        ("http://evil.example", "Host: localhost", 421),
        ("HTTP://evil.example:80", "Host: localhost", 421),
        ("http://evil.example.", "Host: localhost", 421),
        ("http://localhost", "Host: evil.example", 202),
        ("https://LOCALHOST:8000", "Host: evil.example", 202),
        ("http://[::1]:8000", "Host: evil.example", 202),
        ("http://user:pw@localhost", "Host: localhost", 400),
        ("http://user@localhost", "Host: localhost", 400),
        ("ftp://localhost", "Host: localhost", 400),
        ("http://", "Host: localhost", 400),
        # Whatever it is for, a request has one Host (RFC 9112, section 3.2).
        ("http://localhost", "X: x", 400),
        ("http://localhost", "Host: localhost\r\nHost: localhost", 400),
    ],
)
async def test_a_host_in_the_target_counts_whatever_the_header_says(
    both: dict[str, Door], place: str, host: str, expected: int, query: str
) -> None:
    for one in both.values():
        before = await bought(both["writer"])
        answer = await said(one, f"POST {place}/compras{query} HTTP/1.1", host, JSON, body=BUYS)
        assert status(answer) == expected, answer
        assert (await bought(both["writer"]) == before) is (expected != 202)


async def test_a_target_without_a_path_is_the_page_or_everything(both: dict[str, Door]) -> None:
    for one in both.values():
        page = await said(one, "GET / HTTP/1.1", HOST)
        for place in ("http://localhost", "http://localhost?x=1", "http://localhost/"):
            answer = await said(one, f"GET {place} HTTP/1.1", HOST)
            assert answer.split("date:")[0] == page.split("date:")[0]
        everything = await said(one, "OPTIONS * HTTP/1.1", HOST)
        assert "allow: GET, HEAD, POST, PUT, DELETE, OPTIONS" in everything
        assert "allow: GET, HEAD, POST, PUT, DELETE, OPTIONS" in await said(
            one, "OPTIONS http://a.localhost HTTP/1.1", HOST
        )
        assert "allow: GET, HEAD, OPTIONS" in await said(one, "OPTIONS http://localhost/ HTTP/1.1", HOST)
        # HTTP/1.0 needs no Host, and is asked for one all the same.
        assert status(await said(one, "GET http://localhost/livez HTTP/1.0")) == 200
        assert status(await said(one, "GET http://evil.example/livez HTTP/1.0")) == 421
        # The same with an offer that is not taken: it is read again.
        offer = ("Connection: Upgrade", "Upgrade: h2c")
        assert status(await said(one, "GET http://evil.example/livez HTTP/1.1", HOST, *offer)) == 421


@pytest.mark.parametrize("target", ["/compras#x", "/compras?x=1#x", "/compras#", "http://localhost/compras#x"])
async def test_a_fragment_is_400(both: dict[str, Door], target: str) -> None:
    await refused(both, 400, f"POST {target} HTTP/1.1", HOST, JSON, body=BUYS)
    await refused(both, 400, f"GET {target} HTTP/1.1", HOST)


@pytest.mark.parametrize("query", ["", "?x=1"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/usuarios%2F1", NAMED),
        ("PUT", "/usuarios%2f1", NAMED),
        ("POST", "/operador%2Fcodigos", b""),
        ("POST", "/usuarios/1%2Frecargas", b'{"monto": 5}'),
        ("POST", "%2Fcompras".replace("%", "/%", 1), BUYS),
        ("OPTIONS", "/operador%2Fcodigos", b""),
        ("GET", "/tokens%2F101", b""),
        ("HEAD", "/swagger%2Fswagger-ui.css", b""),
        # These lead nowhere either.
        *(("POST", path, b"") for path in ("/operador%5Ccodigos", "/operador\\codigos", "//operador/codigos")),
        *(("POST", path, b"") for path in ("/./operador/codigos", "/operador//codigos", "/web/../operador/codigos")),
        *(("POST", path, b"") for path in ("/operador;x/codigos", "/operador/codigos;x", "/operador/%2e/codigos")),
        *(
            ("POST", path, b"")
            for path in ("/web/%2e%2e/operador/codigos", "/operador/codigos/", "/operador/codigos%00")
        ),
    ],
)
async def test_a_path_is_what_a_proxy_takes_it_for(
    both: dict[str, Door], method: str, path: str, body: bytes, query: str
) -> None:
    answers = [
        await said(one, f"{method} {path}{query} HTTP/1.1", HOST, JSON, OPERATOR, body=body) for one in both.values()
    ]
    assert [status(answer) for answer in answers] == [404, 404], answers


TWICE = [
    (JSON, JSON, "Content-Type"),
    ("content-type: text/plain", JSON, "Content-Type"),
    (JSON, "CONTENT-TYPE: text/plain", "Content-Type"),
    (OPERATOR, OPERATOR, "Authorization"),
    (OPERATOR, "Authorization: Bearer wrong", "Authorization"),
    ("Last-Event-ID: 1", "Last-Event-ID: x", "Last-Event-Id"),
    ("Range: bytes=0-1", "Range: bytes=2-3", "Range"),
    ("If-Modified-Since: x", "If-Modified-Since: y", "If-Modified-Since"),
    ("Idempotency-Key: x", "Idempotency-Key: x", "Idempotency-Key"),
]


@pytest.mark.parametrize("query", ["", "?x=1"])
@pytest.mark.parametrize(("first", "second", "says"), TWICE)
async def test_a_header_that_says_one_thing_and_is_there_twice_is_400(
    both: dict[str, Door], first: str, second: str, says: str, query: str
) -> None:
    others = [one for one in (JSON, OPERATOR) if one.partition(":")[0] != says]
    for line, body in ((f"POST /compras{query}", BUYS), (f"PUT /usuarios/1{query}", NAMED)):
        for answer in await refused(both, 400, f"{line} HTTP/1.1", HOST, *others, first, second, body=body):
            assert says in answer
    if says == "Last-Event-Id":
        await refused(both, 400, "GET /eventos HTTP/1.1", HOST, first, second)


async def test_a_coding_is_read_from_all_of_its_lines(both: dict[str, Door]) -> None:
    for codings in (("gzip", "identity"), ("identity", "gzip"), ("", "br")):
        lines = [f"Content-Encoding: {one}" for one in codings]
        await refused(both, 415, "POST /compras HTTP/1.1", HOST, JSON, *lines, body=BUYS)
        await refused(both, 415, "PUT /usuarios/1?x HTTP/1.1", HOST, JSON, OPERATOR, *lines, body=NAMED)


@pytest.mark.parametrize(
    ("target", "pointer"),
    [
        ("/compras?usuarioId=1&usuarioId=2", "/query/usuarioId"),
        ("/compras?limite=1&limite=1", "/query/limite"),
        ("/compras?usuario%49d=1&usuarioId=2", "/query/usuarioId"),
        ("/compras?usuarioid=2", "/query/usuarioid"),
        ("/compras?usuarioId=2&x", "/query/x"),
        ("/compras?x=1", "/query/x"),
        ("/compras?", None),
        ("/compras?usuarioId=2&desde=0&limite=5", None),
        ("/eventos?desde=1&desde=2", "/query/desde"),
        ("/eventos?Desde=1", "/query/Desde"),
        ("/compras/x/eventos?desde=1&desde=1", "/query/desde"),
        # Who asks here asks for nothing.
        ("/livez?x=1&x=2", None),
        ("/?utm_source=x", None),
    ],
)
async def test_a_parameter_is_known_and_there_once(both: dict[str, Door], target: str, pointer: str | None) -> None:
    if pointer is None:
        for one in both.values():
            assert status(await said(one, f"GET {target} HTTP/1.1", HOST)) == 200
        return
    for answer in await refused(both, 422, f"GET {target} HTTP/1.1", HOST):
        assert f'"pointer":"{pointer}"' in answer
    await refused(both, 422, f"HEAD {target} HTTP/1.1", HOST)


@pytest.mark.parametrize("query", ["?segundos=1&segundos=2", "?Segundos=1"])
async def test_a_deed_whose_parameter_is_misspelt_is_not_done(both: dict[str, Door], query: str) -> None:
    await refused(both, 422, f"POST /operador/derribos/tokens{query} HTTP/1.1", HOST, OPERATOR)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET /livez HTTP/2.0", 505),
        ("GET /livez HTTP/0.9", 505),
        ("GET /livez", 505),
        ("GET /livez HTTP/1.2", 400),
        ("GET /livez RTSP/1.1", 400),
        ("DESCRIBE /livez RTSP/1.0", 400),
        ("SOURCE /livez ICE/1.0", 400),
        ("BREW /livez HTTP/1.1", 501),
        ("GETX /livez HTTP/1.1", 501),
        ("get /livez HTTP/1.1", 501),
        ("\r\nBREW /livez HTTP/1.1", 501),
        (" /livez HTTP/1.1", 400),
        ("GE(T /livez HTTP/1.1", 400),
        ("HTTP/1.1 200 OK", 400),
        ("\x16\x03\x01\x02", 400),
    ],
)
async def test_another_version_protocol_or_method_is_named(both: dict[str, Door], line: str, expected: int) -> None:
    await refused(both, expected, line, HOST)


CONDITIONS = (
    *(("If-None-Match: *", 412), ('If-None-Match: "x"', 412), ('If-Match: "x"', 412), ("If-Match: *", 412)),
    ("If-Unmodified-Since: Mon, 01 Jan 1990 00:00:00 GMT", 412),
    ("Content-Range: bytes 0-3/16", 400),
)


@pytest.mark.parametrize("query", ["", "?x=1"])
@pytest.mark.parametrize(("condition", "expected"), CONDITIONS)
async def test_what_is_written_is_whole_and_depends_on_nothing(
    both: dict[str, Door], condition: str, expected: int, query: str
) -> None:
    """RFC 9110, sections 13.1 and 14.5: if the condition is not known to hold, nothing is done."""
    for line, body in (
        ("POST /compras", BUYS),
        ("PUT /usuarios/1", NAMED),
        ("POST /usuarios/1/recargas", b'{"monto": 5}'),
        ("PUT /tokens/1", b'{"nombre": "Sol", "imagen": "sol.jpg", "precio": 5}'),
        ("POST /tokens", b'[{"id": 1, "nombre": "Sol", "imagen": "sol.jpg", "precio": 5}]'),
    ):
        answers = await refused(both, expected, f"{line}{query} HTTP/1.1", HOST, JSON, OPERATOR, condition, body=body)
        assert all(condition.partition(":")[0] in answer for answer in answers)
    if expected == 412:
        for line in ("POST /operador/codigos", "POST /operador/sesion", "DELETE /operador/sesion"):
            await refused(both, 412, f"{line}{query} HTTP/1.1", HOST, OPERATOR, condition)
        await refused(both, 412, "POST /operador/derribos/tokens HTTP/1.1", HOST, OPERATOR, condition)
    # What is refused without it is refused as it would be (RFC 9110, section 13.2.1).
    await refused(both, 401, f"PUT /usuarios/1{query} HTTP/1.1", HOST, JSON, condition, body=NAMED)
    await refused(both, 404, f"PUT /nada{query} HTTP/1.1", HOST, JSON, condition, body=NAMED)


@pytest.mark.parametrize("query", ["", "?x=1"])
async def test_a_body_that_is_too_large_is_not_asked_for(both: dict[str, Door], query: str) -> None:
    for length, expected in ((999_999, "HTTP/1.1 413"), (len(BUYS), "HTTP/1.1 100")):
        for one in both.values():
            reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
            head = f"POST /compras{query} HTTP/1.1\r\n{HOST}\r\n{JSON}\r\nExpect: 100-continue\r\n"
            writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode())
            assert (await reader.readline()).decode().startswith(expected), (length, query)
            writer.close()


async def test_what_is_shown_to_a_session_is_kept_by_nobody(both: dict[str, Door]) -> None:
    """A cache that is shared knows of Authorization, and of no cookie (RFC 9111, section 3.5)."""
    for one in both.values():
        entry = await said(both["writer"], "PUT /usuarios/1 HTTP/1.1", HOST, JSON, OPERATOR, body=NAMED)
        (place,) = [line.partition(": ")[2] for line in entry.splitlines() if line.lower().startswith("location:")]
        cookie = await said(one, "POST /operador/sesion HTTP/1.1", HOST, OPERATOR)
        (session,) = [line.partition(": ")[2] for line in cookie.splitlines() if line.lower().startswith("set-cookie:")]
        for target in ("/operador", "/operador?x=1", place, f"{place}?x=1"):
            headers = (HOST, f"Cookie: {session.partition(';')[0]}", "Sec-Fetch-Site: same-origin")
            answer = await said(one, f"GET {target} HTTP/1.1", *headers)
            assert status(answer) == 200, answer
            assert answer.lower().count("cache-control: no-store") == answer.lower().count("cache-control") == 1
