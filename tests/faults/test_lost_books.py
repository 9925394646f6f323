"""One service's folder is lost, or put back as it was, while a client buys: nothing is decided by it, and the book is
written again from the other three."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.request import urlopen

import pytest
from fault_builders import story
from patience import PATIENCE_SECONDS, eventually, wait_until
from shop_builders import HELD_SECONDS, ZOCO, Shop, start

from broker.services import SERVICES
from loadgen.load.client import Client
from ops.rabbitmq import Node

# The others are long tests.
FEW = [("tokens", "old"), ("usuarios", "old"), ("compras", "lost"), ("transacciones", "lost")]


@pytest.fixture(scope="module")
def broken(node: Node, tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[Shop]:
    shop = start(tmp_path_factory.mktemp("books"), ZOCO_RABBITMQ_URL=broker_url, ZOCO_NUDGE_SECONDS="1")
    yield shop
    shop.stop()


def state(shop: Shop, service: str) -> dict[str, Any]:
    try:
        with urlopen(f"{shop.running.urls[service]}/readyz", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError):
        return {"role": None, "doubt": None}


def back(shop: Shop, service: str) -> dict[str, Any]:
    """What it says once it leads again."""
    shop.let_it_start(service)
    wait_until(lambda: state(shop, service)["role"] == "writer", f"{service} does not come back")
    return state(shop, service)


def rebuild(shop: Shop, service: str, *options: str) -> tuple[int, str]:
    words = [str(ZOCO), "rebuild", service, "--data", str(shop.data), *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    return done.returncode, done.stdout + done.stderr


@asynccontextmanager
async def buying(client: Client, first: int) -> AsyncIterator[None]:
    """Somebody buys all the while, and is patient."""
    await client.prepare(users=[first], tokens=range(first, first + 200), saldo=10_000, precio=1)

    async def buy() -> None:
        for token in range(first, first + 200):
            await client.buy(first, token)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(buy())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("service", "how"),
    [
        pytest.param(service, how, marks=() if (service, how) in FEW else pytest.mark.long)
        for service in SERVICES
        for how in ("lost", "old")
    ],
)
async def test_a_book_that_is_not_what_others_know_decides_nothing_and_is_written_again(
    broken: Shop, numbers: Iterator[int], service: str, how: str
) -> None:
    shop, first = broken, next(numbers)
    folder, aside = shop.data / service, shop.data.parent / f"{service}-{how}"
    async with shop.client() as client:
        await story(client, first, 2)
        # What is put back is whole: its service is down when it is copied.
        shop.kill(service, HELD_SECONDS)
        shutil.copytree(folder, aside)
        back(shop, service)
        async with buying(client, next(numbers)):
            await asyncio.sleep(1)
        # What only compras' own disk knows cannot come back: all that it accepted is on its way.
        await client.quiet()
        async with buying(client, next(numbers)):
            if service != "compras":
                await asyncio.sleep(1)
            shop.kill(service, HELD_SECONDS)
            shutil.rmtree(folder)
            if how == "old":
                shutil.move(aside, folder)
            found = back(shop, service)
            await eventually(lambda: in_doubt(shop, service), f"{service} does not notice: {state(shop, service)}")
            now = state(shop, service)
            # Not even by the seed, with which a new book begins once nobody knows of another.
            assert now["records"] == found["records"] and (how == "old" or not now["records"])
            assert now["doubtOf"] == service and f"zoco rebuild {service}" in now["doubt"]
            doctor = subprocess.run([str(ZOCO), "doctor", "--data", str(shop.data)], capture_output=True, check=False)
            assert doctor.returncode == 1 and f"zoco rebuild {service}" in doctor.stdout.decode().replace("\n", " ")
            await asyncio.sleep(1)
            assert state(shop, service)["records"] == now["records"], "it decides"
        code, said = await asyncio.to_thread(rebuild, shop, service, "--check")
        assert code == 0 and state(shop, service)["doubt"], said
        code, said = await asyncio.to_thread(rebuild, shop, service)
        assert code == 0 and state(shop, service)["doubt"] is None, said
        await story(client, next(numbers), 2)
    await shop.audited()
    # There is nothing more to be done.
    code, said = await asyncio.to_thread(rebuild, shop, service)
    assert code == 0 and "nothing to do" in said


async def test_an_older_copy_that_went_on_until_it_was_longer_is_noticed_by_those_who_come_back(
    broken: Shop, numbers: Iterator[int]
) -> None:
    """The numbers of its records are no longer smaller than what the others have heard of."""
    shop, buyer = broken, next(numbers)
    folder, aside = shop.data / "compras", shop.data.parent / "compras-alone"
    async with shop.client() as client:
        await client.prepare(users=[buyer], tokens=range(buyer, buyer + 100), saldo=1_000, precio=1)
        await client.quiet()
        shop.kill("compras", HELD_SECONDS)
        shutil.copytree(folder, aside)
        back(shop, "compras")
        for token in range(buyer, buyer + 5):
            await client.buy(buyer, token)
        await client.quiet()
        # What is not acked comes again, and says which records it has heard of: nobody has to come back for that.
        await eventually(lambda: has_acked(shop, "compras"), "compras keeps what it has settled")
        lost = state(shop, "compras")["records"]
        for service in SERVICES:
            shop.kill(service, HELD_SECONDS)
        shutil.rmtree(folder)
        shutil.move(aside, folder)
        back(shop, "compras")
        for token in range(buyer + 5, buyer + 100):
            await client.buy(buyer, token)
            if state(shop, "compras")["records"] > lost:
                break
        found = state(shop, "compras")
        assert found["records"] > lost and found["doubt"] is None
        for service in ("tokens", "usuarios", "transacciones"):
            shop.let_it_start(service)
        await eventually(lambda: in_doubt(shop, "compras"), "compras does not notice")
        assert "is another one than" in state(shop, "compras")["doubt"]
        code, said = await asyncio.to_thread(rebuild, shop, "compras")
        assert code == 0, said
        await story(client, next(numbers), 2)
    # What was bought before and after: it was told to the client, and is all there.
    await shop.audited()


async def is_sure(shop: Shop, service: str) -> bool:
    found = state(shop, service)
    return found["role"] == "writer" and found["doubt"] is None


async def has_acked(shop: Shop, service: str) -> bool:
    """All that came; acks wait a moment for their neighbours."""
    broker = state(shop, service)["broker"]
    return broker["consuming"] and broker["oldestSeconds"] is None


async def in_doubt(shop: Shop, service: str) -> bool:
    return bool(state(shop, service)["doubt"])


async def test_two_books_that_are_lost_at_once_are_named_and_nothing_is_pretended(
    broken: Shop, numbers: Iterator[int]
) -> None:
    shop = broken
    async with shop.client() as client:
        await story(client, next(numbers), 2)
        await client.quiet()
    for service in ("tokens", "usuarios"):
        shop.kill(service, HELD_SECONDS)
        shutil.copytree(shop.data / service, shop.data.parent / f"kept-{service}")
        shutil.rmtree(shop.data / service)
    for service in ("tokens", "usuarios"):
        back(shop, service)
        await eventually(lambda service=service: in_doubt(shop, service), f"{service} does not notice")  # type: ignore[misc]
    code, said = await asyncio.to_thread(rebuild, shop, "tokens")
    assert code == 2 and "two books are lost, of tokens and of usuarios" in said.replace("\n", " ")
    for service in ("tokens", "usuarios"):
        shop.kill(service, HELD_SECONDS)
        shutil.rmtree(shop.data / service)
        shutil.move(shop.data.parent / f"kept-{service}", shop.data / service)
        back(shop, service)
    # tokens doubted usuarios until that had its book again.
    for service in SERVICES:
        await eventually(lambda service=service: is_sure(shop, service), f"{service} still doubts")  # type: ignore[misc]
    await shop.audited()
