"""HTTP/1.1 by hand: what a client would put right, hide or refuse to send goes over the wire as it is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from patience import PATIENCE_SECONDS

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def __getitem__(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    @property
    def problem(self) -> Any:
        """The body, which is one (RFC 9457)."""
        assert self["content-type"] == "application/problem+json", self
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        return problem


class Wire:
    """A connection. Use it as `async with`."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url)

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._place.hostname, self._place.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        version: str = "1.1",
    ) -> Answer:
        self.send(method, target, headers or {}, body, version)
        return await self.answer(method)

    def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes, version: str) -> None:
        sent = {"Host": self._place.netloc, **headers}
        if body or method in ("POST", "PUT"):
            sent["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self._writer.write(f"{method} {target} HTTP/{version}\r\n{head}\r\n".encode() + body)

    async def answer(self, method: str = "GET") -> Answer:
        """To the last request. One whose length is not said ends with its connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await self.head()
            if method == "HEAD" or answer.status in (204, 304):
                return answer
            return Answer(answer.status, answer.headers, await self._body(answer))

    async def head(self) -> Answer:
        """Its body is not read yet."""
        said = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in said[1:] if line)]
        return Answer(int(said[0].split()[1]), headers, b"")

    async def some(self, size: int) -> bytes:
        return await self._reader.readexactly(size)

    async def _body(self, answer: Answer) -> bytes:
        if "content-length" in answer:
            return await self._reader.readexactly(int(answer["content-length"]))
        if "transfer-encoding" not in answer:
            return await self._reader.read()
        pieces = []
        while size := int(await self._reader.readline(), 16):
            pieces.append((await self._reader.readexactly(size + 2))[:-2])
        await self._reader.readline()
        return b"".join(pieces)


async def ask(url: str, method: str, target: str, *more: Any, **options: Any) -> Answer:
    async with Wire(url) as wire:
        return await wire.ask(method, target, *more, **options)
