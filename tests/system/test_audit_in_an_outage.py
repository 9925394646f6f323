"""An audit of a shop that is not at rest: what may still be on its way is not called lost, and what is lost is."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from patience import eventually
from shop_builders import ZOCO, Shop, start

from loadgen.drill import quiet
from loadgen.drill.shop import own_shop
from loadgen.load.client import Client
from ops.running import Running, kill_process

PREPARED = {"users": [1, 2], "tokens": range(101, 109), "saldo": 1000, "precio": 10}


def audited(data: Path) -> tuple[int, dict[str, Any]]:
    words = ("audit", "--json", "--data", str(data))
    done = subprocess.run([ZOCO, *words], capture_output=True, text=True, check=False, env={"NO_COLOR": "1"})
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


async def waits(client: Client) -> bool:
    return bool((await client.get("/estado"))["colas"]["transacciones"]["messages"] == 2)


async def rests(client: Client) -> bool:
    return quiet.disturbed(await client.get("/estado")) is None


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        shop = start(tmp_path)
        stack.callback(shop.stop)
        yield shop


async def test_what_waits_for_a_broker_that_is_away_or_for_a_shop_that_is_stopped_is_not_lost(shop: Shop) -> None:
    async with shop.client() as client:
        await client.prepare(**PREPARED)
        with shop.down("tokens"):
            code, found = await asyncio.to_thread(audited, shop.data)
            assert (code, found["promises"]["8"]["partly"]) == (0, ["nobody was asked for tokens"])
        await eventually(lambda: rests(client), "tokens is not back")
        with shop.down("rabbitmq"):
            for user in (1, 2):
                await client.buy(user, 100 + user)
            code, found = await asyncio.to_thread(audited, shop.data)
            assert (code, found["holds"], found["lost"], found["underWay"]) == (3, False, 0, 2)
            assert found["notQuiet"] == "RabbitMQ is away"
            assert not found["breaches"]
            shop.stop()
        code, found = await asyncio.to_thread(audited, shop.data)
        assert (code, found["holds"], found["lost"], found["underWay"]) == (3, False, 0, 2)
        assert "start it" in found["notQuiet"]
        words = ("audit", "--data", str(shop.data))
        said = subprocess.run([ZOCO, *words], capture_output=True, text=True, check=False, env={"NO_COLOR": "1"})
        assert (said.returncode, "not quiet: 2 on their way, " in said.stdout) == (3, True), said.stdout[-500:]
    again = start(shop.data.parent)
    try:
        async with again.client() as client:
            await client.quiet()
        code, found = await asyncio.to_thread(audited, again.data)
        assert (code, found["holds"], found["notQuiet"]) == (0, True, None), found["breaches"]
    finally:
        again.stop()


async def test_what_was_asked_for_again_in_vain_is_lost(tmp_path: Path) -> None:
    """A shop without its nudge, whose broker lost its disk: all is ready, all queues are empty, and two never end."""
    async with own_shop(tmp_path, without="nudge"):
        running = Running.read(tmp_path / "data")
        async with Client(running.urls["compras"], None, running.keys) as client:
            await client.prepare(**PREPARED)
            kill_process(running, "transacciones", 600)
            for user in (1, 2):
                await client.buy(user, 100 + user)
            await eventually(lambda: waits(client), "the sales are not in its queue")
            kill_process(running, "rabbitmq", 5)
            await asyncio.to_thread(subprocess.run, ["rm", "-r", str(tmp_path / "data/rabbitmq/data")], check=True)
            (tmp_path / "data/holds/transacciones").unlink()
            await eventually(lambda: rests(client), "it does not come to rest")
        code, found = await asyncio.to_thread(audited, tmp_path / "data")
    assert (code, found["holds"], found["lost"], found["notQuiet"]) == (1, False, 2, None)
