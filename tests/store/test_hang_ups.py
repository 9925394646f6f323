"""Whoever goes away, and whatever cannot be read: the one connection by which a process reads is the others', too."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from postgres_server import new_database, url_in
from starlette.requests import ClientDisconnect
from store_builders import life, publicado, solicitada

from ops.postgres import Database
from services.compras.domain import DOMAIN as COMPRAS
from services.compras.streams import Events
from services.shared.decision import Domain
from services.shared.http.edge import unless_gone
from services.shared.postgres.link import Connection
from services.shared.postgres.store import PostgresStore
from services.shared.store import Away
from services.tokens.domain import DOMAIN as TOKENS

KEYS = ("101", "102", "103", "104", "105")


@pytest.fixture
async def database(postgres: Database) -> str:
    return await new_database(postgres)


@asynccontextmanager
async def opened(
    postgres: Database, database: str, domain: Domain[Any], kind: type[PostgresStore[Any]] = PostgresStore
) -> AsyncIterator[PostgresStore[Any]]:
    store = kind(url_in(postgres, domain.name, database), domain)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def backend(store: PostgresStore[Any]) -> int:
    """The process of PostgreSQL that answers its reads."""
    found: int = await store._ask(lambda connection: connection.fetchval("SELECT pg_backend_pid()"))
    return found


async def hangs_up(store: PostgresStore[Any], work: Any) -> None:
    """Somebody asks for this, and goes once their question is under way."""
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    asked = asyncio.create_task(unless_gone(receive, work))
    async with asyncio.timeout(20):
        while not store._asking.locked():
            await asyncio.sleep(0)
    await asyncio.sleep(0.002)
    gone.set()
    with pytest.raises(ClientDisconnect):
        await asked


async def test_who_hangs_up_ends_no_connection_and_nobody_elses_question(postgres: Database, database: str) -> None:
    compra = solicitada(1)
    async with opened(postgres, database, COMPRAS) as store, postgres.connected(database) as owner:
        await store.process_batch(life(compra, 7))
        await store.follow()
        events, before = Events(store), await backend(store)
        for ask in (
            lambda: events.missed(compra.subject, 3),
            lambda: anext(anything(events.of(compra.subject, None))),
            lambda: anext(anything(events.all(0))),
            lambda: store.listed(10, where={"usuario_id": 1}),
        ):
            async with owner.transaction():
                # What is asked meanwhile has no answer.
                await owner.execute("LOCK TABLE compras.diario, compras.filas, compras.lista")
                await hangs_up(store, ask())
                assert store._asking.locked()
                waiting = asyncio.create_task(store.latest())
            assert await waiting == store.seq
        assert await backend(store) == before


async def test_what_nobody_waits_for_any_more_ends_with_its_store(postgres: Database, database: str) -> None:
    async with (
        opened(postgres, database, COMPRAS) as store,
        postgres.connected(database) as owner,
        owner.transaction(),
    ):
        await owner.execute("LOCK TABLE compras.lista")
        await hangs_up(store, store.listed(10, where={"usuario_id": 1}))
        assert store._asking.locked()
        await asyncio.wait_for(store.close(), 5)
        assert not store._asking.locked()


async def test_what_becomes_of_a_question_that_nobody_waits_for_any_more_is_no_traceback(
    postgres: Database, database: str
) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with opened(postgres, database, COMPRAS) as store, postgres.connected(database) as owner:
        mine = await backend(store)
        async with owner.transaction():
            await owner.execute("LOCK TABLE compras.lista")
            await hangs_up(store, store.listed(10, where={"usuario_id": 1}))
            await owner.execute("SELECT pg_terminate_backend($1)", mine)
            async with asyncio.timeout(5):
                while store._asking.locked():
                    await asyncio.sleep(0.01)
        assert await backend(store) != mine
    gc.collect()
    assert told == []


async def anything(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Of a stream, what comes behind its first line, which asks for nothing."""
    await anext(stream)
    async for piece in stream:
        yield piece


async def test_a_row_that_cannot_be_read_costs_no_connection(postgres: Database, database: str) -> None:
    async with opened(postgres, database, TOKENS) as store, postgres.connected(database) as owner:
        await store.process_batch([publicado(101)])
        before = await backend(store)
        await owner.execute("UPDATE tokens.filas SET datos = 'no row', version = version + 1")
        for _ in range(3):
            with pytest.raises(msgspec.DecodeError):
                await store.row("101")
        assert await backend(store) == before


async def test_those_who_are_asked_for_again_one_by_one_wait_for_a_database_that_is_away_together(
    postgres: Database, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.shared.postgres.reads.PATIENCE_SECONDS", 0.5)
    async with postgres.connected(database) as owner:

        class Leaving(PostgresStore[Any]):
            """Its database is away once a row could not be read."""

            async def _look_up(self, connection: Connection, keys: list[str]) -> Any:
                try:
                    return await super()._look_up(connection, keys)
                except msgspec.DecodeError:
                    await owner.execute("BEGIN; LOCK TABLE tokens.filas")
                    raise

        async with opened(postgres, database, TOKENS) as store:
            await store.process_batch([publicado(int(key)) for key in KEYS])
        await owner.execute("UPDATE tokens.filas SET datos = 'no row' WHERE clave = '103'")
        async with opened(postgres, database, TOKENS, Leaving) as store:
            began = asyncio.get_running_loop().time()
            told = await asyncio.gather(*map(store.row, KEYS), return_exceptions=True)
            assert {type(one) for one in told} == {Away}
            assert asyncio.get_running_loop().time() - began < 2 * 0.5
            await owner.execute("ROLLBACK")
