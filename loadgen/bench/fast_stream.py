"""The same purchase, with the same safety, in FastStream as its documentation says to: what `zoco bench` compares with.

Quorum queues, confirms, acks last, each message decided once and on the disk before anything is said of it. What is
decided is our own `domain.py`, and the tuning is ours: uvloop, the same prefetch, one sync for all who wait for one,
bodies read by pydantic's fast way (`decoder`), no second validation (`apply_types=False`), no log line per message.
`fast_stream_apps.py` runs it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar
from uuid import uuid4

from fastapi import FastAPI, Request, Response
from faststream import AckPolicy
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue
from msgspec import Struct

from broker.messages import (
    CompraSolicitada,
    Message,
    compra_id,
    decode,
    encode,
    encode_word,
)
from broker.services import Service
from broker.topology import EXCHANGE, QUEUES
from loadgen.bench.ledger import Ledger
from loadgen.bench.sample import PRECIO, USUARIO, publicado, registrado
from loadgen.bench.wire import PREFETCH
from services.compras.api import Solicitud
from services.compras.domain import Compra, public
from services.shared.clock import utc_now
from services.shared.decision import Domain
from services.shared.http.bodies import json_bytes, read_body

Row = TypeVar("Row", bound=Struct)
exchange: Final = RabbitExchange(EXCHANGE, type=ExchangeType.TOPIC, durable=True, declare=False)


class Books(Protocol):
    """What a service keeps."""

    # How many purchases have ended.
    ended: int

    async def hear(self, message: Message) -> tuple[Message, ...]:
        """Decide it once, and return what is left to be said of it."""

    async def row(self, key: str) -> Struct | None: ...

    def open(self, broker: RabbitBroker) -> AbstractAsyncContextManager[None]: ...


class Shelf(Generic[Row]):
    """A service's rows, what it has heard, and its ledger."""

    def __init__(self, domain: Domain[Row], stock: Iterable[Message]) -> None:
        self.domain = domain
        self.rows: dict[str, Row] = {}
        self.ended = 0
        self._said: dict[str, tuple[Message, ...]] = {}
        self._ledger = Ledger(Path(os.environ["ZOCO_DATA"]) / "ledger.jsonl")
        for message in stock:
            self._decide(message)

    async def hear(self, message: Message) -> tuple[Message, ...]:
        """Decide it once, and return what to say of it when that is on the disk. Raises AssertionError, OSError."""
        said = self._said.get(message.id)
        if said is None:
            said = self._decide(message)
            words = b",".join([encode_word(word) for word in said])
            await self._ledger.append(b'{"id":"%s","words":[%s]}\n' % (message.id.encode(), words))
        else:
            await self._ledger.synced()
        return said

    async def row(self, key: str) -> Row | None:
        return self.rows.get(key)

    @asynccontextmanager
    async def open(self, broker: RabbitBroker) -> AsyncIterator[None]:
        yield

    def _decide(self, message: Message) -> tuple[Message, ...]:
        key = self.domain.key(message)
        row = self.rows.get(key)
        decision = self.domain.decide(row, message)
        if decision.row is not None:
            self.rows[key] = decision.row
            ended = self.domain.finished
            self.ended += ended(decision.row) and not (row is not None and ended(row))
        self._said[message.id] = decision.messages
        return decision.messages


def service(name: Service, books: Books) -> FastAPI:
    """One process: a subscriber of its queue, and HTTP."""
    broker = RabbitBroker(
        os.environ["ZOCO_RABBITMQ_URL"],
        default_channel=Channel(prefetch_count=PREFETCH, publisher_confirms=True, on_return_raises=True),
        apply_types=False,
        logger=None,
    )

    async def read(message: RabbitMessage) -> Message:
        return decode(message.raw_message.routing_key or "", message.body, utc_now())

    async def hear(message: Message) -> None:
        for said in await books.hear(message):
            await publish(broker, said)

    queue = RabbitQueue(name, queue_type=QueueType.QUORUM, durable=True, declare=False, arguments=QUEUES[name])
    broker.subscriber(queue, ack_policy=AckPolicy.NACK_ON_ERROR, decoder=read, no_reply=True)(hear)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with books.open(broker):
            await broker.start()
            yield
            await broker.stop()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.broker = broker
    return app


async def publish(broker: RabbitBroker, message: Message) -> None:
    """Return when it is confirmed."""
    await broker.publish(
        encode(message),
        exchange=exchange,
        routing_key=message.type,
        persist=True,
        content_type="application/json",
        correlation_id=message.subject,
        message_id=message.id,
        message_type=message.type,
    )


def front_door(books: Books) -> FastAPI:
    app = service("compras", books)

    async def comprar(request: Request) -> Response:
        solicitud = await read_body(request, Solicitud)
        key = request.headers.get("idempotency-key") or str(uuid4())
        message = CompraSolicitada(
            compra_id=compra_id(solicitud.usuario_id, key),
            usuario_id=solicitud.usuario_id,
            token_id=solicitud.token_id,
            precio_maximo=solicitud.precio_maximo,
            fecha=utc_now(),
        )
        # Confirmed before it is answered, or in the outbox: nothing else publishes again what a crash left unsaid.
        for said in await books.hear(message):
            await publish(app.state.broker, said)
        row = await books.row(message.compra_id)
        assert isinstance(row, Compra)
        return json_bytes(public(row), 202)

    async def ended() -> int:
        return books.ended

    app.add_api_route("/compras", comprar, methods=["POST"], status_code=202)
    app.add_api_route("/ended", ended)
    return app


def stock() -> dict[Service, Iterable[Message]]:
    """What each book begins with."""
    tokens = int(os.environ["BENCH_TOKENS"])
    return {"tokens": map(publicado, range(1, tokens + 1)), "usuarios": [registrado(USUARIO, PRECIO * tokens)]}
