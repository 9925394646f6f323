"""What the broker's tests share: messages, a bus that runs, an operator's connection, and a wire that can be cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aio_pika
import aiohttp
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from patience import PATIENCE_SECONDS
from shop_builders import rabbitmqctl

from broker.amqp.bus import Bus, BusOptions, Delivery
from broker.messages import CompraSolicitada, Message, TokenReservado, compra_id, decode, encode
from broker.services import Service
from broker.topology import QUEUES
from ops.rabbitmq import Node

FECHA = "2025-09-10T17:00:00.000Z"
QUICK: dict[str, Any] = {
    "connect_seconds": 5,
    "publish_seconds": 1.5,
    "call_seconds": 5,
    "retry_first_seconds": 0.05,
    "retry_longest_seconds": 0.3,
    "first_declaration_seconds": 0,
    "watch_seconds": 0.3,
}


def now() -> str:
    return FECHA


def solicitada(key: str | int = "k") -> CompraSolicitada:
    """Heard by tokens alone."""
    return CompraSolicitada(compra_id=compra_id(1, str(key)), usuario_id=1, token_id=101, fecha=FECHA)


def reservado(key: str | int = "k") -> TokenReservado:
    """Heard by usuarios and by compras."""
    return TokenReservado(compra_id=compra_id(1, str(key)), usuario_id=1, token_id=101, fecha=FECHA, precio=5)


def quick(**options: Any) -> BusOptions:
    return BusOptions(**{**QUICK, **options})


def one_of_each() -> list[Message]:
    """Every message that travels."""
    golden = Path(__file__).parent.parent / "unit" / "golden"
    bodies = {file.stem: json.loads(file.read_text())["body"] for file in sorted(golden.glob("*.json"))}
    return [decode(name, json.dumps(body).encode()) for name, body in bodies.items()]


@asynccontextmanager
async def running(
    url: str, service: Service = "tokens", *, consume: bool = False, connect: bool = True, **options: Any
) -> AsyncIterator[Bus]:
    """A bus that runs and is connected. Fails when `run` ended before the test did."""
    bus = Bus(url, service, options=quick(**options), now=now)
    task = asyncio.create_task(bus.run())
    try:
        if consume:
            bus.consume()
        if connect:
            try:
                await until(lambda: bus.connected and (bus.consuming or not consume), task)
            except TimeoutError:
                raise AssertionError(f"the bus does not connect: {bus.state()}") from None
        yield bus
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        await bus.close()
        # Here, so that it is also seen when the test failed because of it.
        if not isinstance(ended, asyncio.CancelledError):
            raise AssertionError("the bus ended before the test") from ended


async def until(
    condition: Callable[[], bool], task: asyncio.Task[None] | None = None, seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait until it is so. Fails when it takes too long, or when `task` ends before."""
    async with asyncio.timeout(seconds):
        while not condition():
            if task is not None and task.done():
                task.result()
            await asyncio.sleep(0.01)


async def take(bus: Bus, count: int, seconds: float = PATIENCE_SECONDS) -> list[Delivery]:
    """The next `count` deliveries, at least."""
    taken: list[Delivery] = []
    async with asyncio.timeout(seconds):
        while len(taken) < count:
            taken += await bus.receive(100)
    return taken


class Operator:
    """Somebody with every right, on a connection of its own. Made by `operator`."""

    def __init__(self, channel: AbstractChannel) -> None:
        self.channel = channel

    async def count(self, queue: str) -> int:
        """Messages that wait; those that are delivered and not acked do not count."""
        declared = await self.channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0

    async def until_count(self, queue: str, count: int, seconds: float = PATIENCE_SECONDS) -> None:
        async with asyncio.timeout(seconds):
            while await self.count(queue) != count:
                await asyncio.sleep(0.02)

    async def unbind(self, queue: str, exchange: str, key: str) -> None:
        await (await self.channel.get_queue(queue, ensure=False)).unbind(exchange, key)

    async def delete(self, queue: str) -> None:
        await self.channel.queue_delete(queue)

    async def declare(self, queue: str) -> None:
        await self.channel.declare_queue(queue, durable=True, arguments=QUEUES[queue])

    async def get(self, queue: str) -> AbstractIncomingMessage | None:
        return await (await self.channel.get_queue(queue, ensure=False)).get(no_ack=True, fail=False)

    async def drain(self, queue: str) -> list[AbstractIncomingMessage]:
        """Take all there is, for good."""
        found = []
        while (raw := await self.get(queue)) is not None:
            found.append(raw)
        return found

    async def put(self, queue: str, message: Message | bytes, type_name: str = "", **properties: Any) -> None:
        """Put a body into a queue as some stranger would."""
        body = message if isinstance(message, bytes) else encode(message)
        type_name = type_name or (message.type if isinstance(message, Message) else "")
        properties = {"type": type_name, "message_id": "raw", **properties}
        await self.channel.default_exchange.publish(
            aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties), routing_key=queue
        )


@asynccontextmanager
async def operator(url: str) -> AsyncIterator[Operator]:
    connection = await aio_pika.connect(url, timeout=10, client_properties={"connection_name": "the-test"})
    try:
        yield Operator(await connection.channel(on_return_raises=True))
    finally:
        await connection.close()


class Wire:
    """A TCP proxy to the broker, so that a connection can be cut with nobody told. Made by `wire`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        # How long whatever is on its way takes.
        self.delay_seconds = 0.0

    def cut(self) -> None:
        """Every connection, at once."""
        while self._writers:
            self._writers.pop().transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers += [writer, far_writer]
            await asyncio.gather(self._pump(reader, far_writer), self.answers(far_reader, writer))

    async def answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What the broker says, on its way back."""
        await self._pump(reader, writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await asyncio.sleep(self.delay_seconds)
                writer.write(data)
                await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def wire(node: Node, url: str, it: Wire | None = None) -> AsyncIterator[tuple[Wire, str]]:
    """A wire, and the URL that goes by it."""
    it = it or Wire(node.amqp_port)
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield it, url.replace(f":{node.amqp_port}/", f":{port}/")
    finally:
        server.close()
        it.cut()
        await asyncio.sleep(0.05)


async def manage(node: Node, method: str, path: str, body: Any = None) -> Any:
    """Ask the management API."""
    headers = {"Authorization": aiohttp.encode_basic_auth(node.user, node.password)}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, f"{node.management_url}/api/{path}", json=body) as answer,
    ):
        text = await answer.text()
        assert answer.ok, text
        return await answer.json() if text else None


async def set_memory(node: Node, watermark: str) -> None:
    """Raise the memory alarm (with a tiny watermark) or lift it."""
    await rabbitmqctl(node, "set_vm_memory_high_watermark", watermark)


def of(vhost: str) -> str:
    return quote(vhost, safe="")
