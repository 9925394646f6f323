"""How the whole shop stands, as far as one front door can see."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pydantic_core

from broker.amqp.bus import BusError
from services.compras.chaos import Chaos
from services.compras.domain import Asunto
from services.compras.following import NO_ANSWER
from services.compras.forwarding import Forwarding
from services.shared.runtime import Runtime


async def shop_state(runtime: Runtime[Asunto], others: Forwarding, chaos: Chaos | None) -> dict[str, Any]:
    """Every service and every queue, as far as they answer within a second."""
    states = await asyncio.gather(*(_ready(others, name) for name in others.urls))
    bus = runtime.bus
    queues: Any = None
    trouble = None if bus else "no broker is configured"
    if bus:
        try:
            queues = {
                name: {"messages": depth.messages, "consumers": depth.consumers}
                for name, depth in (await bus.depths()).items()
            }
        except BusError as error:
            trouble = bus.trouble or str(error)
    return {
        "servicios": {"compras": runtime.state(), **dict(zip(others.urls, states, strict=True))},
        "broker": {"conectado": bool(bus and bus.connected), "problema": trouble},
        "colas": queues,
        "sinTerminar": runtime.store.unfinished,
        "tumbar": {name: chaos.command(name) for name in chaos.names} if chaos else None,
        "gestion": runtime.settings.management_url,
    }


async def _ready(others: Forwarding, service: str) -> dict[str, Any]:
    try:
        timeout = aiohttp.ClientTimeout(total=1)
        async with others.pool("state").get(f"{others.urls[service]}/readyz", timeout=timeout) as answer:
            state: dict[str, Any] = pydantic_core.from_json(await answer.read())
            return state
    except (*NO_ANSWER, ValueError):
        return {"ready": False, "role": None, "problem": "does not answer"}
