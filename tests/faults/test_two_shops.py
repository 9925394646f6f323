"""Two shops on one virtual host of a broker: each hears the other's messages, and decides none of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import aiohttp
from fault_builders import story
from patience import eventually
from shop_builders import Shop, start
from test_lost_books import state

from broker.services import SERVICES


def seqs(shop: Shop) -> dict[str, int]:
    return {service: state(shop, service)["records"] for service in SERVICES}


async def test_whoever_hears_another_shops_message_decides_nothing_and_says_why(
    numbers: Iterator[int], tmp_path: Path, broker_url: str
) -> None:
    folders = {name: tmp_path / name for name in ("one", "other")}
    for folder in folders.values():
        folder.mkdir()
    # Each knows its own four books, and has dealt with all of its own.
    for folder in folders.values():
        shop = start(folder, ZOCO_RABBITMQ_URL=broker_url)
        async with shop.client() as client:
            await story(client, next(numbers), 2)
            await client.quiet()
        shop.stop()
    one = start(folders["one"], ZOCO_RABBITMQ_URL=broker_url)
    other = start(folders["other"], ZOCO_RABBITMQ_URL=broker_url)
    try:
        before = seqs(other)
        async with one.client() as client:

            async def somebody_says_so() -> bool:
                """Every message goes to the one or the other."""
                await client.buy(1, 101, wait_seconds=0)
                return any("another shop uses this broker" in (state(other, name)["doubt"] or "") for name in SERVICES)

            await eventually(somebody_says_so, "nobody notices")
            # Who doubts takes nothing: what it was given comes to the shop whose it is.
            other.stop()
            await client.quiet()
        assert seqs(one)["compras"] > 0
        async with aiohttp.ClientSession() as http, http.get(f"{one.front}/estado") as answer:
            queues = json.loads(await answer.read())["colas"]
        assert [queues[f"{name}.muertos"]["messages"] for name in SERVICES] == [0] * 4
        await one.audited()
        other = start(folders["other"], ZOCO_RABBITMQ_URL=broker_url)
        assert seqs(other) == before, "it decided what another shop was asked"
        await other.audited()
    finally:
        for shop in (one, other):
            if shop.process.poll() is None:
                shop.stop()
