"""How a PostgreSQL is, as metrics and as `zoco doctor` says it: each alarm is seen to ring, and to be silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from postgres_server import away, new_database, url_in, without_standby
from prometheus_client import CollectorRegistry

from ops import doctor_database
from ops.postgres import USER, Database
from ops.running import Running
from services.shared.postgres import health as module
from services.shared.postgres.health import GAUGES, Health


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.05)


@pytest.fixture
async def database(postgres: Database) -> str:
    return await new_database(postgres)


class Asked:
    """A process of compras that would ask."""

    def __init__(self, url: str) -> None:
        self.registry = CollectorRegistry()
        self._health = Health(url, self.registry)
        self._task = asyncio.ensure_future(self._health.run())

    def __getitem__(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"zoco_database_{name}")

    @property
    def shows(self) -> set[str]:
        return {metric.name.removeprefix("zoco_database_") for metric in self.registry.collect()}

    async def until(self, holds: Callable[[Asked], Any]) -> None:
        async with asyncio.timeout(30):
            while not holds(self):
                assert not self._task.done(), self._task
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        # First the connection: a question that is cancelled is an error in the server's log.
        self._health.link.drop()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._health.link.close()


@pytest.fixture
async def asked(postgres: Database, database: str) -> AsyncIterator[Asked]:
    asked = Asked(url_in(postgres, "compras", database))
    yield asked
    await asked.end()


ALL = {name for name, _ in GAUGES.values()}


async def test_one_process_alone_asks_and_another_one_when_that_has_ended(
    asked: Asked, postgres: Database, database: str
) -> None:
    await asked.until(lambda one: one.shows == ALL)
    other = Asked(url_in(postgres, "compras", database))
    await asyncio.sleep(0.5)
    assert other.shows == set()
    async with away(postgres, database):
        # What is not known is not shown.
        await asked.until(lambda one: not one.shows)
    await asked.until(lambda one: one.shows or other.shows)
    assert not (asked.shows and other.shows)
    await asked.end()
    await other.until(lambda one: one.shows == ALL)
    await other.end()


async def test_who_has_another_connection_shows_nothing_before_it_has_the_lock_again(
    asked: Asked, postgres: Database, database: str
) -> None:
    """As after a failover that was done before anybody asked."""
    await asked.until(lambda one: one.shows == ALL)
    other = Asked(url_in(postgres, "compras", database))
    await asyncio.sleep(0.5)
    for _ in range(20):
        asked._health.link.drop()
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert not (asked.shows and other.shows)
    await asked.until(lambda one: one.shows or other.shows)
    await other.end()


async def test_a_standby_that_is_missing_shows_while_all_commits_wait(asked: Asked, postgres: Database) -> None:
    await asked.until(lambda one: (one["standbys"], one["standbys_wanted"]) == (0, 0))
    async with without_standby(postgres) as owner:
        await asked.until(lambda one: (one["standbys"], one["standbys_wanted"]) == (0, 1))
        for names, wanted in (("ANY 2 (a, b, c)", 2), ("FIRST 3 (a,b,c)", 3), ("2 (a, b)", 2), ("a, b", 1), ("*", 1)):
            await owner.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
            await owner.execute("SELECT pg_reload_conf()")
            await asked.until(lambda one, wanted=wanted: one["standbys_wanted"] == wanted)  # type: ignore[misc]
    await asked.until(lambda one: one["standbys_wanted"] == 0)


@asynccontextmanager
async def kept_open(postgres: Database, database: str) -> AsyncIterator[int]:
    """A transaction that sees what was, and keeps it; its process."""
    async with postgres.connected(database) as owner:
        await owner.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        yield await owner.fetchval("SELECT pg_backend_pid()")
        await owner.execute("ROLLBACK")


async def test_a_transaction_that_nobody_ends_shows_by_its_age(asked: Asked, postgres: Database, database: str) -> None:
    async with kept_open(postgres, database), postgres.connected(database) as owner:
        for number in range(20):
            await owner.execute(f"CREATE TABLE t{number} ()")
        await asked.until(lambda one: (one["xmin_age"] or 0) >= 20 and (one["snapshot_seconds"] or 0) > 1)
    await asked.until(lambda one: one["xmin_age"] < 20 and one["snapshot_seconds"] < 1)


async def test_a_slot_that_nobody_reads_shows_by_the_log_that_it_keeps(
    asked: Asked, postgres: Database, database: str
) -> None:
    await asked.until(lambda one: one["slots_wal_bytes"] == 0 and one["wal_bytes"] >= 16 << 20)
    async with postgres.connected(database) as owner:
        await owner.execute("SELECT pg_create_physical_replication_slot('nobody', true)")
        try:
            await owner.execute("CREATE TABLE much AS SELECT repeat('x', 1000) FROM generate_series(1, 10000)")
            await asked.until(lambda one: one["slots_wal_bytes"] > 10_000_000 and one["bytes"] > 10_000_000)
            assert asked["slots_idle"] == 1
        finally:
            await owner.execute("SELECT pg_drop_replication_slot('nobody')")


async def test_connections_are_counted(asked: Asked, postgres: Database, database: str) -> None:
    await asked.until(lambda one: one["connections_max"] == 100 and one["connections"])
    before = asked["connections"] or 0
    async with AsyncExitStack() as some:
        for _ in range(10):
            await some.enter_async_context(postgres.connected(database))
        await asked.until(lambda one: one["connections"] >= before + 10)


async def test_it_is_told_these_numbers_and_nothing_else(postgres: Database, database: str) -> None:
    """No statement of another session, no setting that is a secret; and the other services not even these."""
    compras = await asyncpg.connect(url_in(postgres, "compras", database))
    tokens = await asyncpg.connect(url_in(postgres, "tokens", database))
    try:
        assert {*(await compras.fetchrow(module.SALUD)).keys()} == {*GAUGES}
        seen = await compras.fetch("SELECT DISTINCT query FROM pg_stat_activity WHERE usename <> 'compras'")
        assert {row["query"] for row in seen} <= {"<insufficient privilege>", ""}
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await compras.fetch("SELECT * FROM pg_ls_waldir()")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await tokens.fetch("SELECT * FROM compras.salud()")
    finally:
        await compras.close()
        await tokens.close()


async def test_a_database_whose_owner_has_not_made_the_function_has_no_such_metrics(
    postgres: Database, database: str
) -> None:
    async with postgres.connected(database) as owner:
        await owner.execute("DROP FUNCTION compras.salud()")
    asked = Asked(url_in(postgres, "compras", database))
    async with asyncio.timeout(20):
        await asked._task
    assert asked.shows == set()
    # Which is not what is told of one that is away: here somebody has to mend it.
    assert asked._health.told == {}
    await asked.end()


async def test_of_a_database_that_is_away_it_is_not_known_how_it_is(
    asked: Asked, postgres: Database, database: str
) -> None:
    await asked.until(lambda one: one._health.told)
    async with away(postgres, database):
        await asked.until(lambda one: one._health.told is None)
    await asked.until(lambda one: one._health.told)


@pytest.fixture
def running(postgres: Database, database: str, tmp_path: Path) -> Running:
    return Running(tmp_path, 0, {}, {}, "", None, None, None, "", "", database_url=postgres.url(USER, database))


async def said(running: Running) -> str:
    return "\n".join(f"{'ok' if one.well else 'BAD'} {one.says}" for one in await doctor_database.database(running))


async def test_the_doctor_names_a_missing_standby(running: Running, postgres: Database) -> None:
    assert "BAD" not in await said(running)
    async with without_standby(postgres):
        async with asyncio.timeout(20):
            while "BAD a standby is missing (0 of 1)" not in await said(running):
                await asyncio.sleep(0.05)
    async with asyncio.timeout(20):
        while "BAD" in await said(running):
            await asyncio.sleep(0.05)


async def test_the_doctor_names_who_keeps_a_transaction_open(
    running: Running, postgres: Database, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept_open(postgres, database) as pid:
        assert "BAD" not in await said(running)
        monkeypatch.setattr(doctor_database, "OLD_SECONDS", 0.5)
        async with asyncio.timeout(20):
            while f"end process {pid} of {USER}" not in (found := await said(running)):
                await asyncio.sleep(0.05)
    assert "BAD a transaction is open for" in found


async def test_the_doctor_names_a_log_that_is_kept_for_nobody(
    running: Running, postgres: Database, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with postgres.connected(database) as owner:
        await owner.execute("SELECT pg_create_physical_replication_slot('nobody', true)")
        try:
            # What it keeps begins where the last checkpoint did.
            kept = await owner.fetchval("SELECT ranuras_bytes FROM compras.salud()")
            monkeypatch.setattr(doctor_database, "KEPT_BYTES", kept + (5 << 20))
            assert "log are kept" not in (found := await said(running))
            assert "BAD 1 of its slots are idle" in found
            await owner.execute("CREATE TABLE much AS SELECT repeat('x', 1000) FROM generate_series(1, 10000)")
            assert "of its log are kept for somebody who is away" in await said(running)
        finally:
            await owner.execute("SELECT pg_drop_replication_slot('nobody')")


async def test_the_doctor_names_connections_that_are_used_up(running: Running, postgres: Database) -> None:
    async with AsyncExitStack() as some:
        for _ in range(91):
            await some.enter_async_context(postgres.connected())
        assert "of its 100 connections are used" in await said(running)
    async with asyncio.timeout(20):
        while "BAD" in await said(running):
            await asyncio.sleep(0.05)
