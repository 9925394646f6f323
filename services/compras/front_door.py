"""The front door: what compras does beside hearing the others, its parts put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from prometheus_client import Counter, Gauge

from broker.amqp.bus import Bus
from broker.messages import Message
from broker.services import Service
from services.compras.acceptance import Acceptance
from services.compras.chaos import chaos_of
from services.compras.codes import Codes
from services.compras.domain import Asunto
from services.compras.forwarding import Forwarding
from services.compras.hands import Hands
from services.compras.resend import Resender
from services.compras.status import Together, shop_state
from services.compras.streams import Events
from services.shared.runtime import Runtime
from services.shared.store import Change

log = structlog.get_logger()


class FrontDoor:
    """The extension of compras. It lives as long as the process."""

    def __init__(self, runtime: Runtime[Asunto], resender: type[Resender] = Resender) -> None:
        store, settings, registry = runtime.store, runtime.settings, runtime.metrics.registry
        self._store = store
        self.acceptance = Acceptance(runtime)
        self.forwarding = Forwarding(runtime)
        self.events = Events(store)
        self.codes = Codes()
        self.chaos = chaos_of(settings.knock_down, database=settings.store is not None)
        self.status = Together(partial(shop_state, runtime, self.forwarding, self.chaos))
        self.resender: Resender | None = None
        nudges = Counter("zoco_nudges_sent", "Purchases and entries that were asked for again", registry=registry)
        if runtime.bus:
            outbound = BusOutbound(runtime, runtime.bus, Hands(settings, runtime.bus, self.forwarding), nudges)
            self.resender = resender(store, outbound, time.monotonic, first_seconds=settings.nudge_seconds)
        unfinished = Gauge("zoco_purchases_unfinished", "Purchases and entries on their way", registry=registry)
        unfinished.set_function(lambda: store.unfinished)
        listeners = Gauge("zoco_event_listeners", "Open streams of events", registry=registry)
        listeners.set_function(lambda: self.events.listeners.count)

    def heard(self, change: Change[Asunto]) -> None:
        self.events.heard()
        if self.resender:
            self.resender.heard(change)
        self.acceptance.heard(change)

    async def run(self) -> None:
        """All the while that this process leads: ask again for what does not get on, send away who waits too long."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ask_again())
            tasks.create_task(self.acceptance.send_away())

    async def _ask_again(self) -> None:
        assert self.resender is not None
        await self._store.alone()
        await self.resender.run()

    def stop(self) -> None:
        self.events.stop()
        self.acceptance.stop()

    async def close(self) -> None:
        await self.forwarding.close()


@dataclass(frozen=True, slots=True)
class BusOutbound:
    """The bus, as the resender sees it."""

    runtime: Runtime[Asunto]
    bus: Bus
    hands: Hands
    nudges: Counter

    async def publish(self, messages: Sequence[Message]) -> None:
        await self.bus.publish(messages)
        self.runtime.metrics.published(messages)
        self.nudges.inc(len(messages))
        log.info("asked again for what does not get on", purchases=len(messages))

    async def oldest(self) -> Mapping[Service, float] | None:
        return None if self.runtime.doubt is not None else await self.hands.oldest()
