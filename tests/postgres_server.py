"""A database of Zoco for each test that wants one, on one PostgreSQL."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from patience import PATIENCE_SECONDS

from ops.postgres import DATABASE, ROLES, Database
from ops.postgres_pair import Pair


def running_postgres(folder: Path) -> Iterator[Database]:
    """One PostgreSQL with its disk in this folder, for a fixture."""
    database = Database(folder)
    asyncio.run(database.start())
    try:
        yield database
    finally:
        asyncio.run(database.stop(0))
    assert not (found := not_injected(database.log.read_text(encoding="utf-8"))), found


@asynccontextmanager
async def running_pair(folder: Path, *, strict: bool = True) -> AsyncIterator[Pair]:
    """Both of `zoco up --standby`, once the standby follows."""
    pair = Pair(folder, strict=strict)
    try:
        await pair.start()
        await follows(pair)
        yield pair
    finally:
        await pair.stop(0)


async def follows(pair: Pair) -> None:
    """Until the standby has all that there is."""
    await asyncio.wait_for(pair.standby.start(), PATIENCE_SECONDS)
    async with asyncio.timeout(PATIENCE_SECONDS), pair.primary.connected() as connection:
        while not await connection.fetchval("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"):
            await asyncio.sleep(0.05)


# What tests do to it on purpose, as its log tells of it.
INJECTED: Final = (
    "permission denied for schema",
    "permission denied for function pg_ls_waldir",
    "function salud() does not exist",
    "canceling wait for synchronous replication due to user request",
    "canceling the wait for synchronous replication and terminating connection",
    "this book was written again",
    'type "leido" already exists',
)


def not_injected(log: str) -> list[str]:
    """The lines of its log that tell of something that nobody did to it: a deadlock, an error, a panic."""
    told = [line for line in log.splitlines() if re.search(r" (ERROR|PANIC|WARNING): |deadlock", line)]
    return [line for line in told if not any(one in line for one in INJECTED)]


async def new_database(server: Database) -> str:
    """The name of a new one, in which the roles may do what they may in Zoco's own."""
    name = f"zoco_{secrets.token_hex(4)}"
    async with server.connected() as connection:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    async with server.connected(name) as connection:
        await connection.execute(ROLES.read_text(encoding="utf-8"))
    return name


def url_in(server: Database, role: str, name: str) -> str:
    return server.url(role).removesuffix(DATABASE) + name


@asynccontextmanager
async def away(postgres: Database, database: str) -> AsyncIterator[None]:
    """The database takes no connections, and has none."""
    async with postgres.connected() as owner:
        await owner.execute(f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false")
        await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
        try:
            yield
        finally:
            await owner.execute(f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true")


@asynccontextmanager
async def without_standby(postgres: Database) -> AsyncIterator[Any]:
    """Each COMMIT waits for a standby that is not there, but for those of who is given."""
    async with postgres.connected() as owner:
        await owner.execute("SET synchronous_commit = local")
        await owner.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        await owner.execute("SELECT pg_reload_conf()")
        await _waits(postgres)
        try:
            yield owner
        finally:
            await owner.execute("ALTER SYSTEM RESET synchronous_standby_names")
            await owner.execute("SELECT pg_reload_conf()")


async def _waits(postgres: Database) -> None:
    """What was set is heard of a moment later."""
    async with asyncio.timeout(PATIENCE_SECONDS), postgres.connected() as probe:
        with suppress(TimeoutError):
            while True:
                # asyncpg cancels what it waits for no longer.
                await probe.execute("SELECT pg_logical_emit_message(true, 'zoco', '')", timeout=0.2)
                await asyncio.sleep(0.02)


async def waits_for_standby(owner: Any, database: str, who: str = "zoco %") -> int:
    """Until a COMMIT waits there; whose backend that is."""
    waits = """
        SELECT pid FROM pg_stat_activity
        WHERE wait_event = 'SyncRep' AND datname = $1 AND application_name LIKE $2
    """
    async with asyncio.timeout(20):
        while not (pid := await owner.fetchval(waits, database, who)):
            await asyncio.sleep(0.02)
    found: int = pid
    return found
