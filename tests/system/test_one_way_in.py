"""The same request, asked of the writer and of a follower, with a query string and without: one answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from door_builders import JSON, KEY, OPERATOR, Door, door, doors
from patience import PATIENCE_SECONDS, eventually, wait_until

from broker.messages import compra_id

GOOD = b'{"usuarioId": 1, "tokenId": 101}'
TOKEN = '{"id": %d, "nombre": "Uno", "imagen": "uno.png", "precio": 1}'
# As long as anybody may wait.
WAIT = 60
TWO = f"[{TOKEN % 901}, {TOKEN % 902}]".encode()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Door]]:
    with doors(tmp_path_factory.mktemp("doors")) as found:
        yield found


def buys(usuario: int) -> bytes:
    return b'{"usuarioId": %d, "tokenId": 101}' % usuario


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/compras", {**JSON, "Idempotency-Key": "one-for-all"}, GOOD, 202),
        ("POST", "/compras", {"Content-Type": "text/plain"}, GOOD, 415),
        ("POST", "/compras", {}, GOOD, 415),
        ("POST", "/compras", JSON, b"", 422),
        ("POST", "/compras", JSON, b"{", 422),
        ("POST", "/compras", JSON, b'{"usuarioId": "1", "tokenId": 101, "precio": 1}', 422),
        ("POST", "/compras", JSON, GOOD.ljust(20_000), 413),
        ("POST", "/compras", {**JSON, "Idempotency-Key": "a\tb"}, GOOD, 400),
        ("POST", "/compras", {**JSON, "Idempotency-Key": "k"}, buys(404), 404),
        ("POST", "/compras", {**JSON, "Idempotency-Key": "k"}, buys(410), 410),
        ("POST", "/compras", {**OPERATOR, "Idempotency-Key": "k"}, buys(500), 500),
        ("POST", "/compras", {**JSON, "Idempotency-Key": "k", "Prefer": "wait=1"}, buys(410), 410),
        ("POST", "/compras", {**JSON, "Idempotency-Key": "a b"}, GOOD, 400),
        ("POST", "/compras", {**JSON, "Idempotency-Key": "\xf1"}, GOOD, 400),
        ("POST", "/compras", {**JSON, "Idempotency-Key": "w", "Prefer": "wait=1"}, GOOD, 202),
        ("POST", "/compras", {**JSON, "Idempotency-Key": "x", "X-Zoco-Forwarded": "1"}, GOOD, 202),
        ("POST", "/compras", {**JSON, "Idempotency-Key": "x", "X-Zoco-Replica": f"1.{'0' * 64}"}, GOOD, 403),
        ("GET", "/altas/nada", {"X-Zoco-Replica": f"1.{'0' * 64}"}, b"", 403),
        ("GET", "/compras/nada", {"X-Zoco-Replica": "1"}, b"", 403),
        ("GET", "/altas/nada", OPERATOR, b"", 404),
        ("PUT", "/usuarios/1", {**OPERATOR, "Idempotency-Key": "ana", "Prefer": "wait=1"}, b'{"nombre": "Ana"}', 202),
        ("PUT", "/usuarios/1", {**OPERATOR, "Idempotency-Key": "a b"}, b'{"nombre": "Ana"}', 400),
        ("POST", "/tokens", {**OPERATOR, "Idempotency-Key": "two", "Prefer": "wait=1"}, TWO, 202),
        ("DELETE", "/compras", {}, b"", 405),
        ("GET", "/nada", {}, b"", 404),
        ("GET", "/compras/nada", {}, b"", 404),
        ("GET", "/altas/nada", {}, b"", 401),
        ("PUT", "/usuarios/1", JSON, b"{}", 401),
        ("PUT", "/usuarios/1", {**JSON, "Authorization": "Bearer wrong"}, b"{}", 401),
        ("PUT", "/usuarios/1", OPERATOR, b"{}", 422),
        ("PUT", "/usuarios/0", OPERATOR, b'{"nombre": "Ana"}', 422),
        ("PUT", "/usuarios/1", OPERATOR, b'{"nombre": "Ana"}'.ljust(20_000), 413),
        ("GET", "/usuarios", {}, b"", 503),
    ],
)
async def test_one_request_has_one_answer(
    both: dict[str, Door], method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    first = await both["writer"].ask(method, path, headers, body)
    assert f" {status} " in first[0], first
    assert (status < 400) is ("content-type: application/problem+json" not in first[1])
    assert ('www-authenticate: Bearer realm="zoco"' in first[1]) is (status == 401)
    for one in both.values():
        for query in ("", "?x=1"):
            assert await one.ask(method, path + query, headers, body) == first, (one, query)


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [("POST", "/compras", JSON), ("POST", "/compras?x", JSON), ("PUT", "/usuarios/1", OPERATOR)],
)
async def test_who_hangs_up_in_mid_body_leaves_nothing_in_the_log(
    both: dict[str, Door], method: str, target: str, headers: dict[str, str]
) -> None:
    for one in both.values():
        before = len(one.log.read_bytes())
        await one.hang_up(method, target, headers)
        # Whoever asks after them is answered after they were noticed.
        for _ in range(3):
            await one.ask("GET", "/livez", {})
        said = one.log.read_bytes()[before:].decode()
        assert "Traceback" not in said and "ClientDisconnect" not in said, said
        assert said.count("\n") <= 1, said


@pytest.mark.parametrize("target", ["/web/app.js", "/swagger/swagger-ui-bundle.js", "/", "/compras", "/openapi.json"])
async def test_what_comes_along_with_a_get_means_nothing(both: dict[str, Door], target: str) -> None:
    """However long it is (RFC 9110, section 9.3.1), and whether there is room for it before the answer begins."""
    for one in both.values():
        before = len(one.log.read_bytes())
        for query in ("", "?desde=0"):
            for accepted in ("gzip", "identity"):
                plain = await one.ask("GET", target + query, {"Accept-Encoding": accepted})
                assert " 200 " in plain[0], plain
                assert await one.ask("GET", target + query, {"Accept-Encoding": accepted}, b" " * 20_000) == plain
        assert "Traceback" not in one.log.read_bytes()[before:].decode()


async def test_what_comes_along_with_a_stream_is_dropped_and_more_ends_it(both: dict[str, Door]) -> None:
    for one in both.values():
        before = len(one.log.read_bytes())
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(b"GET /eventos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n" + b" " * 20_000)
        assert b" 200 " in await reader.readuntil(b"event: inicio")
        # As much as of any body that nobody wants.
        with suppress(ConnectionError):
            for _ in range(100):
                writer.write(b" " * 100_000)
                await writer.drain()
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) is not None
        writer.close()
        for _ in range(3):
            await one.ask("GET", "/livez", {})
        assert "Traceback" not in one.log.read_bytes()[before:].decode()


async def test_a_key_behind_the_body_is_none(both: dict[str, Door]) -> None:
    body = b"%x\r\n%s\r\n0\r\nIdempotency-Key: behind\r\nX-Zoco-Replica: 1\r\n\r\n" % (len(GOOD), GOOD)
    head = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    for one in both.values():
        status, lines, _ = await one.ask_raw("POST /compras", head, body)
        assert " 202 " in status and "idempotency-key: behind" not in lines, (status, lines)


async def test_who_speaks_http_1_0_is_asked_for_no_body(both: dict[str, Door]) -> None:
    for one in both.values():
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        head = b"POST /compras HTTP/1.0\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(GOOD))
        await writer.drain()
        # It waits for the body by now.
        await one.ask("GET", "/livez", {})
        writer.write(GOOD)
        said = await reader.read()
        writer.close()
        assert b" 202 " in said.partition(b"\r\n")[0] and b" 100 " not in said, said


async def test_a_bug_is_told_once_in_the_log_and_without_the_key(both: dict[str, Door]) -> None:
    writer = both["writer"]
    before = len(writer.log.read_bytes())
    for target in ("/compras", "/compras?x"):
        assert " 500 " in (await writer.ask("POST", target, OPERATOR, buys(500)))[0]

    def told() -> str:
        return writer.log.read_bytes()[before:].decode()

    # A line of the log is not waited for by whoever writes it.
    wait_until(lambda: told().count("RuntimeError: a bug") == 2, told)
    said = told()
    assert said.count("RuntimeError: a bug") == said.count("a bug in the service") == 2, said
    assert KEY not in said


@pytest.mark.parametrize("name", ["writer", "follower"])
async def test_who_hangs_up_waits_no_longer_for_the_end(both: dict[str, Door], name: str) -> None:
    log = both[name].log
    told = log.read_text()
    for number in range(3):
        _, stream = await asyncio.open_connection("127.0.0.1", both[name].port)
        head = f"POST /compras HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nPrefer: wait={WAIT}\r\n"
        head += f"Idempotency-Key: {name}-{number}\r\nContent-Length: {len(GOOD)}\r\n\r\n"
        stream.write(head.encode() + GOOD)
        # It is accepted, and waited for.
        while (await both[name].ask("GET", f"/compras/{compra_id(1, f'{name}-{number}')}", {}))[0] != "HTTP/1.1 200 OK":
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        stream.transport.abort()
    gone, ended = time.monotonic(), log.with_name("ended")
    asked = [compra_id(1, f"{name}-{number}") for number in range(3)]

    async def over() -> bool:
        return ended.exists() and all(one in ended.read_text() for one in asked)

    await eventually(over, "they are waited for")
    assert time.monotonic() - gone < WAIT / 2, "nobody is there any more"
    assert log.read_text().removeprefix(told).count("Traceback") == 0 and '"error"' not in log.read_text()[len(told) :]


@pytest.mark.parametrize("name", ["writer", "follower"])
@pytest.mark.parametrize(
    ("request_line", "body", "says"),
    [("POST /usuarios/7/recargas", b'{"monto": 5}', "/altas/"), ("POST /tokens", TWO, "2 tokens")],
)
async def test_an_entry_is_told_of_whoever_hangs_up(
    both: dict[str, Door], name: str, request_line: str, body: bytes, says: str
) -> None:
    """Who adds to a user's money with a stolen key leaves a trace, though they wait for the end and then do not."""
    log = both[name].log
    before = len(log.read_bytes())
    sent = {
        **OPERATOR,
        "Idempotency-Key": f"{name}-{len(body)}",
        "Prefer": f"wait={WAIT}",
        "Content-Length": str(len(body)),
    }
    head = "".join(f"{header}: {value}\r\n" for header, value in {"Host": "localhost", **sent}.items())
    _, stream = await asyncio.open_connection("127.0.0.1", both[name].port)
    stream.write(f"{request_line} HTTP/1.1\r\n{head}\r\n".encode() + body)

    def told() -> list[str]:
        lines = log.read_bytes()[before:].decode().splitlines()
        return [line for line in lines if "an operator's entry" in line]

    try:
        wait_until(lambda: len(told()) == 1, told)
    finally:
        stream.transport.abort()
    assert says in told()[0] and "127.0.0.1" in told()[0]


async def test_a_front_door_that_was_given_no_broker_says_so_and_takes_nothing(tmp_path: Path) -> None:
    """`uvicorn main:app` in services/compras: it holds the lock, and there is nobody to sell."""
    with door(tmp_path, "alone", ZOCO_RABBITMQ_URL="") as alone:
        wait_until(lambda: "this process writes" in alone.log.read_text("utf-8"), "it does not start")
        for method, target, headers, body in (
            ("POST", "/compras", JSON, GOOD),
            ("POST", "/compras?x", JSON, GOOD),
            ("PUT", "/usuarios/1", OPERATOR, b'{"nombre": "Ana"}'),
        ):
            status, _, said = await alone.ask(method, target, headers, body)
            assert status == "HTTP/1.1 503 Service Unavailable" and b"ZOCO_RABBITMQ_URL" in said, (target, said)
        status, _, said = await alone.ask("GET", "/compras", {})
        assert (status, said) == ("HTTP/1.1 200 OK", b"[]")
