"""What the processes of each service have in their hands: delivered, and not acked. With many of them, and as many
messages sent ahead to each, all that is on its way may lie there while every queue is empty. AMQP does not tell of it,
so each process tells of its own at /readyz, and it is seen from the queue's consumers whether all of them did."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import aiohttp

from broker.amqp.bus import Bus, BusError, QueueDepth
from broker.services import SERVICES, Service
from services.compras.forwarding import Forwarding
from services.shared.peers import NO_ANSWER, state_of
from services.shared.settings import Settings

# What is in the hands of somebody who does not tell is taken to be there for so long.
UNTOLD_SECONDS: Final = 30.0
CALL_SECONDS: Final = 1.0
# Behind one address may be many processes, and a balancer chooses: so many times it is asked, or more for many of them.
TRIES: Final = 12
# A balancer chooses for each connection.
ONCE: Final = {"Connection": "close"}


@dataclass(frozen=True, slots=True)
class Hands:
    """As one front door sees them."""

    settings: Settings
    bus: Bus
    others: Forwarding

    async def oldest(self) -> Mapping[Service, float] | None:
        """How long ago the oldest message was said that a service has not dealt with, in seconds: 0 when there is none,
        without end when its queue holds some. None when the broker does not tell."""
        try:
            depths = await self.bus.depths()
        except BusError:
            return None
        found = await asyncio.gather(*(self._oldest(name, depths[name]) for name in SERVICES))
        return dict(zip(SERVICES, found, strict=True))

    async def _oldest(self, name: Service, depth: QueueDepth) -> float:
        if depth.messages:
            return inf
        told: dict[tuple[Any, Any], float] = {}
        if name == "compras" and self.bus.consuming:
            told["", ""] = self.bus.oldest_seconds or 0.0
        urls = self._urls(name)
        tries = 1 if len(urls) > 1 else max(TRIES, 4 * depth.consumers)
        while len(told) < depth.consumers and urls and tries:
            tries -= 1
            told.update(_of(await asyncio.gather(*(self._state(url) for url in urls))))
        return max(told.values(), default=0.0) if len(told) >= depth.consumers else UNTOLD_SECONDS

    def _urls(self, name: Service) -> Sequence[str]:
        if name == "compras":
            return [url for url in self.settings.compras_url if url != self.settings.public_url]
        return list(self.others.urls[name])

    async def _state(self, url: str) -> dict[str, Any]:
        """What a process says of itself; nothing when it does not answer."""
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        try:
            async with self.others.pools.of("hands").get(f"{url}/readyz", timeout=timeout, headers=ONCE) as answer:
                return await state_of(answer)
        except NO_ANSWER:
            return {}


def _of(states: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, Any], float]:
    """By the process. Who takes nothing has nothing; a version that does not tell is none of them, nor is what is no
    service of ours."""
    found = {}
    for state in states:
        match state:
            case {"host": str(host), "pid": int(pid), "broker": {"consuming": True, "oldestSeconds": oldest}}:
                if oldest is None or isinstance(oldest, (int, float)):
                    found[host, pid] = float(oldest or 0)
    return found
