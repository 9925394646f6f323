"""The front door: accepting what a buyer or an operator asks for into the journal, on whichever replica they ask."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import pydantic_core
import structlog
from fastapi import Request, Response
from prometheus_client import Counter, Gauge, Histogram

from broker.amqp.bus import BusError
from broker.messages import AltaMessage, CompraSolicitada, Message
from broker.services import SERVICES, Service
from services.compras.chaos import place_of
from services.compras.clock import MonotonicClock
from services.compras.domain import ETAPAS, Alta, Asunto, Compra, finished, pregunta
from services.compras.resend import Resender
from services.compras.streams import Events
from services.shared.http.problems import Problem, unavailable
from services.shared.metrics import SECONDS
from services.shared.runtime import Runtime, utc_now
from services.shared.store import Answer, Change

log = structlog.get_logger()

# How long a buyer is kept waiting for a writer, or for the disk, before they are told to come again.
PATIENCE_SECONDS: Final = 5.0
# What is passed on is compressed once, on its way out.
PLAIN: Final = {"Accept-Encoding": "identity"}
RETRY_SECONDS: Final = 0.1
# The longest that `Prefer: wait` holds a request.
WAIT_LIMIT_SECONDS: Final = 60
# Marks a request that one replica passed on to another: it is not passed on again.
FORWARDED: Final = "x-zoco-forwarded"
PASSED_ON: Final = (
    "content-type",
    "location",
    "retry-after",
    "idempotency-key",
    "preference-applied",
    "link",
    "cache-control",
)


class FrontDoor:
    """What compras does beside hearing the others. It lives as long as the process."""

    def __init__(self, runtime: Runtime[Asunto]) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._http: aiohttp.ClientSession | None = None
        self._waiting: dict[str, list[asyncio.Future[None]]] = defaultdict(list)
        # Who waits for the disk, and until when, in their order.
        self._asked: deque[tuple[float, asyncio.Future[Answer]]] = deque()
        self.entry_clock = MonotonicClock(utc_now)
        self.events = Events(self._store)
        settings, registry = runtime.settings, runtime.metrics.registry
        self.place = place_of(settings.knock_down)
        self._backlog_limit = settings.backlog_limit
        self._urls = {
            "usuarios": settings.usuarios_url,
            "tokens": settings.tokens_url,
            "transacciones": settings.transacciones_url,
        }
        nudges = Counter("zoco_nudges_sent", "Purchases and entries that were asked for again", registry=registry)
        self.resender = (
            Resender(self._store, Outbound(runtime, nudges), time.monotonic, first_seconds=settings.nudge_seconds)
            if runtime.bus
            else None
        )
        self.accepted = Counter(
            "zoco_purchases_accepted", "Purchases answered 202 for the first time", registry=registry
        )
        self.finished = Counter(
            "zoco_purchases_finished", "Purchases that reached their end, by result", ["result"], registry=registry
        )
        self.seconds = Histogram(
            "zoco_purchase_seconds", "Seconds from the POST to the end", buckets=SECONDS, registry=registry
        )
        unfinished = Gauge("zoco_purchases_unfinished", "Purchases and entries on their way", registry=registry)
        unfinished.set_function(lambda: self._store.unfinished)
        listeners = Gauge("zoco_event_listeners", "Open streams of events", registry=registry)
        listeners.set_function(lambda: self.events.listeners)

    @property
    def http(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS), headers=PLAIN)
        return self._http

    def stop(self) -> None:
        """End the streams, and tell those who wait for an end how their purchase stands: the process is to stop."""
        self.events.stop()
        for waiters in self._waiting.values():
            _release(waiters)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    def heard(self, change: Change[Asunto]) -> None:
        """Something is on the disk, here or written by the replica that this one follows."""
        row = change.row
        self.events.heard()
        if self.resender:
            self.resender.heard(change)
        if isinstance(row, Alta):
            self.entry_clock.last = max(self.entry_clock.last, row.fecha)
        if row is None or not finished(row):
            return
        _release(self._waiting.pop(change.subject, ()))
        if isinstance(row, Compra) and self._runtime.writing.is_set() and change.type == ETAPAS[row.estado].llega.type:
            result = row.motivo if row.estado == "rechazada" and row.motivo else row.estado
            self.finished.labels(result).inc()
            asked = datetime.fromisoformat(row.fecha)
            self.seconds.observe(max(0.0, (datetime.now(UTC) - asked).total_seconds()))

    def now(self) -> str:
        """What the journal's records are dated: never before an entry in it, so that a later start knows of those."""
        return max(utc_now(), self.entry_clock.last)

    def fecha(self) -> str:
        """Now, and never earlier than what is in the journal, whatever the clock does."""
        return max(utc_now(), self._store.time)

    def fecha_alta(self, whose: str) -> str:
        """For two entries about the same user or token never the same: the later one is in force."""
        self.entry_clock.last = max(self.entry_clock.last, self._store.time)
        return self.entry_clock.next(whose)

    async def accept(self, message: CompraSolicitada | AltaMessage) -> Asunto:
        """Store what was asked for, unless it is there already. Raises Problem (422, 503)."""
        row = await self._store.row(message.subject)
        if row is None:
            if isinstance(message, CompraSolicitada) and self._store.unfinished >= self._backlog_limit:
                raise unavailable(f"{self._store.unfinished} purchases are on their way already: try again later", 5)
            row, repeated = await self._stored(message)
            if not repeated:
                return row
        if not _asks_the_same(row, message):
            raise Problem(
                422, "this Idempotency-Key was used for something else: nothing was done; use another key for this"
            )
        return row

    async def _stored(self, message: Message) -> tuple[Asunto, bool]:
        """What is there of it now, and whether it was there before."""
        loop = self._runtime.processor
        assert loop is not None
        try:
            if not self._runtime.writing.is_set():
                await asyncio.wait_for(self._runtime.writing.wait(), PATIENCE_SECONDS)
            stored = loop.submit(message)
            self._asked.append((time.monotonic() + PATIENCE_SECONDS, stored))
            answer = await stored
        except TimeoutError:
            why = "the disk is full" if self._store.full else "the disk does not keep up"
            raise unavailable(f"{why}: send the same request, with the same Idempotency-Key, again") from None
        if answer.failure:
            raise Problem(500, f"this could not be decided: {answer.failure}")
        row = await self._store.row(message.subject)
        assert row is not None, f"{message.subject} was stored and is not there"
        if isinstance(message, CompraSolicitada) and not answer.repeated:
            self.accepted.inc()
        return row, answer.repeated

    async def run(self) -> None:
        """All the while that this process leads: ask again for what does not get on, send away who waits too long."""
        assert self.resender is not None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.resender.run())
            tasks.create_task(self._send_away())

    async def _send_away(self) -> None:
        """One look at all who wait, now and then, costs less than a timer for each."""
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            while self._asked and (self._asked[0][1].done() or self._asked[0][0] < time.monotonic()):
                _, stored = self._asked.popleft()
                if not stored.done():
                    stored.set_exception(TimeoutError())

    async def finish(self, subject: str, seconds: float) -> None:
        """Return when this purchase or entry has reached its end, or after so many seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[subject].append(waiter)
        try:
            # Looked at after the waiter is there: an end that comes meanwhile wakes it.
            row = await self._store.row(subject)
            if row is not None and not finished(row):
                async with asyncio.timeout(seconds):
                    await waiter
        except TimeoutError:
            pass
        finally:
            waiters = self._waiting.get(subject, [])
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                self._waiting.pop(subject, None)

    async def at_the_writer(self, request: Request, key: str | None = None) -> Response | None:
        """None if this process writes; else what the one that does answers. Raises Problem (503) when none is there.

        The key goes along, also one made here: a writer that dies before it answers is asked again, for the same thing.
        """
        if self._runtime.processor is None:
            raise unavailable("this process only reads: start it with ZOCO_RABBITMQ_URL to buy", 60)
        if self._store.leads:
            return None
        deadline = time.monotonic() + PATIENCE_SECONDS
        body = await request.body()
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        if key is not None:
            headers["idempotency-key"] = key
        while not self._store.leads:
            url = self._store.leader_url()
            if FORWARDED not in request.headers and url and url != self._runtime.settings.public_url:
                answer = await self._pass_on(request, url, body, {**headers, FORWARDED: "1"})
                if answer is not None and answer.status_code != 503:
                    return answer
            if FORWARDED in request.headers or time.monotonic() > deadline:
                raise unavailable("no replica writes at the moment: send the same request again")
            await asyncio.sleep(RETRY_SECONDS)
        return None

    async def _pass_on(self, request: Request, url: str, body: bytes, headers: Mapping[str, str]) -> Response | None:
        target = f"{url}{request.url.path}" + (f"?{request.url.query}" if request.url.query else "")
        timeout = aiohttp.ClientTimeout(total=WAIT_LIMIT_SECONDS + PATIENCE_SECONDS, sock_connect=1)
        try:
            async with self.http.request(
                request.method, target, data=body or None, headers=headers, timeout=timeout
            ) as answer:
                return await _copied(answer)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def read_from(self, service: str, path: str, query: str = "") -> Response:
        """What another service answers to a GET. Raises Problem (503) when it does not."""
        target = f"{self._urls[service]}{path}" + (f"?{query}" if query else "")
        try:
            async with self.http.get(target) as answer:
                return await _copied(answer)
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise unavailable(
                f"{service} does not answer; purchases are accepted all the same and wait for it", 2
            ) from None

    async def estado(self) -> dict[str, Any]:
        """Every service and every queue, as far as they answer within a second."""
        others = await asyncio.gather(*(self._ask_ready(name) for name in self._urls))
        bus = self._runtime.bus
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
            "servicios": {"compras": self._runtime.state(), **dict(zip(self._urls, others, strict=True))},
            "broker": {"conectado": bool(bus and bus.connected), "problema": trouble},
            "colas": queues,
            "sinTerminar": self._store.unfinished,
            "tumbar": {name: self.place.command(name) for name in self.place.names} if self.place else None,
            "gestion": self._runtime.settings.management_url,
        }

    async def _ask_ready(self, service: str) -> dict[str, Any]:
        try:
            timeout = aiohttp.ClientTimeout(total=1)
            async with self.http.get(f"{self._urls[service]}/readyz", timeout=timeout) as answer:
                state: dict[str, Any] = pydantic_core.from_json(await answer.read())
                return state
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return {"ready": False, "role": None, "problem": "does not answer"}


@dataclass(frozen=True, slots=True)
class Outbound:
    """The bus, as the resender sees it."""

    runtime: Runtime[Asunto]
    nudges: Counter

    async def publish(self, messages: Any) -> None:
        assert self.runtime.bus is not None
        await self.runtime.bus.publish(messages)
        self.runtime.metrics.published(messages)
        self.nudges.inc(len(messages))
        log.info("asked again for what does not get on", purchases=len(messages))

    async def busy(self) -> AbstractSet[Service] | None:
        assert self.runtime.bus is not None
        try:
            depths = await self.runtime.bus.depths()
        except BusError:
            return None
        return {name for name in SERVICES if depths[name].messages}


def _release(waiters: Iterable[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


async def _copied(answer: aiohttp.ClientResponse) -> Response:
    headers = {name: value for name, value in answer.headers.items() if name.lower() in PASSED_ON}
    return Response(await answer.read(), answer.status, headers)


def _asks_the_same(row: Asunto, message: Message) -> bool:
    asked = pregunta(row)
    return asked.model_copy(update={"fecha": message.fecha}) == message
