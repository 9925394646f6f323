"""The dead letters: what no service could act on. For an operator, who reads them, replays them or throws them away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from aio_pika.abc import AbstractChannel, AbstractConnection

from broker.amqp.calls import close, number_and_frame_max, open_channel
from broker.amqp.connect import Address, connect
from broker.amqp.frames import Delivered, Outgoing, Publisher, Unroutable
from broker.amqp.getter import Getter
from broker.amqp.tables import entries, readable
from broker.amqp.tap import FrameTap
from broker.services import SERVICES, Service
from broker.topology import dead_letter_queue

CALL_SECONDS: Final = 10
PUBLISH_SECONDS: Final = 15
POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter. `motivo` is the reason that the service gave, or the broker's."""

    queue: str
    id: str
    type: str
    hora: str
    motivo: str
    headers: dict[str, str | int]
    body: str

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("queue", "id", "type", "hora", "motivo", "headers", "body")}


class DeadLetterQueue:
    """A desk with its own connection. Use it as `async with`. Raises what `broker.amqp.calls.UNKNOWN` lists."""

    def __init__(self, url: str) -> None:
        self._address = Address.read(url)
        self._line = FrameTap(hosts=self._address.hosts)
        self._connection: AbstractConnection | None = None

    async def __aenter__(self) -> Self:
        self._connection = await connect(self._address, "zoco-dead-letters", line=self._line, seconds=CALL_SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            with suppress(TimeoutError):
                await close(self._connection, CALL_SECONDS)

    async def list(self) -> list[DeadLetter]:
        """All of them. They stay where they are, in their order."""
        found = []
        for service in SERVICES:
            channel = await self._channel()
            here = [_letter(service, raw) async for raw in self._letters(channel, service)]
            await self._give_back(channel, service, len(here))
            found += here
        return found

    async def replay(self, service: Service, message_id: str | None) -> int:
        """Put them into the queue of the service that could not act on them, and of no other. Returns how many."""
        out = await self._channel()
        publisher = Publisher(self._line, *await number_and_frame_max(out))
        return await self._take(service, message_id, publisher)

    async def discard(self, service: Service, message_id: str) -> int:
        """Throw those with this id away. Returns how many."""
        return await self._take(service, message_id, None)

    async def _take(self, service: Service, message_id: str | None, publisher: Publisher | None) -> int:
        channel = await self._channel()
        count = left = 0
        async for raw in self._letters(channel, service):
            if message_id not in (None, raw.message_id or ""):
                left += 1
                continue
            if publisher is not None:
                await self._put_back(publisher, service, raw)
            raw.consumer.ack(raw.tag, flags=0)
            count += 1
        await self._give_back(channel, service, left)
        return count

    async def _give_back(self, channel: AbstractChannel, service: Service, count: int) -> None:
        """What was taken and not acked goes back to its place; until it is there the next look would miss it."""
        await close(channel, CALL_SECONDS)
        channel = await self._channel()
        # Somebody else may look at the same time, and have them.
        with suppress(TimeoutError):
            async with asyncio.timeout(CALL_SECONDS):
                while await self._waiting(channel, service) < count:  # noqa: ASYNC110 - the broker tells nobody
                    await asyncio.sleep(POLL_SECONDS)
        await close(channel, CALL_SECONDS)

    async def _put_back(self, publisher: Publisher, service: Service, raw: Delivered) -> None:
        """What the way to the dead letters wrote into its headers stays here."""
        headers = b"".join(entry.raw for entry in entries(raw.table) if not entry.name.startswith(b"x-"))
        still = f"{raw.message_id} is still with the dead letters"
        try:
            (sure,) = await publisher.publish([Outgoing("", service, raw.repeated(headers), raw.body)], PUBLISH_SECONDS)
        except Unroutable:
            raise ConnectionError(f"there is no queue {service}: {still}") from None
        if not sure:
            raise ConnectionError(f"the broker did not confirm it ({self._line.closed or 'it says nothing'}): {still}")

    async def _channel(self) -> AbstractChannel:
        if self._connection is None:
            raise RuntimeError("use the desk with `async with`")
        return await open_channel(self._connection, CALL_SECONDS)

    async def _waiting(self, channel: AbstractChannel, service: Service) -> int:
        queue = await channel.declare_queue(dead_letter_queue(service), passive=True, timeout=CALL_SECONDS)
        return queue.declaration_result.message_count or 0

    async def _letters(self, channel: AbstractChannel, service: Service) -> AsyncIterator[Delivered]:
        """As many as there are now: one that is replayed and fails at once is not met again."""
        waiting = await self._waiting(channel, service)
        number, _ = await number_and_frame_max(channel)
        getter = Getter(self._line, number)
        for _ in range(waiting):
            raw = await getter.get(dead_letter_queue(service), CALL_SECONDS)
            if raw is None:
                return
            yield raw


def _letter(service: Service, raw: Delivered) -> DeadLetter:
    headers = readable(raw.table)
    return DeadLetter(
        queue=dead_letter_queue(service),
        id=raw.message_id or "",
        type=str(headers.get("x-routing-key") or raw.type or ""),
        hora=str(headers.get("x-hora", "")),
        motivo=str(headers.get("x-motivo") or headers.get("x-first-death-reason") or "unknown"),
        headers=headers,
        body=raw.body.decode(errors="replace"),
    )
