"""The same purchase, with the same safety, in FastStream as its documentation says to: what `zoco bench` compares with.

Quorum queues, confirms, acks last, each message decided once and on the disk before anything is said of it. What is
decided is our own `domain.py`, and the tuning is ours: uvloop, the same prefetch, one sync for all who wait for one,
bodies read by pydantic's fast way (`decoder`), no second validation (`apply_types=False`), no log line per message.

`uvicorn --factory loadgen.bench.fast_stream:tokens`, with ZOCO_RABBITMQ_URL, ZOCO_DATA, and in BENCH_TOKENS how many
tokens are for sale.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from uuid import uuid4

from fastapi import FastAPI, Request, Response
from faststream import AckPolicy
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue
from msgspec import Struct

from broker.messages import (
    CompraSolicitada,
    Message,
    TokenPublicado,
    UsuarioRegistrado,
    compra_id,
    decode,
    encode,
    encode_word,
)
from broker.topology import EXCHANGE, QUEUES
from loadgen.bench.ledger import Ledger
from loadgen.bench.sample import PRECIO, USUARIO
from loadgen.bench.wire import PREFETCH
from services.compras.api import Solicitud
from services.compras.domain import DOMAIN as COMPRAS
from services.compras.domain import Compra
from services.compras.views import vista
from services.shared.decision import Domain
from services.shared.http.bodies import json_bytes, read_body
from services.shared.runtime import utc_now
from services.tokens.domain import DOMAIN as TOKENS
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS

Row = TypeVar("Row", bound=Struct)
exchange: Final = RabbitExchange(EXCHANGE, type=ExchangeType.TOPIC, durable=True, declare=False)


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


def service(domain: Domain[Any], stock: Iterable[Message] = ()) -> FastAPI:
    """One process: a subscriber of its queue, and HTTP."""
    broker = RabbitBroker(
        os.environ["ZOCO_RABBITMQ_URL"],
        default_channel=Channel(prefetch_count=PREFETCH, publisher_confirms=True, on_return_raises=True),
        apply_types=False,
        logger=None,
    )
    shelf = Shelf(domain, stock)

    async def read(message: RabbitMessage) -> Message:
        return decode(message.raw_message.routing_key or "", message.body, utc_now())

    async def hear(message: Message) -> None:
        for said in await shelf.hear(message):
            await publish(broker, said)

    queue = RabbitQueue(
        domain.name, queue_type=QueueType.QUORUM, durable=True, declare=False, arguments=QUEUES[domain.name]
    )
    broker.subscriber(queue, ack_policy=AckPolicy.NACK_ON_ERROR, decoder=read, no_reply=True)(hear)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await broker.start()
        yield
        await broker.stop()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.shelf, app.state.broker = shelf, broker
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


def compras() -> FastAPI:
    app = service(COMPRAS)
    shelf: Shelf[Any] = app.state.shelf

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
        # Confirmed before it is answered: nothing here publishes again what a crash left unsaid.
        for said in await shelf.hear(message):
            await publish(app.state.broker, said)
        row = shelf.rows[message.compra_id]
        assert isinstance(row, Compra)
        return json_bytes(vista(row), 202)

    async def ended() -> int:
        return shelf.ended

    app.add_api_route("/compras", comprar, methods=["POST"], status_code=202)
    app.add_api_route("/ended", ended)
    return app


def tokens() -> FastAPI:
    return service(TOKENS, (_token(number) for number in range(1, int(os.environ["BENCH_TOKENS"]) + 1)))


def usuarios() -> FastAPI:
    rich = PRECIO * int(os.environ["BENCH_TOKENS"])
    return service(
        USUARIOS,
        [UsuarioRegistrado(alta_id="bench", fecha=utc_now(), usuario_id=USUARIO, nombre="Comprador", saldo=rich)],
    )


def transacciones() -> FastAPI:
    return service(TRANSACCIONES)


def _token(number: int) -> TokenPublicado:
    return TokenPublicado(
        alta_id=f"bench:{number}",
        fecha=utc_now(),
        token_id=number,
        nombre=f"Token {number}",
        imagen="gato.jpg",
        precio=PRECIO,
    )
