"""Buying from the real processes while they are killed. Each test ends with the books checked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from patience import END_SECONDS, PATIENCE_SECONDS
from shop_builders import Shop, start

from broker.services import SERVICES
from loadgen.audit.text import Unreadable
from loadgen.drill.reconcile import reconcile_running
from loadgen.load.client import Client


async def buy_all(client: Client, first: int, count: int, *, pause_seconds: float = 0.01) -> list[str]:
    """`count` buyers, two for each token; their purchases' ids."""
    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(client.buy(first + number % 7, first + number // 2)))
        await asyncio.sleep(pause_seconds)
    return [told["id"] for told in await asyncio.gather(*tasks)]


async def test_the_seeds_story_is_told_as_the_design_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    shop = start(tmp_path_factory.mktemp("seed"))
    try:
        async with shop.client() as client:
            ana = await client.buy(1, 101, wait_seconds=10)
            assert (ana["estado"], ana["precio"], ana["transaccionId"]) == ("registrada", 50, 1)
            assert [step["estado"] for step in ana["historia"]] == [
                "solicitada",
                "reservada",
                "pagada",
                "confirmada",
                "registrada",
            ]
            poor = await client.buy(1, 102, wait_seconds=10)
            assert (poor["estado"], poor["motivo"]) == ("rechazada", "saldo-insuficiente")
            assert (await client.get("/tokens/102"))["vendido"] is False
            luis = await client.buy(2, 102, wait_seconds=10)
            assert (luis["estado"], luis["transaccionId"]) == ("registrada", 2)
            late = await client.buy(2, 101, wait_seconds=10)
            assert (late["estado"], late["motivo"]) == ("rechazada", "token-vendido")
            nobody = await client.buy(3, 101, wait_seconds=10)
            assert nobody["motivo"] == "token-vendido"
            nothing = await client.buy(1, 999, wait_seconds=10)
            assert nothing["motivo"] == "token-inexistente"
            assert await client.get("/usuarios") == [
                {"id": 1, "nombre": "Ana", "saldo": 50},
                {"id": 2, "nombre": "Luis", "saldo": 80},
            ]
            assert [token["vendido"] for token in await client.get("/tokens")] == [True, True]
            records = await client.get("/transacciones")
            assert [(record["id"], record["usuarioId"], record["tokenId"]) for record in records] == [
                (1, 1, 101),
                (2, 2, 102),
            ]
        await shop.audited()
    finally:
        assert shop.stop() < END_SECONDS


async def test_who_waits_behind_a_buyer_that_cannot_pay_gets_the_token(shop: Shop, numbers: Iterator[int]) -> None:
    first = next(numbers)
    async with shop.client() as client:
        await client.prepare(users=[first], tokens=[first], saldo=0, precio=10)
        await client.prepare(users=[first + 1], tokens=[], saldo=10, precio=10)
        # With usuarios down the first buyer holds the token, and the second waits in line.
        with shop.down("usuarios"):
            poor = await client.buy(first, first)
            await asyncio.sleep(0.2)
            rich = await client.buy(first + 1, first)
        await client.quiet()
        assert (await client.get(f"/compras/{poor['id']}"))["motivo"] == "saldo-insuficiente"
        assert (await client.get(f"/compras/{rich['id']}"))["estado"] == "registrada"
    await shop.audited()


@pytest.mark.parametrize("service", SERVICES)
async def test_no_purchase_is_lost_or_doubled_when_a_service_is_killed(
    shop: Shop, numbers: Iterator[int], service: str
) -> None:
    first = next(numbers)
    async with shop.client() as client:
        await client.prepare(users=range(first, first + 7), tokens=range(first, first + 90), saldo=200, precio=10)
        buying = asyncio.create_task(buy_all(client, first, 180))
        for _ in range(3):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(shop.kill, service)
        ids = await buying
        assert len(set(ids)) == 180
    await shop.audited()


async def test_no_purchase_is_lost_when_the_broker_is_killed_and_kept_down(shop: Shop, numbers: Iterator[int]) -> None:
    first = next(numbers)
    async with shop.client() as client:
        await client.prepare(users=range(first, first + 7), tokens=range(first, first + 60), saldo=200, precio=10)
        buying = asyncio.create_task(buy_all(client, first, 120, pause_seconds=0.03))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(shop.kill, "rabbitmq", PATIENCE_SECONDS)
        await buying
        state = await client.get("/estado")
        shop.let_it_start("rabbitmq")
        assert state["broker"]["conectado"] is False
        assert state["broker"]["problema"]
        assert state["sinTerminar"] > 0
        # Every one of them was accepted without a broker.
    await shop.audited()


async def test_no_purchase_is_lost_when_the_brokers_disk_is_wiped_in_mid_flight(
    shop: Shop, numbers: Iterator[int]
) -> None:
    first = next(numbers)
    async with shop.client() as client:
        await client.prepare(users=range(first, first + 7), tokens=range(first, first + 60), saldo=200, precio=10)
        shop.kill("transacciones", 12)
        buying = asyncio.create_task(buy_all(client, first, 120, pause_seconds=0.02))
        await asyncio.sleep(1)
        await asyncio.to_thread(shop.wipe_broker, 2)
        await buying
    verdict = await shop.audited()
    assert verdict.lost == 0


async def test_with_transacciones_down_purchases_queue_and_are_recorded_in_order_afterwards(
    shop: Shop, numbers: Iterator[int]
) -> None:
    first = next(numbers)
    async with shop.client() as client:
        await client.prepare(users=[first], tokens=range(first, first + 200), saldo=10**9, precio=10)
        before = len(await client.get("/transacciones?limite=10000"))
        with shop.down("transacciones"):
            ids = [told["id"] for told in await asyncio.gather(*(client.buy(first, first + n) for n in range(200)))]
            async with asyncio.timeout(PATIENCE_SECONDS):
                while {(await client.get(f"/compras/{subject}"))["estado"] for subject in ids} != {"confirmada"}:
                    await asyncio.sleep(0.1)
            queues = (await client.get("/estado"))["colas"]
            assert queues["transacciones"] == {"messages": 200, "consumers": 0}
        await client.quiet()
        records = await client.get(f"/transacciones?limite=10000&desde={before}")
        assert [record["id"] for record in records] == list(range(before + 1, before + 201))
        assert len({record["tokenId"] for record in records}) == 200
    await shop.audited()


@pytest.mark.parametrize("service", SERVICES)
async def test_the_same_key_is_the_same_purchase_after_any_service_was_killed(
    shop: Shop, numbers: Iterator[int], service: str
) -> None:
    first = next(numbers)
    async with shop.client() as client:
        await client.prepare(users=[first], tokens=[first, first + 1], saldo=100, precio=40)
        told = await client.buy(first, first, key="once")
        await asyncio.to_thread(shop.kill, service)
        again = await client.buy(first, first, key="once", wait_seconds=10)
        assert again["id"] == told["id"]
        await client.quiet()
        end = await client.buy(first, first, key="once")
        assert end["estado"] == "registrada"
        status, problem = await client.ask(first, first + 1, key="once")
        assert status == 422, problem
    # By then whoever was killed can be asked again.
    await shop.audited()
    async with shop.client() as client:
        assert (await client.get(f"/usuarios/{first}"))["saldo"] == 60


async def test_the_books_over_http_come_to_the_same_verdict(shop: Shop, numbers: Iterator[int]) -> None:
    first = next(numbers)
    async with shop.client() as client:
        await client.prepare(users=[first], tokens=[first], saldo=10, precio=10)
        await client.buy(first, first, wait_seconds=10)
    by_folder = await shop.audited()
    running, told = shop.running, [shop.data.parent / "client.jsonl"]
    assert (await reconcile_running(running.urls, running.books_token, told)).as_json() == by_folder.as_json()
    with pytest.raises(Unreadable, match="token of this shop's books"):
        await reconcile_running(running.urls, "x" * 16, told)
