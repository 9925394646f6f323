"""The loop, which is one sentence: receive, decide, store, publish, ack, in that order.

A crash anywhere repeats the message, and the store repeats its last word about that purchase; what else was to be said,
of others or because of HTTP, is said by who decides next. It works in batches: whatever has arrived is
decided in order and written with one sync; while that batch is published, the next one is decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from broker.amqp.bus import BusOptions, Delivery
from broker.messages import Message
from services.shared.heights import Doubted
from services.shared.store import Answer, BatchStore

# Larger batches save little more and delay the first of them (64 to 256 confirms in flight).
BATCH_LIMIT: Final = 500
# Two batches begin at least so far apart: under load each carries more for the same sync and the same few writes to
# the socket; a message that comes alone is not delayed. Measured at a third of the top rate on two cores: with 1 ms
# the machine is busy with beginnings, with 10 ms each of the six batches of a purchase adds to its latency.
LINGER_SECONDS: Final = BusOptions().gather_seconds


class Transport(Protocol):
    """What the loop asks of the broker. `broker.amqp.bus.Bus` is the real one."""

    async def receive(self, limit: int) -> list[Delivery]: ...

    async def publish(self, messages: Sequence[Message]) -> None: ...

    async def settle(self, batch: Sequence[Delivery], reasons: Mapping[Delivery, str]) -> None: ...


class ProcessorMetrics(Protocol):
    """Who counts what the loop does."""

    def decided(self, batch: Sequence[Delivery | Submission], answers: Sequence[Answer]) -> None: ...

    def poisoned(self, count: int) -> None: ...

    def published(self, messages: Sequence[Message]) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Submission:
    """A message that came by HTTP: there is nobody to ack to, but somebody waits for it to be durable."""

    message: Message
    answer: asyncio.Future[Answer]


@dataclass(frozen=True, slots=True)
class _Decided:
    """A batch that is on the disk and has not been told yet."""

    deliveries: list[Delivery]
    messages: list[Message]
    # Those of them that nobody has said before.
    news: list[Message]
    reasons: dict[Delivery, str]


class Processor:
    """One writer's work. `run` until it raises (the store is broken, somebody else writes, a book is in doubt) or is
    cancelled; after a doubt it may be run again."""

    def __init__(
        self, store: BatchStore, transport: Transport, metrics: ProcessorMetrics, *, batch_limit: int = BATCH_LIMIT
    ) -> None:
        self._store = store
        self._transport = transport
        self._metrics = metrics
        self._batch_limit = batch_limit
        self._inbox: asyncio.Queue[Delivery | Submission] = asyncio.Queue()
        self._decided: asyncio.Queue[_Decided] = asyncio.Queue()
        # What is being told: what a doubt cancels is told again, as no message asks for all of it.
        self._telling: list[_Decided] = []

    async def run(self) -> None:
        self._store.speaks(self._transport.publish)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive())
            tasks.create_task(self._decide())
            tasks.create_task(self._publish())

    def submit(self, message: Message) -> asyncio.Future[Answer]:
        """Put a message through the loop as if it had come from the queue. The answer comes once it is durable."""
        submission = Submission(message, asyncio.get_running_loop().create_future())
        self._inbox.put_nowait(submission)
        return submission.answer

    async def idle(self) -> None:
        """Return once all that was received is decided, told and settled."""
        await self._inbox.join()
        await self._decided.join()

    async def _receive(self) -> None:
        while True:
            for delivery in await self._transport.receive(self._batch_limit):
                self._inbox.put_nowait(delivery)

    async def _decide(self) -> None:
        clock = asyncio.get_running_loop().time
        began = 0.0
        while True:
            batch = [await self._inbox.get()]
            if (early := began + LINGER_SECONDS - clock()) > 0:
                await asyncio.sleep(early)
            began = clock()
            while len(batch) < self._batch_limit and not self._inbox.empty():
                batch.append(self._inbox.get_nowait())
            try:
                self._decided.put_nowait(await self._decide_batch(batch))
            finally:
                for _ in batch:
                    self._inbox.task_done()

    async def _decide_batch(self, batch: Sequence[Delivery | Submission]) -> _Decided:
        heard = [item for item in batch if item.message is not None]
        try:
            answers = await self._store.process_batch([item.message for item in heard if item.message is not None])
        except Doubted as doubted:
            for item in heard:
                if isinstance(item, Submission) and not item.answer.done():
                    item.answer.set_exception(doubted)
            raise
        self._metrics.decided(heard, answers)
        decided = _Decided(
            [item for item in batch if isinstance(item, Delivery)],
            [message for answer in answers for message in answer.messages],
            [message for answer in answers if not answer.repeated for message in answer.messages],
            {item: item.poison for item in batch if isinstance(item, Delivery) and item.poison is not None},
        )
        self._metrics.poisoned(len(decided.reasons))
        for item, answer in zip(heard, answers, strict=True):
            if isinstance(item, Submission):
                # Whoever waited may have given up.
                if not item.answer.done():
                    item.answer.set_result(answer)
            elif answer.failure is not None:
                decided.reasons[item] = answer.failure
        return decided

    async def _publish(self) -> None:
        telling = self._telling
        while True:
            if not telling:
                telling.append(await self._decided.get())
            while not self._decided.empty():
                telling.append(self._decided.get_nowait())
            messages = [message for decided in telling for message in decided.messages]
            await self._transport.publish(messages)
            self._store.told([message for decided in telling for message in decided.news])
            self._metrics.published(messages)
            while telling:
                await self._transport.settle(telling[0].deliveries, telling[0].reasons)
                del telling[0]
                self._decided.task_done()
