"""How long a frame may be is agreed on with the broker: without a limit, and with a small one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from broker_builders import operator, running, solicitada, take
from patience import PATIENCE_SECONDS
from shop_builders import rabbitmqctl
from table_builders import header, sized

from broker.amqp.dead_letters import DeadLetterQueue
from broker.amqp.frames import Outgoing
from ops.rabbitmq import Node

UNLIMITED = 0
SMALLEST = 4096


@pytest.fixture(params=[UNLIMITED, SMALLEST, 8192])
async def frame_max(mortal: Node, request: pytest.FixtureRequest) -> AsyncIterator[int]:
    """For connections that are made from now on."""
    await rabbitmqctl(mortal, "eval", f"application:set_env(rabbit, frame_max, {request.param}).")
    yield request.param
    await rabbitmqctl(mortal, "eval", "application:set_env(rabbit, frame_max, 131072).")


async def test_messages_and_letters_fit_what_was_agreed(frame_max: int, mortal_url: str) -> None:
    async with (
        operator(mortal_url) as admin,
        running(mortal_url, "compras") as compras,
        running(mortal_url, consume=True) as bus,
        DeadLetterQueue(mortal_url) as desk,
    ):
        # As long as a stranger may make them here, and a body of many frames.
        room = (frame_max or 200_000) - 300
        headers = header(b"small", b"V") + header(b"large", sized(b"S", b"y" * room))
        flags = (1 << 15 | 1 << 13).to_bytes(2, "big")
        strange = Outgoing("", "tokens", flags + b"\4text" + sized(b"", headers), b"{" * 300_000)
        assert compras._publisher is not None
        assert await compras._publisher.publish([strange], PATIENCE_SECONDS) == [True]
        await asyncio.wait_for(compras.publish([solicitada(n) for n in range(50)]), PATIENCE_SECONDS)
        batch = await take(bus, 51)
        assert sum(one.message is not None for one in batch) == 50
        await asyncio.wait_for(bus.settle(batch, {batch[0]: "ñ" * 5000}), PATIENCE_SECONDS)
        await bus.stop_consuming()
        await bus._connections["consume"].close()
        (letter,) = await desk.list()
        assert letter.motivo.startswith("ñññ")
        assert "small" in letter.headers
        # What does not fit beside the reason is left out, and counted; without a limit all of it fits.
        assert ("large" in letter.headers) == (frame_max == UNLIMITED)
        assert letter.headers.get("x-omitidas") == (None if frame_max == UNLIMITED else "1")
        assert letter.body == "{" * 300_000
        assert await desk.replay("tokens", None) == 1
        assert await admin.count("tokens") == 1
