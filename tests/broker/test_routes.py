"""What `zoco doctor` finds in a real broker's routes."""

from __future__ import annotations

import asyncio

import aio_pika
import pytest
from broker_builders import manage, of, operator, running
from patience import PATIENCE_SECONDS

from broker.topology import EXCHANGE
from ops.rabbitmq import Node
from ops.routes import compare


async def found(node: Node, vhost: str) -> list[str]:
    return [
        str(says)
        for says in compare(
            await manage(node, "GET", f"bindings/{of(vhost)}"), await manage(node, "GET", f"queues/{of(vhost)}")
        )
    ]


async def test_routes_as_the_table_has_them_are_nothing_to_speak_of(node: Node, vhost: str, url: str) -> None:
    async with operator(url) as admin, running(url):
        # Somebody who only listens along is nobody's trouble.
        along = await admin.channel.declare_queue("along", durable=True, arguments={"x-max-length": 10})
        await along.bind(EXCHANGE, routing_key="#")
        assert await found(node, vhost) == []


async def test_what_differs_is_named(node: Node, vhost: str, url: str) -> None:
    async with operator(url) as admin, running(url, routes_seconds=PATIENCE_SECONDS):
        await admin.unbind("usuarios", EXCHANGE, "token.reservado")
        await (await admin.channel.get_queue("tokens", ensure=False)).bind(EXCHANGE, routing_key="#")
        assert await found(node, vhost) == [
            "queue usuarios does not hear token.reservado: its service binds it again within seconds, if it runs",
            "queue tokens is bound to # of zoco, which is not its own: unbind it",
        ]


@pytest.mark.parametrize("limited", ["arguments", "a policy"])
async def test_a_queue_that_is_full_and_refuses_is_named(node: Node, vhost: str, url: str, limited: str) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"} if limited == "arguments" else {}
    async with operator(url) as admin, running(url):
        foreign = await admin.channel.declare_queue("foreign", durable=True, arguments=arguments)
        await foreign.bind(EXCHANGE, routing_key="#")
        if limited == "a policy":
            full = {"max-length": 1, "overflow": "reject-publish"}
            await manage(
                node, "PUT", f"policies/{of(vhost)}/full",
                {"pattern": "^foreign$", "definition": full, "apply-to": "queues"},
            )  # fmt: skip
        assert await found(node, vhost) == []
        await admin.channel.default_exchange.publish(aio_pika.Message(b"{}"), routing_key="foreign")
        async with asyncio.timeout(PATIENCE_SECONDS):
            # Its statistics are seconds old.
            while not (wrong := await found(node, vhost)):
                await asyncio.sleep(0.2)
        assert wrong[0].startswith("queue foreign hears what is said, is full, and refuses what does not fit")
