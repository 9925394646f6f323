"""Strangers, each with what one of them does: `python attackers.py NAME PORT SECONDS`, from 127.0.0.2 and up.

It says how often it did it. Bounded in count, in time, and to this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import uuid4

MIB: Final = 1024 * 1024
HOST: Final = b"Host: localhost\r\n"
JSON: Final = b"Content-Type: application/json\r\n"
# Whoever is refused waits a little before the next try, as anybody's loop would.
AGAIN_SECONDS: Final = 0.01


class Stranger:
    """One address, until it is over."""

    def __init__(self, port: int, seconds: float, address: str = "127.0.0.2") -> None:
        self.port, self.address = port, address
        self.end = time.monotonic() + seconds
        self.done = 0

    @property
    def over(self) -> bool:
        return time.monotonic() > self.end

    async def connect(self, receives: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        stream = socket.socket()
        if receives is not None:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        stream.bind((self.address, 0))
        stream.setblocking(False)
        await asyncio.get_running_loop().sock_connect(stream, ("127.0.0.1", self.port))
        return await asyncio.open_connection(sock=stream)

    async def send(self, *parts: bytes, read: bool = True) -> bytes:
        """All that is answered, on a connection of its own."""
        self.done += 1
        with contextlib.suppress(OSError):
            reader, writer = await self.connect()
            try:
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                return await asyncio.wait_for(reader.read(), max(0.1, self.end - time.monotonic())) if read else b""
            except TimeoutError:
                pass
            finally:
                writer.transport.abort()
        await asyncio.sleep(AGAIN_SECONDS)
        return b""

    async def got(self, path: str) -> bytes:
        """The body of an answer."""
        return (await self.send(get(path).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).partition(
            b"\r\n\r\n"
        )[2]

    async def asks(self, *requests: bytes, a_second: float = 0) -> None:
        """These requests again and again on one connection at a time, each once the last is answered."""
        while not self.over:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
                reader, writer = await self.connect()
                try:
                    while not self.over:
                        for request in requests:
                            writer.write(request.replace(b"KEY", str(uuid4()).encode()))
                            began = time.monotonic()
                            await asyncio.wait_for(read_answer(reader), 60)
                            self.done += 1
                            if a_second:
                                await asyncio.sleep(max(0, began + 1 / a_second - time.monotonic()))
                except TimeoutError:
                    pass
                finally:
                    writer.transport.abort()
            await asyncio.sleep(AGAIN_SECONDS)

    async def holds(self, count: int, sent: bytes, receives: int | None = None) -> None:
        """So many connections at once on which this was sent and nothing is read; what is closed is opened again."""

        async def one() -> None:
            while not self.over:
                with contextlib.suppress(OSError):
                    reader, writer = await self.connect(receives)
                    self.done += 1
                    writer.write(sent)
                    try:
                        while not self.over and not writer.transport.is_closing() and not reader.at_eof():
                            await asyncio.sleep(0.2)
                            if receives is None:
                                with contextlib.suppress(TimeoutError):
                                    await asyncio.wait_for(reader.read(65536), 0.01)
                    finally:
                        writer.transport.abort()
                await asyncio.sleep(20 * AGAIN_SECONDS)

        await asyncio.gather(*(one() for _ in range(count)))


async def read_answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    await reader.readexactly(size)
    if b"connection: close" in head.lower():
        raise OSError("it was the last answer of this connection")


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\n".encode() + HOST + b"\r\n"


def buys(usuario: int, token: int, *more: bytes, path: bytes = b"/compras") -> bytes:
    body = json.dumps({"usuarioId": usuario, "tokenId": token}).encode()
    head = (
        b"POST " + path + b" HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: %d\r\nIdempotency-Key: KEY\r\n" % len(body)
    )
    return head + b"".join(line + b"\r\n" for line in more) + b"\r\n" + body


async def long_heads(stranger: Stranger) -> None:
    """A1: 32 MB of small headers, a header of 48 MB, a URL of 32 MB, 24 MB of trailers"""
    start = b"GET /livez HTTP/1.1\r\n" + HOST
    chunked = b"POST /compras HTTP/1.1\r\n" + HOST + JSON + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n"
    every = (
        start + b"X: a\r\n" * (32 * MIB // 6),
        start + b"X: " + b"a" * 48 * MIB,
        b"GET /" + b"a" * 32 * MIB,
        chunked + b"T: bbbbbb\r\n" * (24 * MIB // 11),
    )
    while not stranger.over:
        for sent in every:
            await stranger.send(sent)


async def hanging_up(stranger: Stranger) -> None:
    """A2: requests that break off in their bodies, with an operator's credential"""
    for _ in range(100):
        for line in (b"POST /compras?x", b"POST /compras", b"PUT /usuarios/1"):
            head = line + b" HTTP/1.1\r\n" + HOST + JSON + b"Authorization: Bearer a-stranger-who-guesses\r\n"
            await stranger.send(head + b'Content-Length: 99\r\n\r\n{"usu', read=False)


