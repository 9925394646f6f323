"""Acks wait for their neighbours, not for ever, and never for another consumer's."""

from __future__ import annotations

import asyncio
import time

import pytest
from broker_builders import Operator, operator, running, solicitada, take, until, wire

from broker.amqp import acks
from broker.amqp.bus import Bus
from ops.rabbitmq import Node

# Longer than any of these tests: nothing is acked because of the time.
NEVER_SECONDS = 600.0


async def settled(admin: Operator, bus: Bus, count: int, of: int = 0) -> None:
    """Put messages into the queue, and settle the first of them."""
    for n in range(of or count):
        await admin.put("tokens", solicitada(n))
    batch = await take(bus, of or count)
    await bus.settle(batch[:count], {})


async def left_behind(admin: Operator, bus: Bus) -> int:
    """How many messages the broker has once this process is gone."""
    await bus.give_back()
    await until(lambda: not bus.consuming)
    # RabbitMQ puts back what was not acked a moment after the connection is closed.
    await asyncio.sleep(0.3)
    return await admin.count("tokens")


async def test_what_comes_alone_is_acked_a_quarter_of_a_second_later(node: Node, url: str) -> None:
    async with operator(url) as admin, wire(node, url) as (cable, by_wire), running(by_wire, consume=True) as bus:
        await settled(admin, bus, 1)
        consumer, began = bus._consumer, time.monotonic()
        assert consumer is not None
        assert len(consumer.held) == 1
        await until(lambda: not consumer.held)
        assert time.monotonic() - began > 0.2
        # The broker has it: of a process that is cut off now nothing comes again.
        await asyncio.sleep(0.1)
        cable.cut()
        await until(lambda: not bus.consuming)
        assert await left_behind(admin, bus) == 0


@pytest.mark.parametrize(("prefetch", "count"), [(300, 64), (8, 2), (3, 1)])
async def test_with_so_many_in_hand_acks_wait_no_longer(
    url: str, monkeypatch: pytest.MonkeyPatch, prefetch: int, count: int
) -> None:
    monkeypatch.setattr(acks, "ACK_SECONDS", NEVER_SECONDS)
    async with operator(url) as admin, running(url, consume=True, prefetch=prefetch) as bus:
        await settled(admin, bus, count - 1)
        consumer = bus._consumer
        assert consumer is not None
        assert len(consumer.held) == count - 1
        await settled(admin, bus, 1)
        assert not consumer.held


async def test_whoever_gives_back_acks_first_what_is_settled(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acks, "ACK_SECONDS", NEVER_SECONDS)
    async with operator(url) as admin, running(url, consume=True) as bus:
        await settled(admin, bus, 2, of=5)
        assert await left_behind(admin, bus) == 3


async def test_whoever_stops_acks_what_is_settled_before_and_after(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acks, "ACK_SECONDS", NEVER_SECONDS)
    async with operator(url) as admin, running(url, consume=True) as bus:
        for n in range(3):
            await admin.put("tokens", solicitada(n))
        first, second, _ = await take(bus, 3)
        consumer = first.raw.consumer
        await bus.settle([first], {})
        assert len(consumer.held) == 3
        await bus.stop_consuming()
        assert len(consumer.held) == 2
        # What was in hand is decided meanwhile: nobody waits for it any more.
        await bus.settle([second], {})
        assert len(consumer.held) == 1
        await bus._connections["consume"].close()
        await admin.until_count("tokens", 1)


async def test_an_ack_that_waits_is_never_one_of_another_consumers(
    node: Node, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection counts its deliveries from one: the second of the new one is not the second of the old one."""
    monkeypatch.setattr(acks, "ACK_SECONDS", NEVER_SECONDS)
    async with operator(url) as admin, wire(node, url) as (cable, by_wire), running(by_wire, consume=True) as bus:
        await settled(admin, bus, 2, of=3)
        cable.cut()
        await until(lambda: not bus.consuming)
        again = await take(bus, 3)
        assert [one.raw.tag for one in again] == [1, 2, 3]
        # As its timer does.
        bus._acks.send()
        assert len(again[0].raw.consumer.held) == 3
        assert await left_behind(admin, bus) == 3
