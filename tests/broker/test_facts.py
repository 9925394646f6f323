"""What RabbitMQ and aio-pika do to those who trust them , and that our bus is safe from
it. The number in each test is the fact's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time

import pytest
from broker_builders import (
    manage,
    now,
    of,
    operator,
    quick,
    reservado,
    running,
    set_memory,
    solicitada,
    take,
    until,
    wire,
)
from patience import PATIENCE_SECONDS

from broker.amqp.bus import Bus, BusError, BusRefused, BusStuck
from broker.amqp.frames import Delivered
from broker.services import SERVICES
from broker.topology import EXCHANGE, QUEUES
from ops.rabbitmq import Node


async def test_1_a_message_that_no_queue_takes_is_not_taken_for_confirmed(url: str) -> None:
    async with operator(url) as admin, running(url, "compras") as bus:
        await admin.unbind("tokens", EXCHANGE, "compra.solicitada")
        await asyncio.wait_for(bus.publish([solicitada(n) for n in range(300)]), PATIENCE_SECONDS)
        ids = {raw.message_id for raw in await admin.drain("tokens")}
        assert ids == {solicitada(n).id for n in range(300)}


async def test_1_a_lost_queue_is_made_again_before_a_publish_is_confirmed(url: str) -> None:
    async with operator(url) as admin, running(url, "compras") as bus:
        await admin.delete("tokens")
        await asyncio.wait_for(bus.publish([solicitada()]), PATIENCE_SECONDS)
        assert await admin.count("tokens") == 1


async def test_2_equal_ids_in_one_batch_are_sent_once(url: str) -> None:
    async with operator(url) as admin, running(url, "compras") as bus:
        await bus.publish([solicitada(), solicitada(), solicitada()])
        assert await admin.count("tokens") == 1
        # Two in flight with one id would report this as confirmed.
        await admin.unbind("tokens", EXCHANGE, "compra.solicitada")
        await asyncio.wait_for(bus.publish([solicitada("b"), solicitada("b")]), PATIENCE_SECONDS)
        assert await admin.count("tokens") == 2


async def test_2_two_batches_at_once_with_one_id_are_both_told_the_truth(url: str) -> None:
    async with operator(url) as admin, running(url, "compras") as bus:
        await admin.unbind("tokens", EXCHANGE, "compra.solicitada")
        await asyncio.wait_for(asyncio.gather(*(bus.publish([solicitada()]) for _ in range(5))), PATIENCE_SECONDS)
        assert await admin.count("tokens") >= 1


@pytest.mark.long
async def test_3_a_publish_under_an_alarm_says_so_and_completes_when_it_is_lifted(
    mortal: Node, mortal_url: str
) -> None:
    async with operator(mortal_url) as admin, running(mortal_url, "compras") as bus:
        await set_memory(mortal, "0.00001")
        try:
            publish = asyncio.create_task(bus.publish([solicitada(n) for n in range(3)]))
            await until(lambda: "low on memory" in (bus.trouble or ""))
            # Several timeouts of a publish.
            await asyncio.sleep(4)
            assert not publish.done()
        finally:
            await set_memory(mortal, "0.4")
        await asyncio.wait_for(publish, PATIENCE_SECONDS)
        # Each once: while the broker says that it is blocked nothing is sent again.
        ids = [raw.message_id for raw in await admin.drain("tokens")]
        assert sorted(filter(None, ids)) == sorted(solicitada(n).id for n in range(3))
        assert bus.trouble is None


async def test_4_a_frozen_broker_cancels_nobody(mortal: Node, mortal_url: str) -> None:
    async with (
        operator(mortal_url) as admin,
        running(mortal_url, "compras", consume=True, heartbeat_seconds=1, call_seconds=60, publish_seconds=60) as bus,
    ):
        mortal.freeze()
        publish = asyncio.create_task(bus.publish([solicitada(n) for n in range(3)]))
        depths = asyncio.create_task(bus.depths())
        await until(lambda: not bus.connected and not bus.consuming)
        assert bus.trouble
        assert not publish.done()
        mortal.thaw()
        with pytest.raises(BusError):
            await depths
        await asyncio.wait_for(publish, PATIENCE_SECONDS)
        await until(lambda: bus.consuming)
        assert await admin.count("tokens") >= 3
        assert bus.trouble is None


async def test_4_closing_waits_for_no_frozen_broker(mortal: Node, mortal_url: str) -> None:
    bus = Bus(mortal_url, "compras", options=quick(), now=lambda: "")
    task = asyncio.create_task(bus.run())
    bus.consume()
    await until(lambda: bus.consuming, task)
    mortal.freeze()
    began = time.monotonic()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await bus.close(0.5)
    # Half a second, and the machine's share; a heartbeat missed would take longer.
    assert time.monotonic() - began < 5
    mortal.thaw()


async def test_5_a_channel_that_the_broker_closes_under_a_publish_loses_nothing(url: str) -> None:
    async with operator(url) as admin, running(url, "compras") as bus:
        # Publishing to an exchange that is not there costs the channel.
        await admin.channel.exchange_delete(EXCHANGE)
        await asyncio.wait_for(bus.publish([solicitada(n) for n in range(300)]), PATIENCE_SECONDS)
        assert {raw.message_id for raw in await admin.drain("tokens")} == {solicitada(n).id for n in range(300)}


@pytest.mark.long
async def test_5_a_connection_that_an_operator_closes_under_a_publish_loses_nothing(
    node: Node, vhost: str, url: str
) -> None:
    async with operator(url) as admin, running(url, "compras") as bus:
        publish = asyncio.create_task(bus.publish([solicitada(n) for n in range(5000)]))
        for connection in await manage(node, "GET", f"vhosts/{of(vhost)}/connections"):
            if connection.get("client_properties", {}).get("connection_name", "").startswith("compras-publish "):
                await manage(node, "DELETE", f"connections/{of(connection['name'])}")
        await asyncio.wait_for(publish, PATIENCE_SECONDS)
        assert {raw.message_id for raw in await admin.drain("tokens")} == {solicitada(n).id for n in range(5000)}


async def test_5_a_publish_without_a_connection_is_not_confirmed(url: str) -> None:
    async with operator(url) as admin, running(url, "compras") as bus:
        await bus._connections["publish"].close()
        await asyncio.wait_for(bus.publish([solicitada()]), PATIENCE_SECONDS)
        assert await admin.count("tokens") == 1


async def test_5_a_full_queue_makes_publishers_wait(node: Node, vhost: str, url: str) -> None:
    async with operator(url) as admin, running(url, "compras") as bus:
        full = {"pattern": "^tokens$", "definition": {"max-length": 10}, "apply-to": "queues"}
        await manage(node, "PUT", f"policies/{of(vhost)}/full", full)
        sent = 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            # The policy takes a moment to reach the queue, and the queue one to say that it is full.
            while True:
                publish = asyncio.create_task(bus.publish([solicitada(sent + n) for n in range(20)]))
                sent += 20
                await asyncio.wait([publish], timeout=1)
                if not publish.done():
                    break
        assert not publish.done()
        ids = set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not publish.done():
                ids |= {raw.message_id for raw in await admin.drain("tokens")}
                await asyncio.sleep(0.05)
        ids |= {raw.message_id for raw in await admin.drain("tokens")}
        assert ids == {solicitada(n).id for n in range(sent)}


@pytest.mark.long
async def test_5_a_batch_survives_cuts_of_the_wire(node: Node, url: str) -> None:
    async with operator(url) as admin, wire(node, url) as (cable, by_wire), running(by_wire, "compras") as bus:
        publish = asyncio.create_task(bus.publish([solicitada(n) for n in range(3000)]))
        for _ in range(4):
            await asyncio.sleep(0.15)
            cable.cut()
        await asyncio.wait_for(publish, PATIENCE_SECONDS)
        ids = {raw.message_id for raw in await admin.drain("tokens")}
        assert ids == {solicitada(n).id for n in range(3000)}


async def test_6_what_was_received_outlives_its_connection(node: Node, url: str) -> None:
    async with (
        operator(url) as admin,
        wire(node, url) as (cable, by_wire),
        running(by_wire, consume=True) as bus,
    ):
        await admin.put("tokens", solicitada())
        (first,) = await take(bus, 1)
        cable.cut()
        await until(lambda: not bus.consuming)
        # Whoever decides goes on deciding; to settle it has no effect, and does no harm.
        assert first.message is not None
        assert first.message.id == solicitada().id
        await bus.settle([first], {})
        (again,) = await take(bus, 1)
        assert again.redelivered
        assert again.message == first.message
        await bus.settle([again], {})
        await until(lambda: bus.consuming)


async def test_7_a_question_given_up_costs_neither_publisher_nor_consumer(url: str) -> None:
    async with running(url, "tokens", consume=True) as bus, running(url, "compras") as compras:
        connections = dict(bus._connections)
        for _ in range(5):
            question = asyncio.create_task(bus.depths())
            # In the middle of a call, wherever that is.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            question.cancel()
            await asyncio.wait([question])
        await bus.publish([reservado()])
        await compras.publish([solicitada()])
        await bus.settle(await take(bus, 1), {})
        assert bus._connections == connections
        assert set(await bus.depths()) == set(QUEUES)


async def test_8_an_alarm_stops_no_acks(mortal: Node, mortal_url: str) -> None:
    async with operator(mortal_url) as admin, running(mortal_url, consume=True, watch_seconds=60) as bus:
        await admin.put("tokens", solicitada())
        received = await take(bus, 1)
        await set_memory(mortal, "0.00001")
        try:
            publish = asyncio.create_task(bus.publish([reservado()]))
            await until(lambda: "alarm" in (bus.trouble or ""))
            await bus.settle(received, {})
            async with operator(mortal_url) as witness:
                # Once our consumer is gone whatever was not acked would be back.
                await bus.stop_consuming()
                await until(lambda: not bus.consuming)
                cable = bus._connections["consume"]
                await cable.close()
                await asyncio.sleep(0.2)
                assert await witness.count("tokens") == 0
        finally:
            await set_memory(mortal, "0.4")
        await asyncio.wait_for(publish, PATIENCE_SECONDS)


async def test_8_a_process_has_two_connections_with_names(node: Node, vhost: str, url: str) -> None:
    async with running(url, consume=True):
        names: list[str] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(names) < 2:
                found = await manage(node, "GET", f"vhosts/{of(vhost)}/connections")
                names = sorted(one["client_properties"]["connection_name"] for one in found if one.get("user"))
                await asyncio.sleep(0.1)
        # Of several processes, in several pods, one sees whose it is.
        process = f"{socket.gethostname()} {os.getpid()}"
        assert names == [f"tokens-consume {process}", f"tokens-publish {process}"]


@pytest.mark.long
async def test_12_after_a_kill_unacked_deliveries_come_again(mortal: Node, mortal_url: str) -> None:
    async with running(mortal_url, consume=True, first_declaration_seconds=2) as bus:
        async with operator(mortal_url) as admin:
            for n in range(5):
                await admin.put("tokens", solicitada(n))
        old = await take(bus, 5)
        mortal.kill()
        await bus.settle(old[:2], {})
        await until(lambda: not bus.connected and not bus.consuming)
        await bus.settle(old[:3], {})
        await mortal.start()
        again = await take(bus, 5)
        assert [item.message for item in again] == [item.message for item in old]
        # Old and new in one batch: the new ones are acked all the same.
        await bus.settle([*old, *again], {})
        await bus.stop_consuming()
        await bus._connections["consume"].close()
        async with operator(mortal_url) as admin:
            await asyncio.sleep(0.2)
            assert await admin.count("tokens") == 0


@pytest.mark.long
async def test_20_a_message_published_as_soon_as_possible_survives_a_kill(mortal: Node, mortal_url: str) -> None:
    async with running(mortal_url, "compras", connect=False, first_declaration_seconds=2) as bus:
        publish = asyncio.create_task(bus.publish([solicitada(n) for n in range(20)]))
        async with operator(mortal_url) as admin:
            while not await _exist(admin.channel):
                await asyncio.sleep(0.02)
        began = time.monotonic()
        await asyncio.wait_for(publish, PATIENCE_SECONDS)
        assert time.monotonic() - began > 1
        mortal.kill()
        await mortal.start()
        async with operator(mortal_url) as admin:
            await admin.until_count("tokens", 20)


async def _exist(channel: object) -> bool:
    """Whether all queues are there; asked on a throw-away channel, for asking in vain costs the channel."""
    connection = channel._connection  # type: ignore[attr-defined]
    asking = await connection.channel()
    try:
        for name in QUEUES:
            await asking.declare_queue(name, passive=True)
    except Exception:
        return False
    await asking.close()
    return True


async def test_21_a_consumer_that_is_gone_is_built_anew(url: str) -> None:
    async with operator(url) as admin, running(url, consume=True) as bus:
        assert bus._channel is not None
        assert bus._tag is not None
        underlay = await bus._channel.get_underlay_channel()
        await underlay.basic_cancel(bus._tag)
        await admin.put("tokens", solicitada())
        await bus.settle(await take(bus, 1), {})


async def test_21_a_consumer_whose_queue_is_deleted_consumes_from_the_next_one(url: str) -> None:
    async with operator(url) as admin, running(url, consume=True) as bus, running(url, "compras") as compras:
        await admin.delete("tokens")
        await until(lambda: not bus.consuming)
        await until(lambda: bus.consuming)
        await compras.publish([solicitada()])
        (delivery,) = await take(bus, 1)
        assert delivery.message is not None
        assert delivery.message.id == solicitada().id
        assert bus.trouble is None


async def test_21_a_consumer_that_comes_back_leaves_the_publisher_alone(url: str) -> None:
    async with running(url, consume=True) as bus:
        before = dict(bus._connections)
        await before["consume"].close()
        await until(lambda: not bus.consuming)
        await until(lambda: bus.consuming)
        assert bus._connections["consume"] is not before["consume"]
        assert bus._connections["publish"] is before["publish"]


async def test_21_a_queue_deleted_before_its_consumer_came_is_made_again(url: str) -> None:
    async with operator(url) as admin, running(url) as bus:
        await admin.delete("tokens")
        bus.consume()
        await until(lambda: bus.consuming)
        assert await admin.count("tokens") == 0


async def test_21_a_silent_consumer_is_built_anew_and_then_given_up(url: str) -> None:
    class Deaf(Bus):
        def _put_aside(self, raw: Delivered) -> None:
            """It did not come."""
            raw.consumer.held.clear()
            raw.consumer.received = 0.0

    async with operator(url) as admin, running(url):
        for n in range(3):
            await admin.put("tokens", solicitada(n))
        options = quick(prefetch=1, watch_seconds=0.1, silent_seconds=0.5, stuck_seconds=1.5)
        bus = Deaf(url, "tokens", options=options, now=lambda: "")
        bus.consume()
        with pytest.raises(BusStuck, match="2 messages wait in tokens"):
            await asyncio.wait_for(bus.run(), PATIENCE_SECONDS)
        await bus.close()


async def test_21_an_idle_consumer_is_left_alone(url: str) -> None:
    async with running(url, consume=True, watch_seconds=0.05, silent_seconds=0.2, stuck_seconds=0.5) as bus:
        connections = dict(bus._connections)
        await asyncio.sleep(1.2)
        assert bus._connections == connections


async def test_21_a_consumer_with_its_hands_full_is_left_alone(url: str) -> None:
    slow = {"prefetch": 2, "watch_seconds": 0.05, "silent_seconds": 0.2, "stuck_seconds": 0.5}
    async with operator(url) as admin, running(url, consume=True, **slow) as bus:
        for n in range(5):
            await admin.put("tokens", solicitada(n))
        connections = dict(bus._connections)
        await asyncio.sleep(1.2)
        assert bus._connections == connections
        batch: list[object] = []
        while len(batch) < 5:
            part = await bus.receive(100)
            batch += part
            await bus.settle(part, {})


async def test_a_wrong_password_ends_a_service_that_never_was_let_in(node: Node, url: str) -> None:
    bus = Bus(url.replace(node.password, "wrong"), "tokens", options=quick(), now=now)
    with pytest.raises(BusRefused, match="mend ZOCO_RABBITMQ_URL"):
        await asyncio.wait_for(bus.run(), PATIENCE_SECONDS)
    await bus.close()


async def test_a_password_that_is_changed_later_ends_nobody(node: Node, vhost: str, url: str) -> None:
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    await manage(node, "PUT", "users/changing", {"password": "first", "tags": ""})
    await manage(node, "PUT", f"permissions/{of(vhost)}/changing", everything)
    by_changing = url.replace(f"{node.user}:{node.password}@", "changing:first@")
    async with operator(url), wire(node, by_changing) as (cable, by_wire), running(by_wire) as bus:
        await manage(node, "PUT", "users/changing", {"password": "second", "tags": ""})
        cable.cut()
        await until(lambda: bus.trouble is not None and not bus.connected)
        await manage(node, "PUT", "users/changing", {"password": "first", "tags": ""})
        await until(lambda: bus.connected)


async def test_21b_nobody_publishes_while_a_queue_is_missing(node: Node, vhost: str, url: str) -> None:
    weak = {"configure": "^$", "write": ".*", "read": ".*"}
    await manage(node, "PUT", "users/weak", {"password": "weak", "tags": ""})
    await manage(node, "PUT", f"permissions/{of(vhost)}/weak", weak)
    by_weak = url.replace(f"{node.user}:{node.password}@", "weak:weak@")
    async with operator(url) as admin:
        async with running(url):
            pass
        # usuarios still would take its copy, and the broker would confirm.
        await admin.delete("compras")
        async with running(by_weak, connect=False) as bus:
            publish = asyncio.create_task(bus.publish([reservado()]))
            missing = "queue compras is missing, and tokens may not make it"
            await until(lambda: missing in (bus.trouble or ""))
            await asyncio.sleep(0.5)
            assert not publish.done()
            assert not bus.seen_once
            assert await admin.count("usuarios") == 0
            async with running(url):
                await asyncio.wait_for(publish, PATIENCE_SECONDS)
            assert [await admin.count(name) for name in ("usuarios", "compras")] == [1, 1]
    await manage(node, "DELETE", "users/weak")


async def test_21b_a_missing_queue_is_noticed_by_whoever_asks_for_the_depths(url: str) -> None:
    async with operator(url) as admin, running(url) as bus:
        await admin.delete("compras")
        with pytest.raises(BusError):
            await bus.depths()
        await until(lambda: bus.connected)
        depths = await bus.depths()
        assert [depths[name].messages for name in SERVICES] == [0, 0, 0, 0]


async def test_8_the_depths_are_told_or_refused_in_time_under_an_alarm(mortal: Node, mortal_url: str) -> None:
    async with running(mortal_url, "compras", call_seconds=1) as bus:
        await set_memory(mortal, "0.00001")
        try:
            publish = asyncio.create_task(bus.publish([solicitada()]))
            await asyncio.sleep(1)
            for _ in range(2):
                with contextlib.suppress(BusError):
                    # Asked on a connection that is blocked, it must not keep whoever asks.
                    await asyncio.wait_for(bus.depths(), 5)
        finally:
            await set_memory(mortal, "0.4")
        await asyncio.wait_for(publish, PATIENCE_SECONDS)
