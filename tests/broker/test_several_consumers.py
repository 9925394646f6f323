"""Several processes on one queue: each looks after its own consumer, and tells what it has in its hands."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiormq.exceptions import AMQPError
from broker_builders import operator, running, solicitada, take, until
from patience import PATIENCE_SECONDS

from broker.amqp.bus import Bus

QUICK = {"watch_seconds": 0.05, "renew_seconds": 0.3}


async def lose_its_consumer(bus: Bus) -> None:
    """As if the broker had forgotten it, and told nobody."""
    # On a busy machine it may just be asking for it anew.
    await until(lambda: bus._tag is not None)
    assert bus._channel is not None and bus._tag is not None
    underlay = await bus._channel.get_underlay_channel()
    await underlay.basic_cancel(bus._tag)


async def test_a_lost_consumer_is_noticed_by_its_own_process_though_others_take_all_there_is(url: str) -> None:
    async with (
        operator(url) as admin,
        running(url, consume=True, **QUICK) as one,
        running(url, consume=True, **QUICK) as other,
    ):
        await lose_its_consumer(one)
        got: dict[Bus, int] = {one: 0, other: 0}

        async def take_all(bus: Bus) -> None:
            while True:
                batch = await bus.receive(100)
                got[bus] += len(batch)
                await bus.settle(batch, {})

        tasks = [asyncio.create_task(take_all(bus)) for bus in got]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not got[one]:
                # There is never anything that waits, and the queue has a consumer all the while.
                await admin.put("tokens", solicitada(got[other]))
                await admin.until_count("tokens", 0)
        assert (await one.depths())["tokens"].consumers == 2
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_to_ask_for_a_consumer_again_and_again_loses_nothing_and_doubles_nothing(url: str) -> None:
    count = 3000
    async with (
        running(url, "compras") as compras,
        running(url, consume=True, watch_seconds=0.001, renew_seconds=0) as bus,
    ):
        publishing = asyncio.create_task(publish_one_by_one(compras, count))
        ids: list[str] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(ids) < count:
                batch = await bus.receive(100)
                ids += [delivery.message.id for delivery in batch if delivery.message]
                await bus.settle(batch, {})
        await publishing
        assert len({*ids}) == len(ids) == count
        # It was asked for often.
        assert bus._consumers > 10
        assert (await bus.depths())["tokens"].messages == 0


async def publish_one_by_one(bus: Bus, count: int) -> None:
    for first in range(0, count, 10):
        await bus.publish([solicitada(n) for n in range(first, first + 10)])
        await asyncio.sleep(0)


async def test_who_has_something_in_its_hands_keeps_its_consumer(url: str) -> None:
    """A new one would not hear of it again, and nobody needs one."""
    async with running(url, "compras") as compras, running(url, consume=True, **QUICK) as bus:
        await compras.publish([solicitada()])
        batch = await take(bus, 1)
        tag = bus._tag
        await until(lambda: bus._vigil.unseen_seconds(0.0) > 5 * QUICK["renew_seconds"])
        assert bus._tag == tag
        await bus.settle(batch, {})
        await until(lambda: bus._tag not in (None, tag))


async def test_a_process_tells_how_old_what_it_holds_is(url: str) -> None:
    async with running(url, "compras") as compras, running(url, consume=True) as bus:
        assert bus.oldest_seconds is None
        assert bus.state()["oldestSeconds"] is None
        await compras.publish([solicitada(1)])
        first = await take(bus, 1)
        held: list[float] = []

        def grows() -> bool:
            held.append(bus.oldest_seconds or 0.0)
            return held[-1] > 2

        await until(grows)
        assert held == sorted(held)
        # Of whom a young one comes, the old one is the oldest all the same; once that is acked, the young one is.
        await compras.publish([solicitada(2)])
        second = await take(bus, 1)
        assert (bus.oldest_seconds or 0.0) > 2
        await bus.settle(first, {})
        await until(lambda: 0.0 <= (bus.oldest_seconds or 0.0) <= 2)
        await bus.settle(second, {})
        await until(lambda: bus.oldest_seconds is None)


async def test_what_has_no_time_of_its_own_does_not_age(url: str) -> None:
    async with operator(url) as admin, running(url, consume=True) as bus:
        await admin.put("tokens", solicitada())
        await take(bus, 1)
        assert bus.oldest_seconds is None


async def test_what_was_held_by_a_connection_that_is_gone_is_in_nobodys_hands(url: str) -> None:
    async with running(url, "compras") as compras, running(url, consume=True) as bus:
        await compras.publish([solicitada()])
        batch = await take(bus, 1)
        assert bus.oldest_seconds is not None
        with suppress(AMQPError):
            await bus._connections["consume"].close()
        await until(lambda: not bus.consuming)
        again = await take(bus, 1)
        assert [one.message for one in again] == [one.message for one in batch]
        await bus.settle(again, {})
        await until(lambda: bus.oldest_seconds is None)
