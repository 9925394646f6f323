"""A client of the shop that writes down what it asks, before it asks, and what it is told: the audit's other side."""

from __future__ import annotations

import asyncio
import errno
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import aiohttp
import msgspec
from yarl import URL

from loadgen.load.journal import ClientJournal, answer_of
from ops.errors import UserError
from ops.i18n import Text
from ops.running import Keys

# What is no answer yet: none, one that a proxy gives for whoever does not, more than this address's share, not now.
NOT_YET: Final = (None, 408, 429, 502, 503, 504)
# A buyer who gets none sends the same request again, under the same key, for so long.
PATIENCE_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 0.2
# uvicorn closes a connection that was idle for 5 s. Whoever sends a request just then gets no answer.
IDLE_SECONDS: Final = 3.0
# An answer may take its time. That nobody is there shows at once, but at the address of a node that lost its power: it
# stays in a Service for most of a minute, and says nothing at all. Whoever asks again is led elsewhere.
ANSWER_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 5.0
JSON: Final = {"Content-Type": "application/json"}
# Operator's entries under way at once.
ENTRIES: Final = 256
# For record 1 of a shop's journal.
SHOP_SECONDS: Final = 5.0


class NotQuiet(UserError):
    """Something is still on its way after all the time that it was given."""


class ClientLimit(Exception):
    """A request was not sent, for want of something that is the client's own. One sentence: what."""


