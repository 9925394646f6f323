"""Events of the real front door, through kills, on two replicas, and to the end of the process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import aiohttp
from patience import END_SECONDS
from shop_builders import Shop, replica, start

WAIT_SECONDS = 60


class Listener:
    """What a browser's EventSource does: it comes back with the last id that it has seen."""

    def __init__(self, url: str, path: str = "/eventos", after: int | None = None) -> None:
        self.urls, self.path, self.last = [url], path, after
        self.ids: list[int] = []
        self.events: list[dict[str, Any]] = []
        self.connections = 0

    async def run(self) -> None:
        while True:
            with suppress(aiohttp.ClientError, OSError):
                await self._once(self.urls[self.connections % len(self.urls)])
            await asyncio.sleep(0.1)

    async def _once(self, url: str) -> None:
        headers = {} if self.last is None else {"Last-Event-ID": str(self.last)}
        async with aiohttp.ClientSession() as http, http.get(url + self.path, headers=headers) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            self.connections += 1
            fields: dict[str, str] = {}
            async for line in answer.content:
                if line != b"\n":
                    name, _, value = line.decode().rstrip("\n").partition(": ")
                    fields[name] = value
                elif "id" in fields:
                    self.last = int(fields["id"])
                    if fields["event"] == "compra":
                        self.ids.append(self.last)
                        self.events.append(json.loads(fields["data"]))
                    fields = {}
                else:
                    fields = {}

    def ends(self, subject: str) -> list[str]:
        return [event["estado"] for event in self.events if event["id"] == subject]


async def heard(listener: Listener, ids: list[str]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while any(listener.ends(subject)[-1:] not in (["registrada"], ["rechazada"]) for subject in ids):
            await asyncio.sleep(0.05)


async def test_nothing_is_missed_and_nothing_told_twice_while_the_front_door_is_killed(
    shop: Shop, numbers: Iterator[int]
) -> None:
    first = next(numbers)
    with replica(shop) as other:
        async with shop.client() as client:
            await client.prepare(users=[first], tokens=range(first, first + 60), saldo=10**6, precio=10)
            seq = (await client.get("/estado"))["servicios"]["compras"]["records"]
            here, there = Listener(shop.front, after=seq), Listener(other, after=seq)
            # This one is sent to another replica each time that it comes back.
            both = Listener(shop.front, after=seq)
            both.urls.append(other)
            tasks = [asyncio.create_task(listener.run()) for listener in (here, there, both)]
            ids = []
            for number in range(60):
                ids.append((await client.buy(first, first + number))["id"])
                if number in (15, 40):
                    await asyncio.to_thread(shop.kill, "compras")
            for listener in (here, there, both):
                await heard(listener, ids)
            assert here.connections >= 2
            for task in tasks:
                task.cancel()
            anew = Listener(other, after=seq)
            again = asyncio.create_task(anew.run())
            await heard(anew, ids)
            again.cancel()
    for listener in (here, there, both):
        assert listener.ids == sorted(set(listener.ids))
        assert listener.ids == anew.ids[: len(listener.ids)]
        assert listener.events == anew.events[: len(listener.ids)]


async def test_one_purchase_is_told_to_its_end_and_then_no_more(shop: Shop, numbers: Iterator[int]) -> None:
    first = next(numbers)
    async with shop.client() as client:
        await client.prepare(users=[first], tokens=[first], saldo=10, precio=10)
        told = await client.buy(first, first)
    path = f"{shop.front}/compras/{told['id']}/eventos"
    async with aiohttp.ClientSession() as http:
        async with http.get(path) as answer:
            text = (await asyncio.wait_for(answer.text(), WAIT_SECONDS)).rstrip().split("\n\n")[-1]
        last = text.partition("id: ")[2]
        assert '"estado":"registrada"' in text
        async with http.get(path, headers={"Last-Event-ID": last}) as answer:
            assert answer.status == 204
        async with http.get(f"{shop.front}/compras/{told['tokenId']}/eventos") as answer:
            assert answer.status == 404
        async with http.get(path, headers={"Last-Event-ID": "yesterday"}) as answer:
            assert answer.status == 400


async def test_open_streams_do_not_hold_up_the_end(tmp_path_factory: Any) -> None:
    shop = start(tmp_path_factory.mktemp("streams"))
    async with aiohttp.ClientSession() as http, http.get(f"{shop.front}/eventos") as answer:
        await answer.content.readline()
        started = time.monotonic()
        shop.process.terminate()
        # The stream is ended, not torn; uvicorn itself would wait 5 s and then tear it, which raises.
        await asyncio.wait_for(answer.content.read(), END_SECONDS)
        while shop.process.poll() is None:
            assert time.monotonic() - started < END_SECONDS
            await asyncio.sleep(0.05)
