"""What operators and other programs do to a broker while it runs: seen, said in words, and mended where it can be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import pytest
from broker_builders import manage, of, operator, quick, reservado, running, solicitada, take, until, wire
from patience import PATIENCE_SECONDS

from broker.amqp.bus import Bus
from broker.messages import TransaccionRegistrada, encode
from broker.topology import BINDINGS, EXCHANGE
from ops.rabbitmq import Node

ROUTES = [(exchange, key, queue) for exchange, key, queue in BINDINGS if queue.startswith("usuarios")]
REGISTRADA = TransaccionRegistrada(
    compra_id=reservado().compra_id, usuario_id=1, token_id=101, fecha=reservado().fecha, transaccion_id=1
)


@pytest.mark.parametrize(("exchange", "key", "queue"), ROUTES)
async def test_a_route_that_is_taken_away_is_made_again(url: str, exchange: str, key: str, queue: str) -> None:
    async with operator(url) as admin, running(url, "usuarios", consume=True, routes_seconds=0.2) as bus:
        connections = dict(bus._connections)
        await admin.unbind(queue, exchange, key)
        target = await admin.channel.get_exchange(exchange, ensure=False)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    await target.publish(aio_pika.Message(b"{}"), routing_key=key, timeout=5)
                    break
                except aio_pika.exceptions.DeliveryError:
                    await asyncio.sleep(0.05)
        # Nobody was disturbed by it.
        assert bus._connections == connections


async def test_a_message_that_another_queue_takes_reaches_the_one_that_lost_its_route(url: str) -> None:
    """A token.reservado is heard by compras, too: the broker confirms it and returns nothing."""
    async with (
        operator(url) as admin,
        running(url, "usuarios", consume=True, routes_seconds=0.2) as usuarios,
        running(url, "tokens") as tokens,
    ):
        await admin.unbind("usuarios", EXCHANGE, "token.reservado")

        async def said_until_heard() -> None:
            # As the resender does.
            while not usuarios._arrived:
                await tokens.publish([reservado()])
                await asyncio.sleep(0.1)

        await asyncio.wait_for(said_until_heard(), PATIENCE_SECONDS)


async def test_a_service_that_may_bind_nothing_says_so_and_lives(
    node: Node, vhost: str, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weak = {"configure": "^$", "write": "^zoco.*$", "read": "^tokens$"}
    await manage(node, "PUT", "users/weak-c2", {"password": "weak", "tags": ""})
    await manage(node, "PUT", f"permissions/{of(vhost)}/weak-c2", weak)
    async with running(url):
        pass
    by_weak = url.replace(f"{node.user}:{node.password}@", "weak-c2:weak@")
    async with operator(url) as admin, running(by_weak, consume=True, routes_seconds=0.1) as bus:
        await asyncio.sleep(1)
        await admin.put("tokens", solicitada())
        await bus.settle(await take(bus, 1), {})
        assert capsys.readouterr().out.count("the broker lets us bind nothing") == 1
    await manage(node, "DELETE", "users/weak-c2")


@asynccontextmanager
async def with_rights(node: Node, vhost: str, url: str, **rights: str) -> AsyncIterator[str]:
    """The URL of a user with these rights."""
    all_rights = {"configure": ".*", "write": ".*", "read": ".*", **rights}
    await manage(node, "PUT", "users/some", {"password": "some", "tags": ""})
    await manage(node, "PUT", f"permissions/{of(vhost)}/some", all_rights)
    yield url.replace(f"{node.user}:{node.password}@", "some:some@")
    await manage(node, "DELETE", "users/some")


async def test_the_brokers_reason_for_closing_a_channel_is_passed_on(node: Node, vhost: str, url: str) -> None:
    async with (
        running(url),
        with_rights(node, vhost, url, configure="^$", write="^zoco.muertos$") as by_some,
        running(by_some, "compras", retry_first_seconds=2, retry_longest_seconds=2) as bus,
    ):
        publish = asyncio.create_task(bus.publish([solicitada()]))
        await until(lambda: bus.trouble is not None)
        assert "403 ACCESS_REFUSED" in (bus.trouble or "")
        assert "exchange 'zoco'" in (bus.trouble or "")
        publish.cancel()


async def test_the_brokers_reason_for_closing_a_connection_is_passed_on(node: Node, vhost: str, url: str) -> None:
    async with running(url, "compras", retry_first_seconds=2, retry_longest_seconds=2) as bus:
        closed = 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not closed:
                for one in await manage(node, "GET", f"vhosts/{of(vhost)}/connections"):
                    await manage(node, "DELETE", f"connections/{of(one['name'])}")
                    closed += 1
        await until(lambda: bus.trouble is not None)
        assert "320 CONNECTION_FORCED - Closed via management plugin" in (bus.trouble or "")


async def test_the_brokers_reason_for_not_letting_us_in_is_passed_on(node: Node, url: str) -> None:
    bus = Bus(node.url("there-is-none"), "tokens", options=quick(), now=lambda: "")
    task = asyncio.create_task(bus.run())
    await until(lambda: bus.trouble is not None, task)
    assert "530 NOT_ALLOWED - vhost there-is-none not found" in (bus.trouble or "")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await bus.close()


async def test_a_foreign_queue_that_is_full_is_named_as_the_reason(url: str) -> None:
    async with operator(url) as admin, running(url, "compras") as bus:
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        foreign = await admin.channel.declare_queue("foreign", durable=True, arguments=full)
        await foreign.bind(EXCHANGE, routing_key="#")
        publish = asyncio.create_task(bus.publish([solicitada(n) for n in range(50)]))
        await until(lambda: bus.trouble is not None)
        assert "it refuses compra.solicitada, as it does when a queue that hears it is full" in (bus.trouble or "")
        await foreign.unbind(EXCHANGE, routing_key="#")
        await asyncio.wait_for(publish, PATIENCE_SECONDS)
        assert bus.trouble is None


async def test_a_queue_of_ours_that_is_bound_to_everything_passes_over_what_is_not_its_own(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        operator(url) as admin,
        running(url, "tokens", consume=True) as tokens,
        running(url, "transacciones") as transacciones,
        running(url, "compras") as compras,
    ):
        await (await admin.channel.get_queue("tokens", ensure=False)).bind(EXCHANGE, routing_key="#")
        for _ in range(3):
            await transacciones.publish([REGISTRADA])
        await compras.publish([solicitada()])
        batch = await take(tokens, 4)
        assert [one.message and one.message.type for one in batch] == [None] * 3 + ["compra.solicitada"]
        assert [one.poison for one in batch] == [None] * 4
        await tokens.settle(batch, {})
        assert capsys.readouterr().out.count("passed over what is not ours to hear") == 1


async def test_what_is_put_into_one_queue_alone_and_not_heard_there_has_a_reason(url: str) -> None:
    async with operator(url) as admin, running(url, "tokens", consume=True) as tokens:
        await admin.put("tokens", encode(REGISTRADA), REGISTRADA.type)
        (delivery,) = await take(tokens, 1)
        assert delivery.poison == "tokens does not hear transaccion.registrada"


async def test_the_letters_of_a_batch_are_confirmed_together(node: Node, url: str) -> None:
    """Behind a wire of 50 ms, one after the other they would take 15 s."""
    async with operator(url) as admin, wire(node, url) as (cable, by_wire), running(by_wire, consume=True) as bus:
        for n in range(300):
            await admin.put("tokens", b"{", "x", message_id=str(n))
        batch = await take(bus, 300)
        cable.delay_seconds = 0.05
        await asyncio.wait_for(bus.settle(batch, {one: one.poison or "" for one in batch}), 5)
        assert [raw.message_id for raw in await admin.drain("tokens.muertos")] == [str(n) for n in range(300)]


async def test_too_many_letters_stop_a_service_with_an_alarm_until_there_is_room_again(url: str) -> None:
    options = {"letters": 10, "letters_seconds": 3, "prefetch": 5, "watch_seconds": 0.1}
    async with operator(url) as admin, running(url, consume=True, **options) as bus:
        for n in range(30):
            await admin.put("tokens", b"{", "x", message_id=str(n))

        async def work() -> None:
            while True:
                batch = await bus.receive(5)
                await bus.settle(batch, {one: one.poison or "" for one in batch})

        working = asyncio.create_task(work())
        await until(lambda: bus.trouble is not None, working)
        assert "tokens stopped: 10 messages went to the dead letters" in (bus.trouble or "")
        assert await admin.count("tokens.muertos") == 10
        await asyncio.sleep(0.5)
        assert await admin.count("tokens.muertos") == 10
        # All come in the end, each once, and none was dropped.
        await admin.until_count("tokens.muertos", 30)
        working.cancel()
        assert len({raw.message_id for raw in await admin.drain("tokens.muertos")}) == 30
