"""Acks that wait for their neighbours: for one message alone, its ack costs RabbitMQ a quarter of all that it does."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from broker.amqp.frames import Consumer

# The first that waits is sent after so long: with 50 ms the process wakes up for it as often as for messages.
ACK_SECONDS: Final = 0.25
# With so many in the process's hands nothing waits; nor with a quarter of what the broker sends ahead.
ACK_COUNT: Final = 64


class Acks:
    """How far one consumer's deliveries are settled and not acked yet. Of a process that dies meanwhile they come
    again, as others do that it had in its hands, and the store answers those with its last word."""

    def __init__(self, prefetch: int) -> None:
        self._most = min(ACK_COUNT, prefetch // 4)
        self._waiting: tuple[Consumer, int] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def hold(self, consumer: Consumer, tag: int, *, at_once: bool) -> None:
        """Ack this delivery and all before it, sooner or later."""
        self._waiting = consumer, tag
        if at_once or len(consumer.held) >= self._most:
            self.send()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ACK_SECONDS, self.send)

    def send(self) -> None:
        waiting = self._waiting
        self.drop()
        if waiting is not None:
            consumer, tag = waiting
            with contextlib.suppress(ConnectionError):
                consumer.ack(tag)

    def drop(self) -> None:
        """The consumer is gone: what it brought comes again by itself."""
        self._waiting = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
