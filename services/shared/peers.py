"""What the other services say of the four books, asked by HTTP: at the start, and when there is a doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import pydantic_core

from broker.services import SERVICES, Service
from services.shared.addresses import Addresses
from services.shared.heights import BookHeights
from services.shared.settings import Settings
from services.shared.store import RecordReader

# So long the start waits for those who do not answer: they may be starting, too, or be gone.
ASK_SECONDS: Final = 1.0
# What is raised when it does not answer, or not in JSON.
NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


class Peers:
    """The other three, as far as the settings name where they answer."""

    def __init__(self, service: Service, settings: Settings) -> None:
        # A default is of the shop that runs with the defaults, which need not be this one.
        named = [name for name in SERVICES if name != service and f"{name}_url" in settings.model_fields_set]
        self.urls: Mapping[Service, Addresses] = {name: Addresses(getattr(settings, f"{name}_url")) for name in named}

    async def check(self, records: RecordReader) -> None:
        """Hear what they know of the books. Who does not answer in a second says nothing. Raises Doubted."""
        heights = records.heights
        said = await asyncio.gather(*(self._heights(name, heights) for name in self.urls))
        heights.heard = heights.hear(said, await records.latest())

    async def state(self, name: Service, seconds: float) -> dict[str, Any]:
        """What it says of itself; of several processes the first that answers. Raises one of NO_ANSWER."""
        timeout, silence = aiohttp.ClientTimeout(total=seconds), Exception()
        async with aiohttp.ClientSession(timeout=timeout) as http:
            for url in self.urls[name]:
                try:
                    async with http.get(f"{url}/readyz") as answer:
                        state: dict[str, Any] = pydantic_core.from_json(await answer.read())
                        return state
                except NO_ANSWER as error:
                    self.urls[name].silent(url)
                    silence = error
        raise silence

    async def _heights(self, name: Service, heights: BookHeights) -> str:
        try:
            state = await self.state(name, ASK_SECONDS)
            heights.replaced.update(state["book"]["formerly"])
            said: str = state["book"]["heights"]
            return said
        except (*NO_ANSWER, KeyError, TypeError):
            return ""
