"""A service that dies between the disk and the broker in a shop where nobody asks again for what does not get on, as
while its queues are never empty: who comes after it says what it had decided."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import aiohttp
import pytest
from fault_builders import FaultyShop, faulty
from patience import eventually
from test_lost_books import state

from loadgen.load.client import Client

# Longer than any test waits.
NEVER_SECONDS = "3600"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[FaultyShop]:
    env = {"ZOCO_RABBITMQ_URL": broker_url, "ZOCO_NUDGE_SECONDS": NEVER_SECONDS}
    with faulty(tmp_path_factory.mktemp("untold"), "crash_program.py", **env) as shop:
        yield shop


async def until(client: Client, purchase: str, estado: str) -> None:
    async def stands_there() -> bool:
        # The front door may just be starting.
        with suppress(aiohttp.ClientError):
            return bool((await client.get(f"/compras/{purchase}"))["estado"] == estado)
        return False

    await eventually(stands_there, f"{purchase} does not become {estado}")


async def test_whoever_is_next_in_line_is_told_though_who_decided_it_died(
    shop: FaultyShop, numbers: Iterator[int]
) -> None:
    """What the one before is told is said again when their message is delivered again; this is not."""
    shop.clear()
    token = poor = next(numbers)
    dies = {"tokens": "before-publish compra.rechazada 1"}
    async with shop.client() as client:
        await client.prepare(users=[poor], tokens=[token], saldo=0, precio=10)
        await client.prepare(users=[poor + 1], tokens=[], saldo=10, precio=10)
        with shop.down("usuarios"):
            await until(client, (await client.buy(poor, token))["id"], "reservada")
            records = state(shop, "tokens")["records"]
            waits = (await client.buy(poor + 1, token))["id"]

            async def stands_in_line() -> bool:
                return bool(state(shop, "tokens")["records"] > records)

            await eventually(stands_in_line, "nobody stands in the line")
            shop.order(dies)
        await shop.until_died(dies)
        await until(client, waits, "registrada")
    await shop.audited()


async def test_what_came_by_http_gets_on_though_a_queue_is_never_empty(
    shop: FaultyShop, numbers: Iterator[int]
) -> None:
    shop.clear()
    token = buyer = next(numbers)
    dies = {"compras": "before-publish compra.solicitada 1"}
    async with shop.client() as client:
        await client.prepare(users=[buyer], tokens=[token], saldo=10, precio=10)
        with shop.down("usuarios"):
            # The first waits in the queue of usuarios all the while: so nothing is asked for again, at no start either.
            await until(client, (await client.buy(buyer, token))["id"], "reservada")
            shop.order(dies)
            asked = (await client.buy(buyer, token + 1, wait_seconds=0))["id"]
            await shop.until_died(dies)
            await until(client, asked, "rechazada")
        await client.quiet()
    await shop.audited()
