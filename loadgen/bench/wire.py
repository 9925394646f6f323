"""Two ways to move messages that do nothing else: aiormq's public API, tuned, and batched writes as ours.

Neither checks the topology, reconnects, or reads what a message says: baselines may be as bare as they like.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from struct import pack
from typing import Final, NamedTuple, Protocol

import aiormq
from aiormq.abc import AbstractConnection, DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from broker.amqp.bus import BusOptions
from broker.amqp.frames import Consumer, Delivered, Outgoing, Publisher
from broker.amqp.tap import FrameTap
from services.shared.processor import BATCH_LIMIT, LINGER_SECONDS
from services.shared.settings import Settings

# As ours.
PREFETCH: Final = int(Settings.model_fields["prefetch"].default)
GATHER_SECONDS: Final = BusOptions().gather_seconds
# Publishes that await their confirm on aiormq's public API; measured: 64 to 256 are best.
WINDOW: Final = 128
CONFIRM_SECONDS: Final = 60.0


class Got(NamedTuple):
    """A delivery, as far as anyone here looks at it."""

    routing_key: str
    tag: int
    body: bytes


class Wire(Protocol):
    """One process's way to the broker: a queue to read, an exchange to write to."""

    async def receive(self) -> list[Got]:
        """At least one, at most a batch, in their order."""

    async def publish(self, batch: Sequence[Outgoing]) -> None:
        """Return when all are confirmed. Raises ConnectionError."""

    async def ack(self, tag: int) -> None:
        """This delivery and all before it."""

    async def close(self) -> None: ...


async def opened(url: str, queue: str | None, *, batched: bool) -> Wire:
    """Connect, and consume from this queue, if any."""
    wire = BatchedWire() if batched else PublicWire()
    await wire.open(url, queue)
    return wire


class _Arriving:
    """What has arrived: batches begin at least LINGER_SECONDS apart, as in our loop."""

    _connections: list[AbstractConnection]

    def __init__(self) -> None:
        self._arrived: deque[Got] = deque()
        self._something = asyncio.Event()
        self._began = 0.0

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()

    def _put_aside(self, got: Got) -> None:
        self._arrived.append(got)
        self._something.set()

    async def receive(self) -> list[Got]:
        clock = asyncio.get_running_loop().time
        while not self._arrived:
            self._something.clear()
            await self._something.wait()
        if (early := self._began + LINGER_SECONDS - clock()) > 0:
            await asyncio.sleep(early)
        self._began = clock()
        return [self._arrived.popleft() for _ in range(min(BATCH_LIMIT, len(self._arrived)))]


class PublicWire(_Arriving):
    """aiormq as it is: a window of publishes in flight, acks with `multiple`."""

    _out: Channel

    def __init__(self) -> None:
        super().__init__()
        # A message's properties as aiormq wants them: read once.
        self._properties: dict[bytes, Basic.Properties] = {}

    async def open(self, url: str, queue: str | None) -> None:
        self._connections = [await aiormq.connect(url), await aiormq.connect(url)]
        out = await self._connections[0].channel(publisher_confirms=True, on_return_raises=True)
        assert isinstance(out, Channel)
        self._out = out
        self._in = await self._connections[1].channel(publisher_confirms=False)
        if queue is not None:
            await self._in.basic_qos(prefetch_count=PREFETCH)
            await self._in.basic_consume(queue, self._came)

    async def _came(self, message: DeliveredMessage) -> None:
        assert message.routing_key is not None
        assert message.delivery_tag is not None
        self._put_aside(Got(message.routing_key, message.delivery_tag, message.body))

    async def publish(self, batch: Sequence[Outgoing]) -> None:
        for at in range(0, len(batch), WINDOW):
            await asyncio.gather(*[self._published(message) for message in batch[at : at + WINDOW]])

    async def _published(self, message: Outgoing) -> None:
        properties = self._properties.get(message.properties)
        if properties is None:
            properties = self._properties[message.properties] = _readable(message)
        # Not to wait for the socket to drain lets the publishes of a window share their writes.
        confirmed = await self._out.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=properties,
            mandatory=True,
            wait=False,
        )
        if not isinstance(confirmed, Basic.Ack):
            raise ConnectionError(f"{message.routing_key} was not confirmed: {confirmed}")

    async def ack(self, tag: int) -> None:
        await self._in.basic_ack(tag, multiple=True, wait=False)


class BatchedWire(_Arriving):
    """One write to the socket and one future per batch, by `broker.amqp.frames`."""

    _publisher: Publisher
    _consumer: Consumer

    async def open(self, url: str, queue: str | None) -> None:
        lines = FrameTap(), FrameTap(GATHER_SECONDS)
        self._connections = [await aiormq.connect(url, transport_factory=line) for line in lines]
        publishing, consuming = self._connections
        self._out = await publishing.channel(publisher_confirms=True)
        self._publisher = Publisher(lines[0], self._out.number, publishing.connection_tune.frame_max)
        self._in = await consuming.channel(publisher_confirms=False)
        self._consumer = Consumer(lines[1], self._in.number, self._came)
        if queue is not None:
            await self._in.basic_qos(prefetch_count=PREFETCH)
            await self._in.basic_consume(queue, _never)

    def _came(self, raw: Delivered) -> None:
        self._put_aside(Got(raw.routing_key, raw.tag, raw.body))

    async def publish(self, batch: Sequence[Outgoing]) -> None:
        if not all(await self._publisher.publish(batch, CONFIRM_SECONDS)):
            raise ConnectionError(f"not confirmed in {CONFIRM_SECONDS:.0f} s")

    async def ack(self, tag: int) -> None:
        self._consumer.ack(tag)


async def _never(message: DeliveredMessage) -> None:
    """What aiormq would call for a delivery: ours never reach it."""


def _readable(message: Outgoing) -> Basic.Properties:
    header = ContentHeader()
    header.unmarshal(pack(">HHQ", 60, 0, len(message.body)) + message.properties)
    assert isinstance(header.properties, Basic.Properties)
    return header.properties
