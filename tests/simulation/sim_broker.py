"""A broker with production's bindings that loses, doubles, delays and reorders; and a process's way to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from broker.amqp.bus import Delivery
from broker.messages import Message, Poison, decode, encode, encode_word
from broker.services import SERVICES, Service
from broker.topology import BINDINGS, EXCHANGE


class Broken(Exception):
    """A promise that was not kept."""

    def __init__(self, promise: str, says: str) -> None:
        super().__init__(f"promise {promise}: {says}")
        self.promise = promise


ROUTES: dict[str, list[str]] = {}
for exchange, key, queue in BINDINGS:
    if exchange == EXCHANGE:
        ROUTES.setdefault(key, []).append(queue)


@dataclass(eq=False, slots=True)
class Envelope:
    type: str
    body: bytes
    heights: str = ""
    redelivered: bool = False


@dataclass(eq=False, slots=True, frozen=True)
class Raw:
    connection: int
    tag: int


class Broker:
    def __init__(self, world: Any) -> None:
        self.world = world
        self.up = True
        self.queues: dict[str, list[Envelope]] = {name: [] for name in SERVICES}
        self.letters: dict[str, list[tuple[str, str]]] = {name: [] for name in SERVICES}
        self.wires: dict[str, list[SimWire]] = {name: [] for name in SERVICES}
        self.ticking: set[str] = set()
        self.late = 0
        self.era = 0

    def take(self, type_name: str, body: bytes, heights: str) -> None:
        for queue in ROUTES[type_name]:
            self._enqueue(queue, Envelope(type_name, body, heights))

    def _enqueue(self, queue: str, envelope: Envelope) -> None:
        world = self.world
        if world.happens("lost message"):
            return
        if world.happens("duplicate"):
            self._put(queue, Envelope(envelope.type, envelope.body, envelope.heights))
        self._put(queue, envelope)

    def _put(self, queue: str, envelope: Envelope) -> None:
        world = self.world
        if world.happens("delay"):
            self.late += 1
            world.loop.call_later(world.rng.expovariate(1.5), self._arrive, queue, envelope, context=world.context)
        else:
            self.insert(queue, envelope)

    def _arrive(self, queue: str, envelope: Envelope) -> None:
        self.late -= 1
        self.insert(queue, envelope)

    def insert(self, queue: str, envelope: Envelope) -> None:
        waiting = self.queues[queue]
        if waiting and self.world.happens("reorder"):
            waiting.insert(self.world.rng.randrange(len(waiting)), envelope)
        else:
            waiting.append(envelope)
        self.tick(queue)

    def tick(self, queue: str) -> None:
        if queue not in self.ticking and self.queues[queue] and self.wires[queue] and self.up:
            self.ticking.add(queue)
            delay = self.world.rng.choice((0.0005, 0.001, 0.004))
            self.world.loop.call_later(delay, self._deliver, queue, context=self.world.context)

    def _deliver(self, queue: str) -> None:
        self.ticking.discard(queue)
        wires, waiting = self.wires[queue], self.queues[queue]
        if not (self.up and wires and waiting):
            return
        rng = self.world.rng
        for _ in range(min(len(waiting), rng.choice((1, 2, 8, 50)))):
            wire = wires[0] if len(wires) == 1 else rng.choice(wires)
            if len(wire.unacked) >= 20:
                break
            wire.put(waiting.pop(0))
        self.tick(queue)

    def away(self) -> None:
        self.up = False
        self.cut()

    def back(self) -> None:
        self.up = True
        for wire in [wire for process in self.world.processes() if (wire := process.wire) is not None and wire.wanted]:
            wire.connect()

    def cut(self) -> None:
        """All connections break; those who are alive connect again."""
        for wires in self.wires.values():
            for wire in list(wires):
                wire.disconnect()
                if self.up:
                    self.world.loop.call_later(0.3, wire.connect, context=self.world.context)

    def wipe(self) -> None:
        for wires in self.wires.values():
            for wire in wires:
                wire.unacked.clear()
        self.cut()
        for waiting in self.queues.values():
            waiting.clear()

    def quiet(self) -> bool:
        return (
            not self.late
            and not any(self.queues.values())
            and not any(wire.unacked for wires in self.wires.values() for wire in wires)
        )


class SimWire:
    def __init__(self, broker: Broker, process: Any) -> None:
        self.broker, self.process = broker, process
        self.service = process.service
        self.wanted = False
        self.connection = 0
        self.tag = 0
        self.unacked: dict[int, Envelope] = {}
        self.arrived: deque[Delivery] = deque()
        self.something = asyncio.Event()
        self.publishing = asyncio.Lock()

    def consume(self) -> None:
        self.wanted = True
        self.connect()

    def connect(self) -> None:
        if self.wanted and self.process.alive and self.broker.up and self not in self.broker.wires[self.service]:
            self.connection += 1
            self.arrived.clear()
            self.broker.wires[self.service].append(self)
            self.broker.tick(self.service)

    def disconnect(self) -> None:
        if self in self.broker.wires[self.service]:
            self.broker.wires[self.service].remove(self)
        back = list(self.unacked.values())
        self.unacked.clear()
        for envelope in back:
            envelope.redelivered = True
        self.broker.queues[self.service][:0] = back
        self.broker.tick(self.service)

    def put(self, envelope: Envelope) -> None:
        self.tag += 1
        self.unacked[self.tag] = envelope
        message, poison = None, None
        try:
            message = decode(envelope.type, envelope.body, self.process.now(), envelope.heights)
        except Poison as error:
            poison = str(error)
        self.broker.world.counts["redelivered"] += envelope.redelivered
        raw: Any = Raw(self.connection, self.tag)
        self.arrived.append(Delivery(message, poison, envelope.redelivered, raw))
        self.something.set()

    async def receive(self, limit: int) -> list[Delivery]:
        while not self.arrived:
            self.something.clear()
            await self.something.wait()
        self.process.at("receive>")
        return [self.arrived.popleft() for _ in range(min(limit, len(self.arrived)))]

    async def publish(self, messages: Sequence[Message]) -> None:
        world, process = self.broker.world, self.process
        process.at("publish<")
        unique = {message.id: message for message in messages}
        for message in unique.values():
            if not world.folders[self.service].durable(encode_word(message)):
                world.loop.failure = Broken("durable", f"{self.service} said {message.id}, which is not on its disk")
        async with self.publishing:
            left = list(unique.values())
            while left:
                while not self.broker.up:
                    await asyncio.sleep(0.2)
                await asyncio.sleep(world.rng.choice((0.0005, 0.002)))
                failed = []
                for message in left:
                    if not self.broker.up or world.happens("publish fails"):
                        failed.append(message)
                        continue
                    self.broker.take(message.type, encode(message), message.heights)
                    process.at("publish|")
                    if world.happens("unknown"):
                        failed.append(message)
                left = failed
                if left:
                    await asyncio.sleep(0.2)
        process.at("publish>")

    async def settle(self, batch: Sequence[Delivery], reasons: Mapping[Delivery, str]) -> None:
        self.process.at("settle<")
        await asyncio.sleep(0.0005)
        for delivery, reason in reasons.items():
            what = delivery.message.id if delivery.message else "poison"
            self.broker.letters[self.service].append((what, reason))
            self.broker.world.counts["dead-lettered"] += 1
        folder, loop = self.broker.world.folders[self.service], self.broker.world.loop
        for item in batch:
            decided = item.message if item not in reasons else None
            if decided is not None and self.process.store.heights.stale(decided.heights):
                continue
            if decided is not None and not folder.durable(b'"id":"%s"' % decided.id.encode()):
                loop.failure = Broken("durable", f"{self.service} acked {decided.id}, which is not on its disk")
        tags = [item.raw.tag for item in batch if item.raw.connection == self.connection]  # type: ignore[attr-defined]
        if tags and self in self.broker.wires[self.service]:
            last = max(tags)
            for tag in [tag for tag in self.unacked if tag <= last]:
                del self.unacked[tag]
            self.broker.tick(self.service)
        self.process.at("settle>")

    async def oldest(self) -> dict[Service, float] | None:
        await asyncio.sleep(0.001)
        return {name: inf if queue else 0.0 for name, queue in self.broker.queues.items()} if self.broker.up else None
