"""Rows that change often are changed in place: no index of theirs has anything to learn (PostgreSQL's HOT)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from patience import PATIENCE_SECONDS
from postgres_server import new_database, url_in
from store_builders import recarga, usuario

from ops.postgres import Database
from services.shared.postgres.store import PostgresStore
from services.usuarios.domain import DOMAIN as USUARIOS

CHANGES = 60
# The tables of a shop that was there before.
OLDER = """
    SET search_path = usuarios;
    DROP INDEX filas_publicas;
    ALTER TABLE filas DROP COLUMN publica;
    CREATE INDEX filas_vistas ON filas ((clave::bigint)) WHERE visto IS NOT NULL;
"""
UPDATES = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = 'usuarios' AND relname = 'filas'"


@pytest.fixture
async def database(postgres: Database) -> str:
    return await new_database(postgres)


async def opened(postgres: Database, database: str) -> PostgresStore[Any]:
    store: PostgresStore[Any] = PostgresStore(url_in(postgres, USUARIOS.name, database), USUARIOS)
    await store.open()
    assert store.opened, store.trouble
    return store


async def in_place(postgres: Database, database: str, changes: int) -> tuple[int, int]:
    """So many updates there were, and of these so many in place: told once whoever made them is gone."""
    async with asyncio.timeout(PATIENCE_SECONDS), postgres.connected(database) as owner:
        while (found := await owner.fetchrow(UPDATES))[0] < changes:
            await asyncio.sleep(0.05)
    return found[0], found[1]


async def test_a_balance_that_changes_is_changed_in_place(postgres: Database, database: str) -> None:
    store = await opened(postgres, database)
    await store.process_batch([usuario(1)])
    for number in range(1, CHANGES + 1):
        await store.process_batch([recarga(number)])
    assert await store.public_list() == (b'[{"id":1,"nombre":"Ana","saldo":160}]', None)
    await store.close()
    # The first page may be full, once.
    changes, kept = await in_place(postgres, database, CHANGES)
    assert changes == CHANGES and kept >= CHANGES - 2


async def test_tables_of_before_are_mended_while_a_process_goes_on_in_them(postgres: Database, database: str) -> None:
    before = await opened(postgres, database)
    await before.process_batch([usuario(1), recarga(0, usuario=2)])
    async with postgres.connected(database) as owner:
        await owner.execute(OLDER)
    store = await opened(postgres, database)
    for number in range(1, CHANGES + 1):
        await (store, before)[number % 2].process_batch([recarga(number)])
    for one in (store, before):
        assert await one.public_list() == (b'[{"id":1,"nombre":"Ana","saldo":160}]', None)
        await one.close()
    changes, kept = await in_place(postgres, database, CHANGES)
    assert changes == CHANGES and kept >= CHANGES - 2


async def test_what_is_public_is_found_by_its_index(postgres: Database, database: str) -> None:
    await (await opened(postgres, database)).close()
    async with postgres.connected(database) as owner:
        await owner.execute("SET enable_seqscan = off; SET search_path = usuarios")
        plan = await owner.fetch("EXPLAIN SELECT visto FROM filas WHERE publica AND clave::bigint > 7")
        left = await owner.fetchval("SELECT to_regclass('filas_vistas')")
    assert "filas_publicas" in str(plan) and left is None
