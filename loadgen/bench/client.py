"""A buyer who asks as fast as the answers come: keep-alive connections, and nothing done that need not be.

A client on aiohttp costs 72 µs a request, which is most of what a front door costs: it would measure itself.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlsplit

CONNECTIONS: Final = 64
HEAD_END: Final = b"\r\n\r\n"
LENGTH: Final = b"\r\ncontent-length: "
CLOSE: Final = b"\r\nconnection: close"


@dataclass(slots=True)
class Observed:
    """What came of the requests: how often each status, and in how many seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    # The body of the last answer that was no success: it says what is wrong.
    refusal: bytes = b""


def request(method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
    """An HTTP/1.1 request with a JSON body, as it travels."""
    raw = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(raw)}"]
    lines += ["Content-Type: application/json"] if raw else []
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + HEAD_END + raw


async def send(url: str, requests: Iterable[bytes], connections: int = CONNECTIONS) -> Observed:
    """Send them all, one after the other on each connection. One whose connection is lost is sent again.

    Raises OSError when there is nobody to connect to.
    """
    parts = urlsplit(url)
    observed = Observed()
    left = iter(requests)
    started = time.perf_counter()
    await asyncio.gather(*(_caller(parts.hostname or "", parts.port or 80, left, observed) for _ in range(connections)))
    observed.seconds = time.perf_counter() - started
    return observed


async def _caller(host: str, port: int, left: Iterator[bytes], observed: Observed) -> None:
    loop = asyncio.get_running_loop()
    unanswered: bytes | None = None
    while True:
        unanswered = unanswered or next(left, None)
        if unanswered is None:
            return
        ended: asyncio.Future[bytes | None] = loop.create_future()
        first = unanswered
        await loop.create_connection(lambda: _Connection(first, left, observed, ended), host, port)  # noqa: B023
        unanswered = await ended


class _Connection(asyncio.Protocol):
    """One connection: the next request goes out when an answer is in."""

    def __init__(
        self, first: bytes, left: Iterator[bytes], seen: Observed, ended: asyncio.Future[bytes | None]
    ) -> None:
        self._asked: bytes | None = first
        self._left = left
        self._seen = seen
        self._ended = ended
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert self._asked is not None
        # uvloop's are transports without being of that class.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._asked)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer = buffer = self._buffer + data if self._buffer else data
        head = buffer.find(HEAD_END)
        if head < 0:
            return
        at = buffer.lower().find(LENGTH, 0, head) if LENGTH not in buffer else buffer.find(LENGTH)
        end = head + len(HEAD_END) + int(buffer[at + len(LENGTH) : buffer.find(b"\r", at + len(LENGTH))])
        if len(buffer) < end:
            return
        self._buffer = b""
        status = int(buffer[9:12])
        self._seen.statuses[status] += 1
        if status >= 400:
            self._seen.refusal = buffer[head + len(HEAD_END) : end]
        if CLOSE in buffer[:head].lower():
            self._asked = None
            self._transport.close()
            return
        self._asked = next(self._left, None)
        if self._asked is None:
            self._transport.close()
        else:
            self._transport.write(self._asked)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(self._asked)
