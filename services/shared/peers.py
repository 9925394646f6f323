"""What the other services say of the four books, asked by HTTP: at the start, and when there is a doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import pydantic_core

from broker.services import SERVICES, Service
from services.shared.heights import BookHeights
from services.shared.settings import Settings

# So long the start waits for those who do not answer: they may be starting, too, or be gone.
ASK_SECONDS: Final = 1.0
# What is raised when it does not answer, or not in JSON.
NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


class Peers:
    """The other three, as far as the settings name where they answer."""

    def __init__(self, service: Service, settings: Settings) -> None:
        # A default is of the shop that runs with the defaults, which need not be this one.
        named = [name for name in SERVICES if name != service and f"{name}_url" in settings.model_fields_set]
        self.urls: Mapping[Service, str] = {name: getattr(settings, f"{name}_url") for name in named}

    async def check(self, heights: BookHeights, seq: int) -> None:
        """Hear what they know of the books. Who does not answer in a second says nothing. Raises Doubted."""
        said = await asyncio.gather(*(self._heights(name, heights) for name in self.urls))
        heights.heard = heights.hear(said, seq)

    async def state(self, name: Service, seconds: float) -> dict[str, Any]:
        """What it says of itself. Raises one of NO_ANSWER."""
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{self.urls[name]}/readyz") as answer:
            state: dict[str, Any] = pydantic_core.from_json(await answer.read())
            return state

    async def _heights(self, name: Service, heights: BookHeights) -> str:
        try:
            state = await self.state(name, ASK_SECONDS)
            heights.replaced.update(state["book"]["formerly"])
            said: str = state["book"]["heights"]
            return said
        except (*NO_ANSWER, KeyError, TypeError):
            return ""
