"""Events where others decide, too: a door that has not heard of what can be seen already tells of it in its order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from postgres_server import new_database, url_in
from store_builders import life, solicitada

from ops.postgres import Database
from services.compras.domain import DOMAIN as COMPRAS
from services.compras.streams import Events
from services.shared.postgres.store import PostgresStore

Opened = Callable[[], Awaitable[PostgresStore[Any]]]
ALL = ["solicitada", "reservada", "pagada", "registrada"]


@pytest.fixture
async def opened(postgres: Database) -> AsyncIterator[Opened]:
    """Each time another door, which hears of what others recorded when it is told to."""
    url, stores = url_in(postgres, "compras", await new_database(postgres)), list[PostgresStore[Any]]()

    async def opened() -> PostgresStore[Any]:
        stores.append(PostgresStore(url, COMPRAS))
        await stores[-1].open()
        return stores[-1]

    yield opened
    for store in stores:
        await store.close()


class Heard:
    """Who listens, and what they were told: id and state."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self.told: list[tuple[int, str]] = []
        self._task = asyncio.ensure_future(self._hear(stream))

    async def _hear(self, stream: AsyncIterator[bytes]) -> None:
        async for piece in stream:
            for block in piece.decode().split("\n\n"):
                fields = dict(line.split(": ", 1) for line in block.splitlines())
                if fields.get("event") == "compra":
                    self.told.append((int(fields["id"]), json.loads(fields["data"])["estado"]))

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.02)

    async def ended(self) -> None:
        await asyncio.wait_for(self._task, 20)

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def doors(opened: Opened) -> tuple[PostgresStore[Any], PostgresStore[Any], Events]:
    """One that decides, and one that is listened to."""
    one, other = await opened(), await opened()
    events = Events(other)
    other.watch(lambda change: events.heard())
    return one, other, events


async def test_a_purchase_that_went_on_elsewhere_meanwhile_never_goes_back(opened: Opened) -> None:
    one, other, events = await doors(opened)
    messages = life(solicitada(1), 1)
    for message in messages[:3]:
        await one.process_batch([message])
    heard = Heard(events.of(solicitada(1).subject, None))
    await asyncio.sleep(0.5)
    await other.follow()
    await heard.until(lambda: heard.told)
    await one.process_batch(messages[3:])
    await other.follow()
    await heard.ended()
    assert heard.told == [(3, "pagada"), (4, "registrada")]


async def test_a_stream_ends_with_the_end_that_it_has_told(opened: Opened) -> None:
    one, other, events = await doors(opened)
    messages = life(solicitada(1), 1)
    await one.process_batch(messages[:1])
    heard = Heard(events.of(solicitada(1).subject, None))
    await asyncio.sleep(0.5)
    for message in messages[1:]:
        await one.process_batch([message])
        await asyncio.sleep(0.1)
    await other.follow()
    await heard.ended()
    assert heard.told[-1] == (4, "registrada")
    # Who comes back to a door that has not heard of the end yet is not told that they know it.
    late = await opened()
    again = Events(late)
    late.watch(lambda change: again.heard())
    for message in life(solicitada(2), 2):
        await one.process_batch([message])
    missed = asyncio.ensure_future(again.missed(solicitada(2).subject, 4))
    await asyncio.sleep(0.5)
    await late.follow()
    assert await missed


async def test_who_has_been_told_all_that_was_heard_waits_for_more_without_asking(opened: Opened) -> None:
    one, other, events = await doors(opened)
    asked = 0
    records = other.records

    async def counted(after: int, size_bytes: int) -> list[bytes]:
        nonlocal asked
        asked += 1
        return await records(after, size_bytes)

    other.records = counted  # type: ignore[method-assign]
    await one.process_batch([solicitada(1)])
    await other.follow()
    heard = Heard(events.all(0))
    await heard.until(lambda: heard.told)
    for buyer in (2, 3):
        await one.process_batch([solicitada(buyer)])
    # It hears of its own, and not yet of what came before.
    events.heard()
    await asyncio.sleep(1)
    assert asked < 10 and [number for number, _ in heard.told] == [1]
    await other.follow()
    await heard.until(lambda: len(heard.told) == 3)
    await heard.leave()
