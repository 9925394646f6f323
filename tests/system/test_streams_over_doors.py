"""Events by way of a balancer over three front doors on PostgreSQL, one of which is killed each second."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count, cycle
from pathlib import Path

import pytest
from patience import eventually
from shop_builders import ZOCO, Shop, answers, start
from test_streams import Listener

from loadgen.load.client import Client
from ops.process import free_port

EVENTS, PART = 10_000, 500
USERS, TOKENS = 50, 3_000
UP = (str(ZOCO), "up", "--postgres", "--replicas", "compras=3")
PIECE_BYTES = 64 * 1024


@asynccontextmanager
async def balanced(ports: list[int]) -> AsyncIterator[str]:
    """Each connection to the next door, or to the one behind it where that is away."""
    turns = cycle(ports)
    passing: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in ports:
            with suppress(OSError):
                there, to = await asyncio.open_connection("127.0.0.1", next(turns))
                for one in (pump(reader, to), pump(there, writer)):
                    passing.add(task := asyncio.ensure_future(one))
                    task.add_done_callback(passing.discard)
                return
        writer.transport.abort()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while piece := await reader.read(PIECE_BYTES):
                    writer.write(piece)
                    await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port := free_port())
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
        for task in (ended := list(passing)):
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)


async def kill_each_second(shop: Shop, killed: list[str]) -> None:
    """One door after the other, as long as another one answers: of those that do, whichever was killed least."""
    doors = [label for label in shop.running.places if label.startswith("compras")]
    while True:
        await asyncio.sleep(1)
        running = shop.running
        ready = [one for one in doors if await asyncio.to_thread(answers, f"{running.places[one]}/readyz")]
        label = min(ready, key=killed.count, default="")
        if len(ready) > 1 and running.lives(label):
            os.kill(running.pids[label], signal.SIGKILL)
            killed.append(label)


@pytest.mark.long
async def test_each_event_comes_once_and_in_order_through_a_balancer_while_a_door_is_killed_each_second(
    tmp_path: Path,
) -> None:
    shop = start(tmp_path, command=UP)
    ports = [int(url.rpartition(":")[2]) for label, url in shop.running.places.items() if label.startswith("compras")]
    turns, killed = count(), list[str]()
    async with balanced(ports) as url, Client(url, tmp_path / "client.jsonl", shop.running.keys) as client:
        await client.prepare(users=range(1000, 1000 + USERS), tokens=range(1000, 1000 + TOKENS), saldo=10**6, precio=10)
        seq = (await client.get("/estado"))["servicios"]["compras"]["records"]
        listener = Listener(url, after=seq)
        many = [Listener(url, after=seq) for _ in range(5)]

        async def buy() -> None:
            while True:
                number = next(turns)
                await client.buy(1000 + number % USERS, 1000 + number // 2 % TOKENS)

        tasks = [asyncio.ensure_future(one.run()) for one in (listener, *many)]
        tasks.append(asyncio.ensure_future(kill_each_second(shop, killed)))
        buyers = [asyncio.ensure_future(buy()) for _ in range(8)]

        for wanted in range(PART, EVENTS + 1, PART):

            async def so_many(wanted: int = wanted) -> bool:
                return len(listener.ids) >= wanted

            await eventually(so_many, lambda: f"{len(listener.ids)} events, {len(killed)} kills")
        for task in (*buyers, tasks[-1]):
            task.cancel()
        await client.quiet()
        # As whoever asks one door for all of it hears it, when all is over.
        whole = Listener(shop.front, after=seq)
        tasks.append(asyncio.ensure_future(whole.run()))

        async def all_heard() -> bool:
            return all(one.last == whole.last for one in (listener, *many)) and whole.last is not None

        await eventually(all_heard, lambda: [one.last for one in (whole, listener, *many)])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *buyers, return_exceptions=True)
    assert whole.ids == sorted(set(whole.ids)) and len(whole.ids) >= EVENTS
    assert all(one.ids == whole.ids for one in (listener, *many))
    assert all(one.connections > len(killed) / 6 for one in (listener, *many)) and len({*killed}) == len(ports)
    shop.stop()
