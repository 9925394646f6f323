"""How the whole shop stands, as far as one front door can see."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import aiohttp
from pydantic.alias_generators import to_camel

from broker.amqp.bus import BusError
from services.compras.chaos import Chaos
from services.compras.domain import Asunto
from services.compras.forwarding import Forwarding
from services.shared.peers import NO_ANSWER, state_of
from services.shared.runtime import Runtime

Done = TypeVar("Done")

State: TypeAlias = dict[str, Any]
# What processes say of themselves, by the addresses at which they were asked.
Told: TypeAlias = Mapping[str, State]


class Together(Generic[Done]):
    """One question for all who ask. Who asks while an answer is on its way shares the next one with all others: none
    is older than its question, and however many ask, the broker and the services are asked by one."""

    def __init__(self, ask: Callable[[], Awaitable[Done]]) -> None:
        self._ask = ask
        self._now: asyncio.Task[Done] | None = None
        self._next: asyncio.Task[Done] | None = None

    async def answer(self) -> Done:
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._after(self._now))
            # Whoever asked may have gone.
            self._next.add_done_callback(lambda told: told.cancelled() or told.exception())
        return await asyncio.shield(self._next)

    async def _after(self, one: asyncio.Task[Done] | None) -> Done:
        if one is not None:
            await asyncio.wait([one])
        self._now, self._next = self._next, None
        return await self._ask()


async def shop_state(runtime: Runtime[Asunto], others: Forwarding, chaos: Chaos | None) -> dict[str, Any]:
    """Every service and every queue, as far as they answer within a second."""
    own, settings, bus = runtime.state(), runtime.settings, runtime.bus
    # At one address this process answers, too, or a balancer does.
    doors = [url for url in settings.compras_url if url != settings.public_url] if len(settings.compras_url) > 1 else []
    names = ["compras", *others.urls]
    asked = await asyncio.gather(_told(others, doors), *(_told(others, sorted(urls)) for urls in others.urls.values()))
    told: dict[str, Told] = dict(zip(names, asked, strict=True))
    told["compras"] = {settings.public_url: own, **told["compras"]}
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
        "servicios": {name: own if name == "compras" else _best(told[name].values()) for name in names},
        "procesos": {
            name: [_seen(url, state) for url, state in sorted(several.items())]
            for name, several in told.items()
            if len(several) > 1
        },
        "broker": {"conectado": bool(bus and bus.connected), "problema": trouble},
        "base": None
        if settings.store is None
        else {
            "conectada": not own.get("waitsFor"),
            "problema": own.get("waitsFor"),
            "salud": _camel(runtime.store.health) or None,
            "saludPosible": runtime.store.health != {},
        },
        "colas": queues,
        "sinTerminar": runtime.store.unfinished,
        "tumbar": {name: chaos.command(name) for name in chaos.names} if chaos else None,
        "gestion": settings.management_url,
    }


def _camel(health: Mapping[str, float] | None) -> Mapping[str, float] | None:
    return None if health is None else {to_camel(name): value for name, value in health.items()}


async def _told(others: Forwarding, urls: Sequence[str]) -> Told:
    return dict(zip(urls, await asyncio.gather(*(_ready(others, url) for url in urls)), strict=True))


async def _ready(others: Forwarding, url: str) -> State:
    try:
        timeout = aiohttp.ClientTimeout(total=1)
        async with others.pools.of("state").get(f"{url}/readyz", timeout=timeout) as answer:
            try:
                return await state_of(answer)
            except ValueError:
                return {"ready": False, "role": None, "problem": f"answers {answer.status}"}
    except NO_ANSWER:
        return {"ready": False, "role": None, "problem": "does not answer"}


def _best(states: Iterable[State]) -> State:
    """How a service stands is how the one of its processes does that is furthest."""
    return max(states, key=lambda state: (state["ready"], state["role"] == "writer", state["role"] is not None))


def _seen(url: str, state: State) -> State:
    return {"url": url, **{name: state.get(name) for name in ("ready", "role", "host", "pid")}}
