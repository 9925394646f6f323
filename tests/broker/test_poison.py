"""What no service understands goes to the dead letters with a reason, at once, and the consumer lives."""

from __future__ import annotations

import asyncio
import time

import aio_pika
import pytest
from broker_builders import FECHA, operator, running, solicitada, take, until, wire
from patience import PATIENCE_SECONDS

from broker.amqp.envelope import outgoing
from broker.messages import SaldoReservado, encode
from broker.topology import DEAD_LETTER_EXCHANGE, EXCHANGE
from ops.rabbitmq import Node

WRONG = {
    "no JSON": (b"\xff{", "compra.solicitada", "compra.solicitada: body: Invalid JSON"),
    "another schema": (b'{"fecha":"ayer"}', "compra.solicitada", "compra.solicitada: fecha: "),
    "a type of nobody": (encode(solicitada()), "compra.soñada", "unknown type 'compra.soñada'"),
    "nothing": (b"", "", "unknown type"),
}


@pytest.mark.parametrize("body, type_name, reason", WRONG.values(), ids=WRONG.keys())
async def test_poison_comes_with_its_reason(url: str, body: bytes, type_name: str, reason: str) -> None:
    async with operator(url) as admin, running(url, consume=True) as bus:
        await admin.put("tokens", body, type_name)
        (delivery,) = await take(bus, 1)
        assert delivery.message is None
        if type_name:
            assert delivery.poison is not None
            assert reason in delivery.poison


async def test_poison_is_in_the_dead_letters_at_once_and_the_consumer_lives(url: str) -> None:
    async with operator(url) as admin, running(url, consume=True) as bus:
        await admin.put("tokens", b"{", "compra.solicitada", message_id="p1", correlation_id="c1", headers={"mio": 7})
        (delivery,) = await take(bus, 1)
        await bus.settle([delivery], {delivery: delivery.poison or ""})
        await admin.until_count("tokens.muertos", 1)
        # Put there by whoever decoded it, as its reason says: the broker does so after a million deliveries only.
        letter = await admin.get("tokens.muertos")
        assert letter is not None
        assert letter.body == b"{"
        assert (letter.message_id, letter.correlation_id, letter.type) == ("p1", "c1", "compra.solicitada")
        assert letter.headers["mio"] == 7
        assert "Invalid JSON" in str(letter.headers["x-motivo"])
        assert letter.headers["x-servicio"] == "tokens"
        assert letter.headers["x-routing-key"] == "tokens"
        assert letter.headers["x-hora"]
        await admin.put("tokens", solicitada())
        await bus.settle(await take(bus, 1), {})
        assert await admin.count("tokens") == 0


async def test_poison_amid_good_ones_takes_nobody_along(url: str) -> None:
    async with operator(url) as admin, running(url, consume=True) as bus:
        for n in range(10):
            await admin.put("tokens", b"{" if n % 2 else solicitada(n), "compra.solicitada", message_id=str(n))
        batch = await take(bus, 10)
        reasons = {delivery: delivery.poison for delivery in batch if delivery.poison}
        assert [delivery.raw.message_id for delivery in reasons] == ["1", "3", "5", "7", "9"]
        await bus.settle(batch, reasons)
        assert [raw.message_id for raw in await admin.drain("tokens.muertos")] == ["1", "3", "5", "7", "9"]


async def test_a_dead_letter_that_no_queue_takes_is_not_lost(url: str) -> None:
    async with operator(url) as admin, running(url, consume=True) as bus:
        await admin.put("tokens", b"{", "compra.solicitada")
        (delivery,) = await take(bus, 1)
        await admin.unbind("tokens.muertos", DEAD_LETTER_EXCHANGE, "tokens")
        await asyncio.wait_for(bus.settle([delivery], {delivery: "por prueba"}), PATIENCE_SECONDS)
        assert await admin.count("tokens.muertos") == 1


async def test_poison_without_an_id_and_with_huge_headers_is_put_away_too(url: str) -> None:
    async with operator(url) as admin, running(url, consume=True) as bus:
        await admin.put("tokens", b"{", "compra.solicitada", message_id=None, headers={"x": "y" * 130_500})
        (delivery,) = await take(bus, 1)
        await asyncio.wait_for(bus.settle([delivery], {delivery: "ñ" * 5000}), PATIENCE_SECONDS)
        assert await admin.count("tokens.muertos") == 1


