"""HTTP connections with whoever else answers, and who has one next: of those who wait each address in its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from services.shared.http.edge import left
from services.shared.http.shares import FairQueue, Shares, asker

# Of one purpose, to one address. All of them leave most of 1,024 descriptors to clients.
CONNECTIONS: Final = 64
PLAIN: Final = {"Accept-Encoding": "identity"}


class Places:
    """So many at once; nobody has them all. Whoever wants a thousand waits for them; who wants one waits for no more
    than one of everybody's."""

    def __init__(self, places: int) -> None:
        self._shares, self._all = Shares(places), places
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    @property
    def unused(self) -> bool:
        return self._shares.free == self._all and not self._waiting

    async def take(self, whose: str, receive: Receive) -> None:
        """Raises ClientDisconnect when who waits for it hangs up."""
        if whose not in self._waiting and self._shares.take(whose):
            return
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(whose, told)

        def gone(_: object) -> None:
            if not told.done():
                told.set_exception(ClientDisconnect())

        leaving = asyncio.ensure_future(left(receive))
        leaving.add_done_callback(gone)
        try:
            await told
        except BaseException:
            self._forget(whose, told)
            raise
        finally:
            leaving.cancel()

    def _forget(self, whose: str, told: asyncio.Future[None]) -> None:
        """Nobody waits for it any longer; it may have been given just now."""
        if told.done() and not told.cancelled() and told.exception() is None:
            self.give(whose)
        else:
            self._waiting.remove(whose, told)

    def give(self, whose: str) -> None:
        """It is no longer needed."""
        self._shares.give(whose)
        for one in self._waiting.addresses:
            if self._shares.free and self._shares.take(one):
                self._begin(one)

    def _begin(self, whose: str) -> None:
        """The first of theirs that has not hung up just now has this place."""
        while whose in self._waiting:
            _, told = self._waiting.next(whose)
            if not told.done():
                told.set_result(None)
                return
        self._shares.give(whose)


class Pools:
    """They live as long as the process."""

    def __init__(self, seconds: float, connect_seconds: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=connect_seconds)
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._places: dict[tuple[str, str], Places] = {}

    def of(self, purpose: str) -> aiohttp.ClientSession:
        """Who waits here for one thing takes no connection from who wants another, or the same of another service."""
        if purpose not in self._sessions:
            self._sessions[purpose] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=CONNECTIONS),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=PLAIN,
                skip_auto_headers=("User-Agent", "Content-Type"),
            )
        return self._sessions[purpose]

    @asynccontextmanager
    async def place(
        self, purpose: str, url: str, request: Request, seconds: float
    ) -> AsyncIterator[aiohttp.ClientSession]:
        """One of the connections to this address, for who asks. Raises TimeoutError when all of it takes too long."""
        places, whose = self._places.setdefault((purpose, url), Places(CONNECTIONS)), asker(request.scope)
        async with asyncio.timeout(seconds):
            await places.take(whose, request.receive)
            try:
                yield self.of(purpose)
            finally:
                places.give(whose)
                if places.unused:
                    self._places.pop((purpose, url), None)

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
