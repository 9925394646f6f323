"""What the other services say of the four books, asked by HTTP: at the start, and when there is a doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import pydantic_core

from broker.services import SERVICES, Service, WriterSearch
from services.shared.addresses import Addresses
from services.shared.heights import BookHeights, as_told
from services.shared.settings import Settings
from services.shared.store import RecordReader

# So long the start waits for those who do not answer: they may be starting, too, or be gone.
ASK_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 0.1
# And so often, from then on, those who did not answer.
SILENT_SECONDS: Final = 2.0
# What is raised when it does not answer, or not in JSON.
NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


async def state_of(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """What a process says of itself. Raises ValueError: that is no state, as when it is not reached under this name, or
    has no connection left."""
    state = pydantic_core.from_json(await answer.read())
    if not (isinstance(state, dict) and isinstance(state.get("ready"), bool) and "role" in state):
        raise ValueError(f"answers {answer.status}")
    return state


class Peers:
    """The other three, as far as the settings name where they answer."""

    def __init__(self, service: Service, settings: Settings) -> None:
        # A default is of the shop that runs with the defaults, which need not be this one.
        named = [name for name in SERVICES if name != service and f"{name}_url" in settings.model_fields_set]
        self.urls: Mapping[Service, Addresses] = {name: Addresses(getattr(settings, f"{name}_url")) for name in named}
        # Who has not answered since all were asked.
        self._silent: list[Service] = []

    async def check(self, records: RecordReader) -> None:
        """Hear what they know of the books. Who does not answer in a second says nothing: that may be one who starts,
        as when all four do, so it is asked until then. Raises Doubted."""
        self._silent = list(self.urls)
        await self._ask(records, ASK_SECONDS)

    async def check_silent(self, records: RecordReader) -> None:
        """Until those have answered, too, who were away. Raises Doubted."""
        while self._silent:
            await asyncio.sleep(SILENT_SECONDS)
            await self._ask(records, 0)

    async def _ask(self, records: RecordReader, seconds: float) -> None:
        names, heights = self._silent, records.heights
        said = await asyncio.gather(*(self._book(name, heights, seconds) for name in names))
        heights.heard = heights.hear(as_told([book for book in said if book]), await records.latest())
        self._silent = [name for name, book in zip(names, said, strict=True) if book is None]

    async def state(self, name: Service, seconds: float) -> dict[str, Any]:
        """What it says of itself; of several processes the first that answers. Raises one of NO_ANSWER."""
        silence = Exception()
        async with _asking(seconds) as http:
            for url in self.urls[name]:
                try:
                    return await _state_at(url, http)
                except NO_ANSWER as error:
                    self.urls[name].silent(url)
                    silence = error
        raise silence

    async def writer(self, name: Service, seconds: float) -> tuple[str, dict[str, Any]]:
        """Where that one of its processes answers that writes, and what it says; of a service that nobody writes for so
        long, another one. Raises one of NO_ANSWER."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        async with _asking(seconds) as http:
            while True:
                url, state = await self._furthest(name, http)
                if state["role"] == "writer" or loop.time() > until:
                    return url, state
                await asyncio.sleep(AGAIN_SECONDS)

    async def _furthest(self, name: Service, http: aiohttp.ClientSession) -> tuple[str, dict[str, Any]]:
        search, silence = WriterSearch(self.urls[name]), Exception()
        for url in search.urls:
            try:
                state = await _state_at(url, http)
                if state.get("service") != name:
                    raise ValueError(f"is {state.get('service')}")
            except NO_ANSWER as error:
                silence = error
                continue
            if search.heard(url, state):
                break
        if (found := search.nearest()) is None:
            raise silence
        return found

    async def _book(self, name: Service, heights: BookHeights, seconds: float) -> dict[str, Any] | None:
        """None: it does not answer, or has not read its book yet."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            try:
                book: dict[str, Any] = (await self.state(name, ASK_SECONDS))["book"]
                heights.replaced.update(book["formerly"])
                if book["heights"]:
                    return book
            except (KeyError, TypeError):
                return {}
            except NO_ANSWER:
                pass
            if loop.time() + AGAIN_SECONDS > until:
                return None
            await asyncio.sleep(AGAIN_SECONDS)


def _asking(seconds: float) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds))


async def _state_at(url: str, http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get(f"{url}/readyz") as answer:
        return await state_of(answer)
