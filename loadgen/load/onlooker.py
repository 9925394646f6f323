"""Who looks on beside a load: at some of its own purchases, by GET and in the stream of events, and writes down what is
shown. So much and no more, as what is shown costs the front door what it could sell by.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Final

import aiohttp

from loadgen.load.client import Client
from loadgen.load.journal import answer_of

# The first purchases of a load are looked at, then one of so many, and in all no more than this.
FIRST: Final = 10
ONE_OF: Final = 100
MOST: Final = 1_000
# When it is asked how a purchase stands, after it was accepted.
LATER_SECONDS: Final = 1.0
# Of the stream a fifth is heard: each event is made for who listens.
LISTEN_SECONDS: Final = 1.0
REST_SECONDS: Final = 4.0
# What is asked for once, and again by the audit: what was shown before is not shown for ever.
LISTS: Final = ("/usuarios", "/tokens", "/transacciones")
# Whoever answers so has shown nothing.
NOTHING: Final = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
# How an event of a purchase reads.
DATA: Final = b"data:"
ID: Final = b'"id":"'
ID_BYTES: Final = 36


class Onlooker:
    """Of one client, whose `accepted` tells it of each purchase."""

    def __init__(self, client: Client) -> None:
        self._client, self._random = client, Random(0)
        self._accepted = 0
        self._watched: set[bytes] = set()
        self._asking: set[asyncio.Task[None]] = set()

    def accepted(self, about: str) -> None:
        """A purchase of this client's."""
        self._accepted += 1
        chosen = self._accepted <= FIRST or self._accepted % ONE_OF == 0
        if chosen and len(self._watched) < MOST and len(about) == ID_BYTES:
            self._watched.add(about.encode())
            task = asyncio.create_task(self._look(about))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """For as long as this lasts."""
        listening = asyncio.create_task(self._listen())
        try:
            yield
            await asyncio.gather(*self._asking)
        finally:
            for task in (listening, *self._asking):
                task.cancel()
            await asyncio.gather(listening, *self._asking, return_exceptions=True)

    async def _look(self, about: str) -> None:
        await asyncio.sleep(self._random.uniform(0, LATER_SECONDS))
        with suppress(*NOTHING):
            try:
                self._client.seen(await self._client.get(f"/compras/{about}"))
            except aiohttp.ClientResponseError as error:
                self._client.not_shown(about, error.status)

    async def _listen(self) -> None:
        """Go on until cancelled. Whoever is away is asked again, and what came meanwhile is left out."""
        for path in LISTS:
            with suppress(*NOTHING):
                await self._client.get(path)
        while True:
            with suppress(*NOTHING):
                async with asyncio.timeout(LISTEN_SECONDS):
                    async for line in self._client.stream("/eventos"):
                        self._take(line)
            await asyncio.sleep(REST_SECONDS)

    def _take(self, line: bytes) -> None:
        at = line.find(ID)
        if at < 0 or not line.startswith(DATA) or line[at + len(ID) :][:ID_BYTES] not in self._watched:
            return
        self._client.seen(answer_of(line.removeprefix(DATA)))