async def test_batches_come_in_order_and_one_ack_settles_each(url: str) -> None:
    async with operator(url) as admin, running(url, "compras") as compras, running(url, consume=True) as bus:
        await compras.publish([solicitada(n) for n in range(1000)])
        came: list[str | None] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(came) < 1000:
                batch = await bus.receive(70)
                assert 1 <= len(batch) <= 70
                came += [delivery.raw.message_id for delivery in batch]
                await bus.settle(batch, {})
        assert came == [solicitada(n).id for n in range(1000)]
        await bus.stop_consuming()
        await bus._connections["consume"].close()
        await asyncio.sleep(0.2)
        assert await admin.count("tokens") == 0


async def test_what_was_not_settled_comes_again_in_order_after_a_cut(node: Node, url: str) -> None:
    async with operator(url) as admin, wire(node, url) as (cable, by_wire), running(by_wire, consume=True) as bus:
        for n in range(20):
            await admin.put("tokens", solicitada(n), message_id=str(n))
        first = await take(bus, 20)
        await bus.settle(first[:5], {})
        await until(lambda: len(first[0].raw.consumer.held) == 15)
        await asyncio.sleep(0.1)
        cable.cut()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while bus.consuming:
                await asyncio.sleep(0.01)
        again = await take(bus, 15)
        assert [delivery.raw.message_id for delivery in again] == [str(n) for n in range(5, 20)]
        assert all(delivery.redelivered for delivery in again)
        # Deliveries of both connections in one batch: the new ones are acked.
        await bus.settle([*first[5:], *again], {})
        await bus.stop_consuming()
        cable.cut()
        await asyncio.sleep(0.2)
        assert await admin.count("tokens") == 0


async def test_after_stop_consuming_what_was_delivered_can_be_settled_and_nothing_more_comes(url: str) -> None:
    async with operator(url) as admin, running(url, consume=True, prefetch=2) as bus:
        for n in range(5):
            await admin.put("tokens", solicitada(n))
        batch = await take(bus, 2)
        await bus.stop_consuming()
        await bus.settle(batch, {})
        await asyncio.sleep(0.7)
        assert await admin.count("tokens") == 3
        assert bus.trouble is None
        bus.consume()
        await bus.settle(await take(bus, 2), {})


async def test_a_message_that_says_another_type_than_it_came_under_is_poison(url: str) -> None:
    # The broker keeps each user to its own routing keys; the property could say anything.
    forged = SaldoReservado(compra_id=solicitada().compra_id, usuario_id=1, token_id=101, fecha=FECHA, precio=5)
    async with running(url, consume=True) as bus, await aio_pika.connect(url) as connection:
        channel = await connection.channel(on_return_raises=True)
        exchange = await channel.get_exchange(EXCHANGE, ensure=False)
        await exchange.publish(
            aio_pika.Message(encode(forged), type=forged.type), routing_key="compra.solicitada", timeout=5
        )
        (delivery,) = await take(bus, 1)
        assert delivery.message is None
        assert delivery.poison == "it came as 'compra.solicitada' and says that it is 'saldo.reservado'"


async def test_poison_that_comes_again_after_a_cut_is_one_letter(node: Node, url: str) -> None:
    async with operator(url) as admin, wire(node, url) as (cable, by_wire), running(by_wire, consume=True) as bus:
        await admin.put("tokens", b"{", "x")
        old = await take(bus, 1)
        cable.cut()
        await until(lambda: not bus.consuming)
        await until(lambda: bus.consuming)
        new = await take(bus, 1)
        for batch in (old, new):
            await bus.settle(batch, {delivery: delivery.poison or "" for delivery in batch})
        assert await admin.count("tokens.muertos") == 1


async def test_properties_that_aiormq_cannot_read_stop_nobody(url: str) -> None:
    async with operator(url) as admin, running(url, "compras") as compras, running(url, consume=True) as bus:
        assert compras._publisher is not None
        good = outgoing(solicitada(), "compras", FECHA)
        # A timestamp in microseconds, and an id that is no UTF-8: each would end the connection at every delivery.
        stamp = good.properties.replace(int(time.time()).to_bytes(8, "big"), b"\x00" + b"\xff" * 7)
        ident = good.properties.replace(solicitada().id.encode(), b"\xff" * len(solicitada().id))
        assert stamp != good.properties != ident
        strange = [good._replace(properties=stamp), good._replace(properties=ident)]
        assert await compras._publisher.publish([*strange, good], 5) == [True] * 3
        batch = await take(bus, 3)
        assert [delivery.message and encode(delivery.message) for delivery in batch] == [encode(solicitada())] * 3
        # Their copies among the dead letters can be read by anybody.
        await bus.settle(batch, dict.fromkeys(batch, "por prueba"))
        assert len(await admin.drain("tokens.muertos")) == 3
        assert await admin.count("tokens") == 0