async def half_heads(stranger: Stranger) -> None:
    """A3: 2,000 half-sent heads"""
    await stranger.holds(2_000, b"GET / HTTP/1.1\r\nHo")


async def idle(stranger: Stranger) -> None:
    """A3: 1,500 connections that ask once and stay"""
    await stranger.holds(1_500, get("/livez"))


async def unread(stranger: Stranger) -> None:
    """A3: 150 who do not read their answers"""
    await stranger.holds(150, get("/swagger/swagger-ui-bundle.js") * 20, receives=4096)


async def pipelining(stranger: Stranger) -> None:
    """A1: 5,000 requests in one piece, on 8 connections"""
    await asyncio.gather(*(repeated(stranger, get("/livez") * 5_000) for _ in range(8)))


async def repeated(stranger: Stranger, sent: bytes) -> None:
    while not stranger.over:
        await stranger.send(sent)


async def reading(stranger: Stranger) -> None:
    """A5: 4 callers, together 8 pages of 1,000 purchases a second"""
    await asyncio.gather(*(stranger.asks(get("/compras?limite=1000"), a_second=2) for _ in range(4)))


async def reading_all(stranger: Stranger) -> None:
    """A5: 40 callers of /eventos, each from another record on, /metrics, /openapi.json"""

    async def history(first: int) -> None:
        while not stranger.over:
            await stranger.send(get(f"/eventos?desde={first}"))

    others = (get("/metrics"), get("/openapi.json"), get("/compras?usuarioId=77777"))
    await asyncio.gather(*(history(first) for first in range(40)), *(stranger.asks(*others) for _ in range(6)))


async def searching(stranger: Stranger) -> None:
    """A5: 100 searches for what happened to a finished purchase behind an old record, given up after 10 ms"""
    (first,) = json.loads(await stranger.got("/compras?limite=1"))
    events = f"/compras/{first['id']}/eventos"
    *_, last = re.findall(rb"id: ([0-9]+)", await stranger.got(f"{events}?desde=0"))

    async def search() -> None:
        while not stranger.over:
            _, writer = await stranger.connect()
            writer.write(get(f"{events}?desde={last.decode()}"))
            await asyncio.sleep(AGAIN_SECONDS)
            writer.transport.abort()
            stranger.done += 1
            await asyncio.sleep(100 * AGAIN_SECONDS)

    await asyncio.gather(*(search() for _ in range(100)))


async def listening(stranger: Stranger) -> None:
    """A6: 2,500 listeners of /eventos"""
    await stranger.holds(2_500, get("/eventos"))


async def waiting(stranger: Stranger) -> None:
    """A8: 100 who wait for 30 s for the end of what does not end"""
    await stranger.holds(100, buys(999_999, 999_999, b"Prefer: wait=30"))


async def upgrading(stranger: Stranger) -> None:
    """A9: another protocol is offered, with a request in the body"""
    hidden = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    head = b"POST /compras HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    await stranger.asks(head + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden)


async def buying_nothing(stranger: Stranger) -> None:
    """A16: 615 purchases a second for users and tokens that do not exist"""
    asked = [buys(1_000_000 + number, 1_000_000 + number) for number in range(8)]
    await asyncio.gather(*(stranger.asks(one, a_second=615 / len(asked)) for one in asked))


async def as_fast_as_it_goes(stranger: Stranger) -> None:
    """A16: purchases on 32 connections, as many as are answered"""
    await asyncio.gather(*(stranger.asks(buys(1_000_000 + number, 1_000_000 + number)) for number in range(32)))


ATTACKS: Final[dict[str, Callable[[Stranger], Awaitable[None]]]] = {
    attack.__name__.replace("_", "-"): attack
    for attack in (
        long_heads, hanging_up, half_heads, idle, unread, pipelining, reading, reading_all, searching, listening,
        waiting, upgrading, buying_nothing, as_fast_as_it_goes,
    )
}  # fmt: skip


async def main(arguments: Sequence[str]) -> None:
    name, port, seconds = arguments
    stranger = Stranger(int(port), float(seconds))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(float(seconds)):
            await ATTACKS[name](stranger)
    print(stranger.done)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
