"""The definitions that a cluster loads: each service may do what it must, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aio_pika
import aiohttp
import pytest
from aio_pika.exceptions import ChannelClosed
from aiormq.exceptions import ChannelAccessRefused
from broker_builders import manage, one_of_each, operator, running, take
from patience import PATIENCE_SECONDS

from broker.messages import CONSUMERS, PRODUCERS
from broker.services import SERVICES, Service
from broker.topology import BINDINGS, DEAD_LETTER_EXCHANGE, EXCHANGE, EXCHANGE_TYPE, MONITOR, QUEUES, definitions
from ops.rabbitmq import Node

PASSWORDS = {name: f"secret-of-{name}" for name in (*SERVICES, "operador", MONITOR)}
OF_EACH = one_of_each()
EVERY = pytest.mark.parametrize("service", SERVICES)


@pytest.fixture
async def loaded(node: Node) -> AsyncIterator[Node]:
    """The definitions stand in `/`."""
    await manage(node, "POST", "definitions", definitions(PASSWORDS))
    async with operator(_url(node, "operador")) as admin:
        for queue in QUEUES:
            await admin.drain(queue)
    yield node


def _url(node: Node, user: str) -> str:
    return node.url().replace(f"{node.user}:{node.password}@", f"{user}:{PASSWORDS[user]}@")


async def test_a_bus_finds_all_it_checks(loaded: Node) -> None:
    # Had one argument or binding been another, the declaration would be refused with 406.
    async with running(_url(loaded, "operador"), "compras") as bus:
        assert set(await bus.depths()) == set(QUEUES)


@EVERY
async def test_a_service_says_and_hears_with_its_own_rights(loaded: Node, service: Service) -> None:
    said = [message for message in OF_EACH if service in PRODUCERS[type(message)]]
    assert said
    async with operator(_url(loaded, "operador")) as admin, running(_url(loaded, service), service) as bus:
        await bus.publish(said)
        for name in SERVICES:
            heard = sum(name in CONSUMERS[type(message)] for message in said)
            assert await admin.count(name) == heard
        await admin.drain(service)
        await admin.put(service, b"{", "compra.solicitada")
        bus.consume()
        (delivery,) = await take(bus, 1)
        await bus.settle([delivery], {delivery: "por prueba"})
        assert await admin.count(f"{service}.muertos") == 1
        assert set(await bus.depths()) == set(QUEUES)


@EVERY
async def test_a_service_says_nothing_that_is_not_its_own(loaded: Node, service: Service) -> None:
    connection = await aio_pika.connect(_url(loaded, service))
    async with connection:
        for model, services in PRODUCERS.items():
            if service not in services:
                with pytest.raises(ChannelAccessRefused):
                    await _say(connection, EXCHANGE, model.type)
        for name in SERVICES:
            if name != service:
                with pytest.raises(ChannelAccessRefused):
                    await _say(connection, DEAD_LETTER_EXCHANGE, name)
        # Neither past the exchange, straight into a queue.
        with pytest.raises(ChannelAccessRefused):
            await _say(connection, "", "tokens")


async def _say(connection: aio_pika.abc.AbstractConnection, exchange: str, key: str) -> None:
    channel = await connection.channel(on_return_raises=True)
    await channel.set_qos(1)
    target = await channel.get_exchange(exchange, ensure=False)
    await target.publish(aio_pika.Message(b"{}"), routing_key=key, timeout=10)


@EVERY
async def test_a_service_takes_nothing_from_the_queues_of_others_and_makes_none(loaded: Node, service: Service) -> None:
    connection = await aio_pika.connect(_url(loaded, service))
    async with connection:
        for name in QUEUES:
            if name != service:
                queue = await (await connection.channel()).get_queue(name, ensure=False)
                with pytest.raises(ChannelAccessRefused):
                    await queue.get(fail=False, timeout=10)
        channel = await connection.channel()
        with pytest.raises(ChannelAccessRefused):
            await channel.declare_queue("mine", durable=True)
        channel = await connection.channel()
        with pytest.raises(ChannelAccessRefused):
            await channel.declare_exchange(EXCHANGE, EXCHANGE_TYPE, durable=True)
        channel = await connection.channel()
        with pytest.raises(ChannelClosed):
            await channel.queue_delete(service)
        queue = await (await connection.channel()).get_queue(service, ensure=False)
        with pytest.raises(ChannelAccessRefused):
            await queue.bind(EXCHANGE, routing_key="#")


@EVERY
async def test_a_service_may_bind_its_own_queues_as_the_table_has_it_and_in_no_other_way(
    loaded: Node, service: Service
) -> None:
    async with operator(_url(loaded, "operador")) as admin:
        for exchange, key, queue in BINDINGS:
            await admin.unbind(queue, exchange, key)
    connection = await aio_pika.connect(_url(loaded, service))
    async with connection:
        for exchange, key, name in BINDINGS:
            queue = await (await connection.channel()).get_queue(name, ensure=False)
            if name in (service, f"{service}.muertos"):
                await queue.bind(exchange, routing_key=key)
            else:
                with pytest.raises(ChannelAccessRefused):
                    await queue.bind(exchange, routing_key=key)
        heard = {key for _, key, name in BINDINGS if name == service}
        for key in {key for _, key, _ in BINDINGS} - heard:
            queue = await (await connection.channel()).get_queue(service, ensure=False)
            with pytest.raises(ChannelAccessRefused):
                await queue.bind(EXCHANGE, routing_key=key)


async def test_whoever_watches_the_queues_sees_how_long_they_are_and_touches_none(loaded: Node) -> None:
    headers = {"Authorization": aiohttp.encode_basic_auth(MONITOR, PASSWORDS[MONITOR])}
    async with aiohttp.ClientSession(loaded.management_url, headers=headers) as session:
        async with session.get("/api/queues/%2F/tokens") as answer:
            assert answer.status == 200 and (await answer.json())["name"] == "tokens"
        # What `zoco doctor --kube` asks.
        for path in ("/api/queues/%2F", "/api/nodes"):
            async with session.get(path) as answer:
                assert answer.status == 200
        async with session.delete("/api/queues/%2F/tokens/contents") as answer:
            assert answer.status in (401, 403)
        async with session.get("/api/definitions") as answer:
            assert answer.status in (401, 403)
    async with await aio_pika.connect(_url(loaded, MONITOR)) as connection:
        with pytest.raises(ChannelAccessRefused):
            await _say(connection, EXCHANGE, "compra.solicitada")
        queue = await (await connection.channel()).get_queue("tokens", ensure=False)
        with pytest.raises(ChannelAccessRefused):
            await queue.get(fail=False, timeout=10)


async def test_services_with_their_own_rights_keep_their_routes(loaded: Node) -> None:
    async with operator(_url(loaded, "operador")) as admin, AsyncExitStack() as stack:
        for service in SERVICES:
            await stack.enter_async_context(running(_url(loaded, service), service, routes_seconds=0.2))
        for exchange, key, queue in BINDINGS:
            await admin.unbind(queue, exchange, key)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await _bound(loaded) != set(BINDINGS):
                await asyncio.sleep(0.1)


async def _bound(node: Node) -> set[tuple[str, str, str]]:
    found = await manage(node, "GET", "bindings/%2F")
    return {(one["source"], one["routing_key"], one["destination"]) for one in found if one["source"]}