class Client:
    """One shop, reached at `url`. Use it as `async with`. Its journal is a file of JSON lines; None writes none."""

    def __init__(self, url: str, journal: Path | None, keys: Keys | None = None) -> None:
        self.url = url.rstrip("/")
        self._journal = ClientJournal(journal, self.url) if journal else None
        self._keys = keys
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
        self._http = aiohttp.ClientSession(timeout=timeout, connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.know_shop()
        await self.http.close()
        if self._journal:
            self._journal.close()

    @property
    def http(self) -> aiohttp.ClientSession:
        assert self._http is not None, "use the client with `async with`"
        return self._http

    async def ask(
        self,
        usuario_id: int,
        token_id: int,
        *,
        key: str | None = None,
        precio_maximo: int | None = None,
        wait_seconds: int = 0,
    ) -> tuple[int | None, Any]:
        """One POST. The status, or None when no answer came, and the body, whatever it is. Raises ClientLimit."""
        key = key or str(uuid4())
        body = {"usuarioId": usuario_id, "tokenId": token_id}
        if precio_maximo is not None:
            body["precioMaximo"] = precio_maximo
        number = self._journal.asks(key, body) if self._journal else 0
        headers = {"Idempotency-Key": key}
        if wait_seconds:
            headers["Prefer"] = f"wait={wait_seconds}"
        return await self._sent("POST", "/compras", number, json.dumps(body).encode(), {**JSON, **headers})

    async def ask_badly(self, body: bytes, headers: Mapping[str, str]) -> tuple[int | None, Any]:
        """A POST that no client should send. The same as of `ask`."""
        number = self._journal.asks_badly(body) if self._journal else 0
        return await self._sent("POST", "/compras", number, body, headers)

    async def doors(self) -> list[str]:
        """Where each process of the front door answers, as far as this one knows."""
        with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError, AttributeError):
            known = (await self.get("/estado"))["procesos"].get("compras", ())
            return [str(process["url"]).rstrip("/") for process in known] or [self.url]
        return [self.url]

    async def enter_once(
        self, method: str, path: str, body: dict[str, Any], key: str, door: str = ""
    ) -> tuple[int | None, Any]:
        """An operator's entry, sent once, by this front door. The same as of `ask`."""
        number = self._journal.enters(key, path, body) if self._journal else 0
        headers = {**JSON, **_bearer(self._keys.operator if self._keys else None), "Idempotency-Key": key}
        return await self._sent(method, path, number, json.dumps(body).encode(), headers, door)

    async def _sent(
        self, method: str, path: str, number: int, body: bytes, headers: Mapping[str, str], door: str = ""
    ) -> tuple[int | None, Any]:
        try:
            async with self.http.request(method, f"{door or self.url}{path}", data=body, headers=headers) as answer:
                status, told = answer.status, answer_of(await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if limit := _own_limit(error):
                self._lost(number, limit)
                raise ClientLimit(limit) from error
            self._lost(number, type(error).__name__)
            return None, {}
        if self._journal:
            self._journal.told(number, status, told)
        return status, told

    def _lost(self, number: int, why: str) -> None:
        if self._journal:
            self._journal.lost(number, why)

    def ended(self, about: str, estado: str, motivo: str | None) -> None:
        """Write down that a purchase has ended, as compras' journal says."""
        if self._journal:
            self._journal.ended(about, estado, motivo)

    def seen(self, shown: Any) -> None:
        """Write down how a purchase was shown, to whom it was no answer to a request to buy."""
        if self._journal:
            self._journal.seen(shown)

    def not_shown(self, about: str, status: int) -> None:
        """Write down that a purchase of its own was not shown, and what was answered instead."""
        if self._journal:
            self._journal.not_shown(about, status)

    async def know_shop(self) -> None:
        """Write down which shop this is, once it has a record by which one can tell, and answers."""
        if self._journal and self._keys and not self._journal.knows_shop:
            with suppress(aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError):
                async with asyncio.timeout(SHOP_SECONDS):
                    async for line in self.lines("/diario?desde=0"):
                        told = (await self.get("/readyz")).get("book", {}).get("heights", "")
                        book = told.split("/")[1] if told else ""
                        self._journal.shop(msgspec.json.decode(line, type=dict[str, Any]), book)
                        return

    async def buy(self, usuario_id: int, token_id: int, **options: Any) -> dict[str, Any]:
        """Ask until it is accepted, with one key, as a good client does. Raises NotQuiet."""
        options.setdefault("key", str(uuid4()))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            status, told = await self.ask(usuario_id, token_id, **options)
            if status in (200, 202):
                return dict(told)
            if status not in NOT_YET:
                raise AssertionError(f"the front door answered {status}: {told}")
            if time.monotonic() > deadline:
                raise NotQuiet("not accepted in {seconds:.0f} s: {told}", PATIENCE_SECONDS, told or Text("no answer"))
            await asyncio.sleep(RETRY_SECONDS)

    async def get(self, path: str) -> Any:
        """The body of a GET. Raises aiohttp.ClientError."""
        async with self.http.get(f"{self.url}{path}") as answer:
            answer.raise_for_status()
            return await answer.json(content_type=None)

    def every(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """The rows of a list, page by page. Raises aiohttp.ClientError."""
        return rows(self.http, URL(self.url + path))

    def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of an operator's GET, as they come. Raises aiohttp.ClientError."""
        return self.stream(path, _bearer(self._keys.books if self._keys else None))

    async def stream(self, path: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        """The lines of a GET, as they come. Raises aiohttp.ClientError."""
        async with self.http.get(f"{self.url}{path}", headers=headers) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                yield line

    async def enter(self, method: str, path: str, body: dict[str, Any]) -> str:
        """An operator's entry; its id. Sent again, with one key, until it is accepted. Raises NotQuiet."""
        key = str(uuid4())
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with suppress(ClientLimit):
                status, told = await self.enter_once(method, path, body, key)
                if status in (200, 202):
                    return str(told["id"])
                if status not in NOT_YET:
                    raise AssertionError(f"{method} {path} was answered {status}: {told}")
            await asyncio.sleep(RETRY_SECONDS)
        raise NotQuiet("{method} {path} was not accepted in {seconds:.0f} s", method, path, PATIENCE_SECONDS)

    async def prepare(self, *, users: Iterable[int], tokens: Iterable[int], saldo: int, precio: int) -> None:
        """Register buyers with this much money, and put tokens up for sale at this price."""
        entries = [("PUT", f"/usuarios/{user}", {"nombre": f"Comprador {user}", "saldo": saldo}) for user in users]
        entries += [
            ("PUT", f"/tokens/{token}", {"nombre": f"Token {token}", "imagen": "gato.jpg", "precio": precio})
            for token in tokens
        ]
        places = asyncio.Semaphore(ENTRIES)

        async def one(method: str, path: str, body: dict[str, Any]) -> None:
            async with places:
                await self.enter(method, path, body)

        await asyncio.gather(*(one(*entry) for entry in entries))
        await self.quiet()
        await self.know_shop()

    async def quiet(self, seconds: float = 120) -> None:
        """Return when every purchase and entry has reached its end. Raises NotQuiet with what is left.

        It is seen twice: a replica that does not write is a tenth of a second behind.
        """
        deadline = time.monotonic() + seconds
        seen = 0
        left: Any = Text("the front door does not answer")
        while time.monotonic() < deadline:
            try:
                left = await self.get("/estado")
                seen = seen + 1 if left["sinTerminar"] == 0 else 0
                if seen == 2:
                    return
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(RETRY_SECONDS)
        raise NotQuiet("not quiet after {seconds:.0f} s: {left}", seconds, left)


async def rows(http: aiohttp.ClientSession, following: URL | None) -> AsyncIterator[dict[str, Any]]:
    """Those of a list that is shown in pages (RFC 8288). Raises aiohttp.ClientError."""
    while following is not None:
        async with http.get(following) as answer:
            answer.raise_for_status()
            for row in await answer.json(content_type=None):
                yield row
            more = answer.links.get("next")
            following = answer.url.join(URL(str(more["url"]))) if more else None


def _bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _own_limit(error: BaseException) -> str | None:
    """What this process, and not the shop, has run out of, if that is what the error says."""
    match getattr(error, "errno", None):
        case errno.EMFILE | errno.ENFILE:
            return Text("the client ran out of descriptors")
        case errno.EADDRNOTAVAIL:
            return Text("the client ran out of ports")
    return None
