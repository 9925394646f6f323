"""The dead letters: what no service could act on. For an operator, who reads them, replays them or throws them away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from pamqp.commands import Basic

from broker.amqp.frames import Delivered
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
    headers: dict[str, Any]
    body: str

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("queue", "id", "type", "hora", "motivo", "headers", "body")}


class DeadLetterQueue:
    """A desk with its own connection. Use it as `async with`. Raises what `broker.amqp.bus.UNKNOWN` lists."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AbstractConnection | None = None

    async def __aenter__(self) -> Self:
        self._connection = await aio_pika.connect(
            self._url, timeout=CALL_SECONDS, client_properties={"connection_name": "zoco-dead-letters"}
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            await self._connection.close()

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
        return await self._take(service, message_id, again=True)

    async def discard(self, service: Service, message_id: str) -> int:
        """Throw those with this id away. Returns how many."""
        return await self._take(service, message_id, again=False)

    async def _take(self, service: Service, message_id: str | None, *, again: bool) -> int:
        channel = await self._channel()
        count = left = 0
        async for raw in self._letters(channel, service):
            if message_id not in (None, raw.message_id):
                left += 1
                continue
            if again:
                await self._put_back(channel, service, raw)
            await raw.ack()
            count += 1
        await self._give_back(channel, service, left)
        return count

    async def _give_back(self, channel: AbstractChannel, service: Service, count: int) -> None:
        """What was taken and not acked goes back to its place; until it is there the next look would miss it."""
        await channel.close()
        channel = await self._channel()
        # Somebody else may look at the same time, and have them.
        with suppress(TimeoutError):
            async with asyncio.timeout(CALL_SECONDS):
                while await self._waiting(channel, service) < count:  # noqa: ASYNC110 - the broker tells nobody
                    await asyncio.sleep(POLL_SECONDS)
        await channel.close()

    async def _put_back(self, channel: AbstractChannel, service: Service, raw: AbstractIncomingMessage) -> None:
        message = copy_of(raw, {name: value for name, value in raw.headers.items() if not name.startswith("x-")})
        confirm = await channel.default_exchange.publish(
            message, routing_key=service, mandatory=True, timeout=PUBLISH_SECONDS
        )
        if not isinstance(confirm, Basic.Ack):
            raise ConnectionError(f"the broker did not confirm {raw.message_id}: it is still with the dead letters")

    async def _channel(self) -> AbstractChannel:
        assert self._connection is not None, "use the desk with `async with`"
        return await self._connection.channel(on_return_raises=True)

    async def _waiting(self, channel: AbstractChannel, service: Service) -> int:
        queue = await channel.declare_queue(dead_letter_queue(service), passive=True, timeout=CALL_SECONDS)
        return queue.declaration_result.message_count or 0

    async def _letters(self, channel: AbstractChannel, service: Service) -> AsyncIterator[AbstractIncomingMessage]:
        """As many as there are now: one that is replayed and fails at once is not met again."""
        queue = await channel.get_queue(dead_letter_queue(service), ensure=False)
        for _ in range(await self._waiting(channel, service)):
            raw = await queue.get(fail=False, timeout=CALL_SECONDS)
            if raw is None:
                return
            yield raw


def copy_of(raw: AbstractIncomingMessage | Delivered, headers: dict[str, Any]) -> aio_pika.Message:
    """The same message to be sent again, as it was but for its headers."""
    return aio_pika.Message(
        raw.body,
        headers=headers,
        content_type=raw.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=raw.message_id,
        correlation_id=raw.correlation_id,
        type=raw.type,
        app_id=raw.app_id,
        timestamp=raw.timestamp,
    )


def _letter(service: Service, raw: AbstractIncomingMessage) -> DeadLetter:
    headers = {name: value if isinstance(value, str | int) else str(value) for name, value in raw.headers.items()}
    return DeadLetter(
        queue=dead_letter_queue(service),
        id=raw.message_id or "",
        type=str(headers.get("x-routing-key") or raw.type or ""),
        hora=str(headers.get("x-hora", "")),
        motivo=str(headers.get("x-motivo") or headers.get("x-first-death-reason") or "unknown"),
        headers=headers,
        body=raw.body.decode(errors="replace"),
    )
