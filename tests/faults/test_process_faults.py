"""Writers that are replaced behind their back, buyers who all come at once, and everything that ends in the middle."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_builders import faulty
from shop_builders import Shop, replica, start

from loadgen.load.client import Client


async def prepared(client: Client, first: int, tokens: int, saldo: int = 10_000) -> None:
    await client.prepare(users=[first], tokens=range(first, first + tokens), saldo=saldo, precio=10)


async def test_a_writer_whose_lock_file_was_removed_gives_way_to_a_second_one(
    shop: Shop, numbers: Iterator[int]
) -> None:
    first = next(numbers)
    async with shop.client() as client:
        await prepared(client, first, 60)
        pid = shop.running.pids["compras"]
        (shop.data / "compras" / "lock").unlink()
        with replica(shop):
            # The first one learns it when it is about to answer the first of these.
            await asyncio.gather(*(client.buy(first, first + n) for n in range(30)))
        assert shop.running.pids["compras"] != pid
        await asyncio.gather(*(client.buy(first, first + 30 + n) for n in range(30)))
    await shop.audited()


async def test_a_buyer_with_money_for_one_who_asks_a_thousand_times_at_once_gets_one(
    shop: Shop, numbers: Iterator[int]
) -> None:
    first = next(numbers)
    async with shop.client() as client:
        await prepared(client, first, 50, saldo=10)
        told = await asyncio.gather(*(client.buy(first, first + n % 50) for n in range(1_000)))
        await client.quiet()
        ends = [(await client.get(f"/compras/{one['id']}"))["estado"] for one in told]
        assert (ends.count("registrada"), ends.count("rechazada")) == (1, 999)
        assert (await client.get(f"/usuarios/{first}"))["saldo"] == 0
    await shop.audited()


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
async def test_everything_that_ends_at_once_goes_on_where_it_was(
    tmp_path: Path, numbers: Iterator[int], number: signal.Signals
) -> None:
    """RabbitMQ, too; three times, with purchases in every queue."""
    for turn in range(4):
        shop = await asyncio.to_thread(start, tmp_path, ZOCO_NUDGE_SECONDS="1")
        try:
            first = next(numbers)
            async with shop.client() as client:
                await prepared(client, first, 300)
                asking = [asyncio.create_task(client.ask(first, first + n)) for n in range(300)]
                if turn == 3:
                    await asyncio.gather(*asking)
                    await client.quiet()
                    break
                await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(0.1 * turn)
                shop.process.send_signal(number)
                await asyncio.to_thread(shop.process.wait, 30)
                told = await asyncio.gather(*asking)
                assert any(status == 202 for status, _ in told)
        finally:
            if turn == 3:
                await shop.audited()
            if shop.process.poll() is None:
                await asyncio.to_thread(shop.stop)


@pytest.mark.long
async def test_a_consumer_that_dies_a_hundred_times_on_the_same_messages_drops_none(
    tmp_path: Path, broker_url: str, numbers: Iterator[int]
) -> None:
    first = next(numbers)
    with faulty(tmp_path, "crash_program.py", ZOCO_RABBITMQ_URL=broker_url, ZOCO_NUDGE_SECONDS="600") as shop:
        async with shop.client() as client:
            await prepared(client, first, 20)
            order = {"usuarios": "before-decide token.reservado 1"}
            shop.order(order)
            told = await asyncio.gather(*(client.buy(first, first + n) for n in range(20)))
            for _ in range(99):
                await shop.until_died(order)
                shop.clear()
                shop.order(order)
            await shop.until_died(order)
            assert {(await client.get(f"/compras/{one['id']}"))["estado"] for one in told} == {"reservada"}
            shop.clear()
            await client.quiet()
            assert {(await client.get(f"/compras/{one['id']}"))["estado"] for one in told} == {"registrada"}
        await shop.audited()
