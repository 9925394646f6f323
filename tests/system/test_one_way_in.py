"""The same request, asked of the writer and of a follower, with a query string and without: one answer."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from patience import END_SECONDS, wait_until
from shop_builders import answers

from ops.process import free_port
from ops.supervisor import GUARDED, SERVER_OPTIONS

PROGRAM = Path(__file__).with_name("raising_program.py")
KEY = "the-operators-key-of-this-test"
JSON = {"Content-Type": "application/json"}
OPERATOR = {**JSON, "Authorization": f"Bearer {KEY}"}
GOOD = b'{"usuarioId": 1, "tokenId": 101}'


@dataclass(frozen=True)
class Door:
    port: int
    log: Path

    async def ask(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[str, set[str], bytes]:
        """The status line, the headers but for the hour, and the body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        sent = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        answer = await reader.read()
        writer.close()
        said, _, content = answer.partition(b"\r\n\r\n")
        status, *lines = said.decode().split("\r\n")
        return status, {line for line in lines if not line.startswith("date:")}, content

    async def hang_up(self, method: str, target: str, headers: dict[str, str]) -> None:
        """In mid-body."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(
            f'{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n{head}\r\n{{"nom'.encode()
        )
        await writer.drain()
        # It has read this much, and waits for more.
        await self.ask("GET", "/livez", {}, b"")
        writer.close()
        await writer.wait_closed()


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Door]]:
    """A compras that writes and one that follows it, each with a log of another style. Their broker is away."""
    folder = tmp_path_factory.mktemp("doors")
    broker = f"amqp://x:x@127.0.0.1:{free_port()}/"
    processes, found = [], {}
    try:
        for name, style in (("writer", "json"), ("follower", "console")):
            door = found[name] = Door(free_port(), folder / f"{name}.log")
            url = f"http://127.0.0.1:{door.port}"
            env = {
                **{name: value for name, value in os.environ.items() if not name.startswith("ZOCO_")},
                "ZOCO_DATA": str(folder / "compras"),
                "ZOCO_PUBLIC_URL": url,
                "ZOCO_RABBITMQ_URL": broker,
                "ZOCO_OPERATOR_TOKEN": KEY,
                "ZOCO_LOG": style,
            }
            words = [sys.executable, str(PROGRAM), "services.compras.main:app", "--port", str(door.port)]
            with door.log.open("wb") as log:
                processes.append(subprocess.Popen([*words, *SERVER_OPTIONS, *GUARDED], env=env, stdout=log, stderr=log))
            wait_until(lambda url=url: answers(f"{url}/livez"), f"the {name} does not start")  # type: ignore[misc]
            if name == "writer":
                wait_until(lambda: "this process writes" in found["writer"].log.read_text(), "nobody writes")
        yield found
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(END_SECONDS)


def buys(usuario: int) -> bytes:
    return b'{"usuarioId": %d, "tokenId": 101}' % usuario


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/compras", {**JSON, "Idempotency-Key": "one for all"}, GOOD, 202),
        ("POST", "/compras", {"Content-Type": "text/plain"}, GOOD, 415),
        ("POST", "/compras", {}, GOOD, 415),
        ("POST", "/compras", JSON, b"", 422),
        ("POST", "/compras", JSON, b"{", 422),
        ("POST", "/compras", JSON, b'{"usuarioId": "1", "tokenId": 101, "precio": 1}', 422),
        ("POST", "/compras", JSON, GOOD.ljust(20_000), 413),
        ("POST", "/compras", {**JSON, "Idempotency-Key": "a\tb"}, GOOD, 400),
        ("POST", "/compras", JSON, buys(404), 404),
        ("POST", "/compras", JSON, buys(410), 410),
        ("POST", "/compras", OPERATOR, buys(500), 500),
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
    doors: dict[str, Door], method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    first = await doors["writer"].ask(method, path, headers, body)
    assert f" {status} " in first[0], first
    assert (status < 400) is ("content-type: application/problem+json" not in first[1])
    assert ('www-authenticate: Bearer realm="zoco"' in first[1]) is (status == 401)
    for door in doors.values():
        for query in ("", "?x=1"):
            assert await door.ask(method, path + query, headers, body) == first, (door, query)


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [("POST", "/compras", JSON), ("POST", "/compras?x", JSON), ("PUT", "/usuarios/1", OPERATOR)],
)
async def test_who_hangs_up_in_mid_body_leaves_nothing_in_the_log(
    doors: dict[str, Door], method: str, target: str, headers: dict[str, str]
) -> None:
    for door in doors.values():
        before = len(door.log.read_bytes())
        await door.hang_up(method, target, headers)
        # Whoever asks after them is answered after they were noticed.
        for _ in range(3):
            await door.ask("GET", "/livez", {}, b"")
        said = door.log.read_bytes()[before:].decode()
        assert "Traceback" not in said and "ClientDisconnect" not in said, said
        assert said.count("\n") <= 1, said


async def test_a_bug_is_told_once_in_the_log_and_without_the_key(doors: dict[str, Door]) -> None:
    writer = doors["writer"]
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


async def test_a_front_door_that_was_given_no_broker_says_so_and_takes_nothing(tmp_path: Path) -> None:
    """`uvicorn main:app` in services/compras: it holds the lock, and there is nobody to sell."""
    door = Door(free_port(), tmp_path / "alone.log")
    url = f"http://127.0.0.1:{door.port}"
    own = {name: value for name, value in os.environ.items() if not name.startswith("ZOCO_")}
    env = {**own, "ZOCO_DATA": str(tmp_path / "compras"), "ZOCO_PUBLIC_URL": url, "ZOCO_OPERATOR_TOKEN": KEY}
    words = (sys.executable, "-m", "uvicorn", "services.compras.main:app", "--port", str(door.port))
    with door.log.open("wb") as log:
        process = subprocess.Popen(words, env=env, stdout=log, stderr=log)
    try:
        wait_until(lambda: "this process writes" in door.log.read_text("utf-8"), "it does not start")
        for method, target, headers, body in (
            ("POST", "/compras", JSON, GOOD),
            ("POST", "/compras?x", JSON, GOOD),
            ("PUT", "/usuarios/1", OPERATOR, b'{"nombre": "Ana"}'),
        ):
            status, _, told = await door.ask(method, target, headers, body)
            assert status == "HTTP/1.1 503 Service Unavailable" and b"ZOCO_RABBITMQ_URL" in told, (target, told)
        status, _, told = await door.ask("GET", "/compras", {}, b"")
        assert (status, told) == ("HTTP/1.1 200 OK", b"[]")
    finally:
        process.terminate()
        process.wait(END_SECONDS)
