"""Publishing and consuming so that nothing is lost. Every trap of RabbitMQ and aio-pika is dealt with here, once.

Plain connections and a reconnect loop of our own, not aio-pika's robust ones: those keep channels weakly, come back
without a consumer now and then, and reconnect without jitter. Two connections, because an alarm blocks the whole
connection that publishes, acks included.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity, ProbableAuthenticationError
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from broker.amqp.acks import Acks
from broker.amqp.calls import UNKNOWN, close, first_of, lost_is_unknown, number_and_frame_max, open_channel
from broker.amqp.connect import HEARTBEAT_SECONDS, Address, connect
from broker.amqp.envelope import Hearing, outgoing
from broker.amqp.frames import Consumer, Delivered, Outgoing, Publisher, Unroutable
from broker.amqp.letters import BUDGET, BUDGET_SECONDS, SHORTEST, Budget, letter
from broker.amqp.queues import check, keep_routes
from broker.amqp.tap import FrameTap
from broker.amqp.vigil import Vigil, oldest_seconds
from broker.messages import Message, Poison
from broker.services import Service
from broker.topology import QUEUES

log = structlog.get_logger()

# Deliveries ahead of their acks: 100 to 300 is the sweet spot.
PREFETCH: Final = 300


class BusError(Exception):
    """The broker is away, or does not answer in time. Says which."""


class BusRefused(Exception):
    """The broker does not let us in, and never did: the URL is wrong, and waiting does not mend it."""


class BusStuck(Exception):
    """The consumer gets nothing though there is something to get, and rebuilding it did not help: start anew."""


@dataclass(frozen=True, slots=True)
class BusOptions:
    """Times in seconds. The defaults are measured; tests use shorter ones."""

    prefetch: int = PREFETCH
    # What comes within so long of a delivery is read together with the next one.
    gather_seconds: float = 0.004
    # Publishes that wait for their confirm: a batch of the loop, each of which may say two things.
    window: int = 1000
    connect_seconds: float = 10
    heartbeat_seconds: int = HEARTBEAT_SECONDS
    # A publish that is not confirmed by then is unknown: it is sent again, with the same id.
    publish_seconds: float = 15
    call_seconds: float = 10
    retry_first_seconds: float = 0.2
    retry_longest_seconds: float = 2
    # A broker that is killed within a second of a quorum queue's first declaration loses the queue.
    first_declaration_seconds: float = 2
    watch_seconds: float = 5
    # Without a delivery for so long, though there are messages: build the consumer anew; after the second, end.
    silent_seconds: float = 60
    stuck_seconds: float = 180
    # Heard of nothing for so long, a consumer is asked for again: others on its queue hide that it is gone.
    renew_seconds: float = 30
    # How long a route that somebody took away stays away: what was said meanwhile is asked for again.
    routes_seconds: float = 10
    # So many dead letters in so long are an alarm.
    letters: int = BUDGET
    letters_seconds: float = BUDGET_SECONDS


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """What a passive declare says: messages that wait to be delivered, and consumers."""

    messages: int
    consumers: int


@dataclass(slots=True, eq=False)
class Delivery:
    """What came from the queue: a message, or the reason why it is poison."""

    message: Message | None
    poison: str | None
    redelivered: bool
    raw: Delivered


class Bus:
    """One service's way to the broker. `run` keeps it alive until it is cancelled."""

    def __init__(
        self, url: str, service: Service, *, options: BusOptions | None = None, now: Callable[[], str]
    ) -> None:
        self.seen_once = False
        self.consuming = False
        self._address = Address.read(url)
        self._service = service
        # How the broker shows whose a connection is: in a cluster the host is the pod.
        self._process = f"{socket.gethostname()} {os.getpid()}"
        self._hearing = Hearing(service)
        self._options = options or BusOptions()
        self._now = now
        self._failures: Counter[str] = Counter()
        self._connections: dict[str, AbstractConnection] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._problems: dict[str, str] = {}
        self._lines: dict[str, FrameTap] = {}
        # Publishing: the topology was checked on this connection, and the exchanges may be written to.
        self._ready = asyncio.Event()
        self._publisher: Publisher | None = None
        self._publishing = asyncio.Lock()
        self._unconfirmed_since: float | None = None
        # The types that the broker refused when they were said last.
        self._refused: set[str] = set()
        self._topology: AbstractChannel | None = None
        self._asking = asyncio.Lock()
        # Consuming. Channels are kept here: nobody else does.
        self._wanted = asyncio.Event()
        self._arrived: deque[Delivery] = deque()
        self._something = asyncio.Event()
        self._channel: AbstractChannel | None = None
        self._consumer: Consumer | None = None
        self._tag: str | None = None
        self._consumers = 0
        self._acks = Acks(self._options.prefetch)
        self._vigil = Vigil(self._options.silent_seconds, self._options.stuck_seconds)
        self._budget = Budget(service, self._options.letters, self._options.letters_seconds)

    @property
    def connected(self) -> bool:
        return self._ready.is_set()

    def state(self) -> dict[str, Any]:
        """How it is, for whoever asks this process."""
        how = {"connected": self.connected, "consuming": self.consuming, "trouble": self.trouble}
        return how | {"oldestSeconds": self.oldest_seconds}

    @property
    def oldest_seconds(self) -> float | None:
        """How long ago the oldest message was said that this process has in its hands; None: it has none."""
        return oldest_seconds(tuple(self._consumer.held)) if self._consumer else None

    @property
    def trouble(self) -> str | None:
        """What is wrong with the broker, in words for an operator; None when nothing is known to be."""
        if self._problems:
            return "; ".join(self._problems.values())
        if self._budget.spent:
            return self._budget.says
        since = self._unconfirmed_since
        if since is not None and time.monotonic() - since > self._options.publish_seconds / 3:
            return (
                f"nothing was confirmed for {time.monotonic() - since:.0f} s: {self._why()}; `zoco doctor` tells more"
            )
        return None

    def _why(self) -> str:
        """Why the broker does not confirm, as far as it says so."""
        if (line := self._lines.get("publish")) and line.blocked:
            return f"it says {line.blocked!r}, which is an alarm"
        if self._refused:
            return f"it refuses {', '.join(sorted(self._refused))}, as it does when a queue that hears it is full"
        return "an alarm, or it hangs"

    async def run(self) -> None:
        """Connect, and connect again, for ever. Raises BusStuck, BusRefused."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep("publish", self._serve_publishing))
                tasks.create_task(self._keep("consume", self._serve_consuming))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def close(self, seconds: float = 3) -> None:
        """Close what is open; a frozen broker is not waited for longer than this."""
        for connection in self._connections.values():
            self._close_behind(connection)
        if self._closing:
            # `run`, when it is cancelled, leaves its own behind.
            await asyncio.wait(self._closing, timeout=seconds)

    # Connections

    async def _keep(self, role: str, serve: Callable[[AbstractConnection], Awaitable[None]]) -> None:
        options = self._options
        pause = options.retry_first_seconds
        while True:
            if role == "consume":
                await self._wanted.wait()
                await self._ready.wait()
            connection = None
            started = time.monotonic()
            try:
                with lost_is_unknown():
                    connection = await self._connect(role)
                    self._connections[role] = connection
                    await serve(connection)
                # Nothing is to be consumed any more.
                self._problems.pop(role, None)
            except UNKNOWN as error:
                if isinstance(error, ProbableAuthenticationError) and not self.seen_once:
                    user = unquote(self._address.url.user or "guest")
                    raise BusRefused(f"the broker refuses user {user!r}: mend ZOCO_RABBITMQ_URL") from error
                self._failures[role] += 1
                self._trouble(role, error)
            finally:
                self._connections.pop(role, None)
                if connection is not None:
                    self._close_behind(connection)
            if time.monotonic() - started > options.retry_longest_seconds + options.connect_seconds:
                # It worked for a while: this is a new trouble, not the old one.
                pause = options.retry_first_seconds
            # Jitter, so that services do not come back in step.
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, options.retry_longest_seconds)

    async def _connect(self, role: str) -> AbstractConnection:
        options = self._options
        gather = options.gather_seconds if role == "consume" else 0.0
        line = self._lines[role] = FrameTap(gather, self._address.after(self._failures[role]))
        try:
            return await connect(
                self._address,
                f"{self._service}-{role} {self._process}",
                line=line,
                seconds=options.connect_seconds,
                heartbeat_seconds=options.heartbeat_seconds,
            )
        except ValueError:
            # Of what the URL says of TLS.
            raise BusRefused("ZOCO_RABBITMQ_URL is wrong: its options behind the ? cannot be read") from None

    def _trouble(self, role: str, error: BaseException) -> None:
        text = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            text = "it does not answer in time: `zoco doctor` tells why"
        if (said := self._lines[role].closed) and said not in text:
            text = f"the broker closed the connection: {said}"
        if self._problems.get(role) != text:
            # Whoever starts before the broker has no trouble yet.
            say = log.warning if self.seen_once else log.info
            say("the broker is away", role=role, error=text)
        self._problems[role] = text

    def _close_behind(self, connection: AbstractConnection) -> None:
        """Close without waiting: a frozen broker would keep us for minutes."""

        async def close_quietly() -> None:
            with contextlib.suppress(*UNKNOWN):
                await close(connection, 5)

        task = asyncio.get_running_loop().create_task(close_quietly())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # Publishing

    async def _serve_publishing(self, connection: AbstractConnection) -> None:
        missing = await check(connection, self._service, self._options.call_seconds)
        if missing:
            log.info("made the queues", queues=missing)
            await asyncio.sleep(self._options.first_declaration_seconds)
        channel = await open_channel(connection, self._options.call_seconds, publisher_confirms=True)
        self._publisher = publisher = Publisher(self._lines["publish"], *await number_and_frame_max(channel))
        self._problems.pop("publish", None)
        self.seen_once = True
        self._ready.set()
        log.info("connected to the broker")
        try:
            kept = keep_routes(self._unblocked, self._service, self._options.routes_seconds, self._options.call_seconds)
            await first_of(connection.closed(), channel.closed(), kept)
        finally:
            self._ready.clear()
            publisher.close()
            self._topology = None
        raise ConnectionError("the broker closed the connection")

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return when the broker has confirmed every one of them, however long that takes.

        One batch at a time, and each id once: two publishes in flight with one id would hide each other's fate.
        """
        once = {message.id: message for message in messages}
        now = self._now()
        await self._until_confirmed([outgoing(message, self._service, now) for message in once.values()])

    async def _until_confirmed(self, outgoing: Sequence[Outgoing]) -> None:
        async with self._publishing:
            left = list(outgoing)
            pause = self._options.retry_first_seconds
            self._unconfirmed_since = time.monotonic()
            try:
                while left:
                    await self._ready.wait()
                    failed = await self._once(left)
                    if len(failed) < len(left):
                        pause = self._options.retry_first_seconds
                        self._unconfirmed_since = time.monotonic()
                    left = failed
                    if left:
                        await asyncio.sleep(pause)
                        pause = min(2 * pause, self._options.retry_longest_seconds)
            finally:
                self._unconfirmed_since = None

    async def _once(self, outgoing: Sequence[Outgoing]) -> list[Outgoing]:
        """Publish each, a window at a time. Returns those that were not surely confirmed, in their order."""
        for start in range(0, len(outgoing), self._options.window):
            part = outgoing[start : start + self._options.window]
            confirmed = await self._confirmed(part)
            failed = [message for message, sure in zip(part, confirmed, strict=True) if not sure]
            if failed:
                # Later ones would overtake these.
                return failed + list(outgoing[start + self._options.window :])
        return []

    async def _confirmed(self, part: Sequence[Outgoing]) -> list[bool]:
        nobody_knows = [False] * len(part)
        if self._publisher is None:
            return nobody_knows
        try:
            sure = await self._publisher.publish(part, self._options.publish_seconds)
            refused = {one.routing_key for one, taken in zip(part, sure, strict=True) if not taken}
            self._refused = refused if self._publisher.refused else set()
            return sure
        except Unroutable:
            log.warning(
                "no queue takes a message: checking the topology again", types={one.routing_key for one in part}
            )
            await self._reconnect()
        except ConnectionError:
            pass
        return nobody_knows

    async def _reconnect(self) -> None:
        """Let everything be checked and made anew, on a new connection."""
        self._ready.clear()
        if connection := self._connections.get("publish"):
            with contextlib.suppress(*UNKNOWN), lost_is_unknown():
                await close(connection, self._options.call_seconds)

    # Topology

    def _unblocked(self) -> AbstractConnection | None:
        """A connection to ask something by: an alarm blocks the one that publishes."""
        role = "consume" if self.consuming else "publish"
        return None if self._lines[role].blocked else self._connections.get(role)

    async def depths(self) -> dict[str, QueueDepth]:
        """Every queue and dead-letter queue as it is now. Raises BusError."""
        return {name: await self._depth(name) for name in QUEUES}

    async def _depth(self, name: str) -> QueueDepth:
        async with self._asking:
            # An alarm blocks the one that publishes, questions included.
            connection = self._connections.get("consume" if self.consuming else "publish")
            if connection is None or not self.connected:
                raise BusError(self.trouble or "there is no connection to the broker")
            try:
                with lost_is_unknown():
                    if self._topology is None or self._topology.is_closed:
                        self._topology = await open_channel(connection, self._options.call_seconds)
                    queue = await self._topology.declare_queue(name, passive=True, timeout=self._options.call_seconds)
            except asyncio.CancelledError:
                # A question that was given up costs its channel.
                self._topology = None
                raise
            except UNKNOWN as error:
                self._topology = None
                if isinstance(error, ChannelNotFoundEntity):
                    await self._reconnect()
                raise BusError(f"queue {name}: {str(error) or type(error).__name__}") from error
            result = queue.declaration_result
            return QueueDepth(result.message_count or 0, result.consumer_count or 0)

    # Consuming

    def consume(self) -> None:
        """Consume from now on, after each reconnect too. Only the one writer of a service does."""
        self._wanted.set()

    async def give_back(self) -> None:
        """Take nothing more, and let the broker keep for later what was not acked."""
        self._wanted.clear()
        self._acks.send()
        if connection := self._connections.get("consume"):
            with contextlib.suppress(*UNKNOWN), lost_is_unknown():
                await close(connection, self._options.call_seconds)

    async def stop_consuming(self) -> None:
        """Take nothing more; what was delivered can still be acked, and is at once."""
        self._wanted.clear()
        self.consuming = False
        self._acks.send()
        if self._channel is not None:
            with contextlib.suppress(*UNKNOWN), lost_is_unknown():
                await self._unsubscribe(self._channel)

    async def _serve_consuming(self, connection: AbstractConnection) -> None:
        channel = await open_channel(connection, self._options.call_seconds, publisher_confirms=False)
        await channel.set_qos(prefetch_count=self._options.prefetch, timeout=self._options.call_seconds)
        self._arrived.clear()
        self._channel = channel
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        underlay = await channel.get_underlay_channel()

        def cancelled(frame: Basic.Cancel) -> None:
            if not lost.done():
                lost.set_result(None)

        underlay.on_consumer_cancel_callbacks.add(cancelled)
        # It only puts the message aside: a handler is cancelled in mid-flight when the connection drops.
        self._consumer = Consumer(self._lines["consume"], underlay.number, self._put_aside)
        try:
            await self._subscribe(channel)
        except ChannelNotFoundEntity:
            # Only the other connection makes queues.
            await self._reconnect()
            raise
        self._vigil.begins()
        self._problems.pop("consume", None)
        self.consuming = True
        try:
            await first_of(connection.closed(), channel.closed(), lost, self._watch())
        finally:
            self.consuming = False
            self._channel = self._consumer = self._tag = None
            self._acks.drop()
        if not self._wanted.is_set():
            return
        if lost.done() and not lost.cancelled():
            await self._reconnect()
        raise ConnectionError("the broker no longer delivers")

    def _put_aside(self, raw: Delivered) -> None:
        message, poison = None, None
        try:
            message = self._hearing.read(raw, self._now())
        except Poison as error:
            poison = str(error)
        self._arrived.append(Delivery(message, poison, raw.redelivered, raw))
        self._something.set()

    async def _subscribe(self, channel: AbstractChannel) -> None:
        # Named before it is there: the first deliveries may come before aiormq has seen that it is.
        self._consumers += 1
        self._tag = tag = f"{self._service}-{self._consumers} {self._process}"
        underlay = await channel.get_underlay_channel()
        await underlay.basic_consume(self._service, _never, consumer_tag=tag, timeout=self._options.call_seconds)

    async def _unsubscribe(self, channel: AbstractChannel) -> None:
        tag, self._tag = self._tag, None
        if tag is not None:
            underlay = await channel.get_underlay_channel()
            await underlay.basic_cancel(tag, timeout=self._options.call_seconds)

    async def _renew(self, channel: AbstractChannel) -> None:
        await self._unsubscribe(channel)
        if self._wanted.is_set():
            await self._subscribe(channel)
            self._vigil.renewed()

    async def _watch(self) -> None:
        """Return when the consumer is surely dead. Raises BusStuck when a new one did not help either."""
        while True:
            await asyncio.sleep(self._options.watch_seconds)
            consumer = self._consumer
            if not self._wanted.is_set() or self._channel is None or consumer is None:
                continue
            if self._vigil.unseen_seconds(consumer.received) > self._options.renew_seconds and not consumer.held:
                await self._renew(self._channel)
            try:
                depth = await self._depth(self._service)
            except BusError:
                continue
            full = len(consumer.held) >= self._options.prefetch
            match self._vigil.look(depth.messages, depth.consumers, consumer.received, full=full):
                case "lost":
                    return
                case "stuck":
                    silent = self._vigil.waits_seconds
                    raise BusStuck(
                        f"{depth.messages} messages wait in {self._service}, and none came for {silent:.0f} s"
                    )

    async def receive(self, limit: int) -> list[Delivery]:
        """At least one delivery, at most `limit`, in the order in which they came."""
        while not self._arrived:
            self._something.clear()
            await self._something.wait()
        return [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]

    async def settle(self, batch: Sequence[Delivery], reasons: Mapping[Delivery, str]) -> None:
        """Put those that have a reason with the dead letters, then ack the batch and those before it (see Acks).

        What came by a connection that is gone comes again by itself: there is nobody to ack to.
        """
        await self._bury(reasons)
        # A batch may well hold deliveries of two connections.
        tags = [delivery.raw.tag for delivery in batch if delivery.raw.consumer is self._consumer]
        if self._consumer is not None and tags:
            self._acks.hold(self._consumer, max(tags), at_once=not self._wanted.is_set())

    async def _bury(self, reasons: Mapping[Delivery, str]) -> None:
        """Put these with the dead letters, all of them together, and return when they are there."""
        if self._budget.spent:
            log.error(self._budget.says)
            await self._budget.until_some_is_left(self._options.watch_seconds)
        mine = {delivery: reason for delivery, reason in reasons.items() if delivery.raw.consumer is self._consumer}
        if not mine:
            return
        longest = self._publisher.longest if self._publisher else SHORTEST
        now, letters = self._now(), []
        for delivery, reason in mine.items():
            log.error("a message went to the dead letters", message_id=repr(delivery.raw.message_id), reason=reason)
            letters.append(letter(delivery.raw, reason, self._service, now, longest))
        await self._until_confirmed(letters)
        self._budget.spend(len(letters))


async def _never(message: DeliveredMessage) -> None:
    """What aiormq would call for a delivery: ours never reach it."""
