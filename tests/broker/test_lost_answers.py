"""An answer of the broker that never comes, on a line that lives: asked again on a new one."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from broker_builders import Wire, running, solicitada, take, until, wire

from broker.amqp.dead_letters import DeadLetterQueue
from ops.rabbitmq import Node

# Class and method of each answer that something of ours waits for.
ANSWERS = {
    "channel.open-ok": (20, 11),
    "channel.close-ok": (20, 41),
    "exchange.declare-ok": (40, 11),
    "queue.declare-ok": (50, 11),
    "queue.bind-ok": (50, 21),
    "basic.qos-ok": (60, 11),
    "basic.consume-ok": (60, 21),
    "confirm.select-ok": (85, 11),
}
ASKED_OFTEN = ("channel.open-ok", "channel.close-ok", "queue.declare-ok", "queue.bind-ok")
METHOD = 1


class Lossy(Wire):
    """One answer is lost; heartbeats and all the rest go by."""

    def __init__(self, port: int, answer: str, after: int) -> None:
        super().__init__(port)
        self._answer, self._after = ANSWERS[answer], after
        self.lost = False

    async def answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(7)
                rest = await reader.readexactly(int.from_bytes(head[3:7], "big") + 1)
                if not self._loses(head[0], rest):
                    writer.write(head + rest)
                    await writer.drain()
        writer.close()

    def _loses(self, kind: int, payload: bytes) -> bool:
        method = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
        if self.lost or kind != METHOD or method != self._answer:
            return False
        self._after -= 1
        self.lost = self._after < 0
        return self.lost


# The first of them, and one in the middle of what a service asks while it connects.
@pytest.mark.parametrize(
    ("answer", "after"), [*((answer, 0) for answer in ANSWERS), *((answer, 5) for answer in ASKED_OFTEN)]
)
async def test_a_service_gets_on_when_an_answer_is_lost(node: Node, url: str, answer: str, after: int) -> None:
    async with running(url, "compras"):
        """The queues are there: their channels are not closed for the want of them."""
    async with (
        wire(node, url, lossy := Lossy(node.amqp_port, answer, after)) as (_, by_it),
        running(by_it, "tokens", consume=True, connect=False, call_seconds=0.5) as bus,
    ):
        await until(lambda: lossy.lost and bus.connected and bus.consuming)
        await bus.publish([solicitada()])
        (delivery,) = await take(bus, 1)
        await bus.settle([delivery], {})


@pytest.mark.parametrize("answer", ["channel.open-ok", "channel.close-ok", "queue.declare-ok"])
async def test_whoever_looks_at_the_dead_letters_is_told(
    node: Node, url: str, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.amqp.dead_letters.CALL_SECONDS", 2)
    async with running(url, "tokens"), wire(node, url, lossy := Lossy(node.amqp_port, answer, 0)) as (_, by_it):
        with pytest.raises(TimeoutError):
            async with DeadLetterQueue(by_it) as desk:
                await desk.list()
        assert lossy.lost
        async with DeadLetterQueue(by_it) as desk:
            assert await desk.list() == []
