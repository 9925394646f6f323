"""What a process decided and died without telling is said after a migration, too, whatever dies on the way."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from postgres_server import new_database, url_in
from store_builders import publicado, solicitada, writer

from broker.messages import Message
from ops.postgres import Database
from services.rebuild.migration import migrate
from services.shared.journal.untold import TOLD, noted
from services.shared.postgres.store import PostgresStore
from services.tokens.domain import DOMAIN as TOKENS

SECONDS = 60
FIRST, SECOND, THIRD = (solicitada(number, token=100 + number) for number in (1, 2, 3))
SHOWN = [publicado(101), publicado(102), publicado(103)]


@pytest.fixture
async def url(postgres: Database) -> str:
    return url_in(postgres, "tokens", await new_database(postgres))


async def in_files(folder: Path, told: Sequence[Message], untold: Sequence[Message]) -> None:
    """Whoever decides in this folder says all of the one, and dies before it says any of the other."""
    async with writer(folder, TOKENS) as files:
        await noted(files, files.seq)
        files.speaks(nothing)
        await files.tell()
        for answer in await files.process_batch(told):
            files.told(answer.messages)
        await files.process_batch(untold)


async def nothing(messages: Sequence[Message]) -> None: ...


async def in_tables(url: str, told: Sequence[Message], untold: Sequence[Message]) -> None:
    async with at_work(url) as (tables, _):
        for answer in await tables.process_batch(told):
            tables.told(answer.messages)
        await holds(tables, f"SELECT 1 FROM voces WHERE instancia = {tables.instance} AND dicho = {tables.seq}")
        await tables.process_batch(untold)


@asynccontextmanager
async def at_work(url: str) -> AsyncIterator[tuple[PostgresStore[Any], list[str]]]:
    """A process with what it publishes of dead ones."""
    said: list[str] = []

    async def publish(messages: Sequence[Message]) -> None:
        said.extend(message.subject for message in messages)

    tables: PostgresStore[Any] = PostgresStore(url, TOKENS)
    await tables.open()
    tables.speaks(publish)
    tending = asyncio.ensure_future(tables.tend())
    try:
        yield tables, said
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)
        await tables.close()


async def holds(tables: PostgresStore[Any], query: str) -> None:
    async with asyncio.timeout(SECONDS):
        while not await tables._ask(lambda one: one.fetch(query)):
            await asyncio.sleep(0.05)


async def said_in_tables(url: str) -> list[str]:
    """By the first process, until it has spoken for all that died."""
    async with at_work(url) as (tables, said):
        await holds(tables, "SELECT 1 FROM voces HAVING count(*) = 1")
    return said


async def said_in_files(folder: Path) -> list[str]:
    said: list[str] = []

    async def publish(messages: Sequence[Message]) -> None:
        said.extend(message.subject for message in messages)

    async with writer(folder, TOKENS) as files:
        await noted(files, files.seq)
        files.speaks(publish)
        await files.tell()
    return said


async def test_what_is_in_files_and_was_not_told_is_said_from_the_tables(url: str, tmp_path: Path) -> None:
    await in_files(tmp_path, [*SHOWN, FIRST], [SECOND, THIRD])
    await migrate(TOKENS, tmp_path, url, back=False)
    assert await said_in_tables(url) == [SECOND.subject, THIRD.subject]
    assert await said_in_tables(url) == [], "it was told"


@pytest.mark.parametrize("old", [True, False], ids=["an old note", "no note"])
async def test_what_is_in_tables_and_was_not_told_is_said_from_the_files_and_nothing_of_before(
    url: str, tmp_path: Path, old: bool
) -> None:
    await in_files(tmp_path, SHOWN, [])
    await migrate(TOKENS, tmp_path, url, back=False)
    await said_in_tables(url)
    await in_tables(url, [FIRST, SECOND], [THIRD])
    if not old:
        (tmp_path / TOLD).unlink()
    await migrate(TOKENS, tmp_path, url, back=True)
    assert await said_in_files(tmp_path) == [THIRD.subject]


async def test_where_all_is_told_nothing_is_said_again_in_either_direction(url: str, tmp_path: Path) -> None:
    await in_files(tmp_path, [*SHOWN, FIRST, SECOND], [])
    await migrate(TOKENS, tmp_path, url, back=False)
    assert await said_in_tables(url) == []
    await in_tables(url, [THIRD], [])
    await migrate(TOKENS, tmp_path, url, back=True)
    assert await said_in_files(tmp_path) == []


async def test_what_two_dead_processes_did_not_tell_is_said_from_the_first_of_it_on(url: str, tmp_path: Path) -> None:
    """Of the files there is one note: what the other one has told meanwhile is said twice."""
    one, other = PostgresStore[Any](url, TOKENS), PostgresStore[Any](url, TOKENS)
    for tables, buys in ((one, FIRST), (other, SECOND), (one, THIRD)):
        if not tables.opened:
            await tables.open()
        await tables.process_batch([publicado(buys.token_id), buys])
    for tables in (one, other):
        await tables.close()
    await migrate(TOKENS, tmp_path, url, back=True)
    assert await said_in_files(tmp_path) == [FIRST.subject, SECOND.subject, THIRD.subject]


# It dies by SIGKILL before, or after, the moment that decides: a COMMIT, or the last segment's name.
DIES = """
import asyncio, os, signal, sys
from services.rebuild import migration
from services.shared.journal import generation
from services.shared.postgres.store import PostgresStore

when = sys.argv.pop(1)
commit, publish = PostgresStore._commit, generation._publish

def die():
    os.kill(os.getpid(), signal.SIGKILL)

async def committed(self, connection):
    if when == "before":
        die()
    await commit(self, connection)
    die()

def published(*what):
    if when == "before":
        die()
    publish(*what)
    die()

PostgresStore._commit, generation._publish = committed, published
migration.main()
"""


async def killed(when: str, url: str, folder: Path, *options: str) -> None:
    env = {**os.environ, "ZOCO_DATA": str(folder), "ZOCO_STORE": url}
    command = [sys.executable, "-c", DIES, when, "tokens", *options]
    done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_around_the_commit_it_forgets_no_word(url: str, tmp_path: Path, when: str) -> None:
    await in_files(tmp_path, [*SHOWN, FIRST], [SECOND, THIRD])
    await killed(when, url, tmp_path)
    await migrate(TOKENS, tmp_path, url, back=False)
    assert await said_in_tables(url) == [SECOND.subject, THIRD.subject]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_around_the_last_name_on_the_way_back_it_forgets_no_word(
    url: str, tmp_path: Path, when: str
) -> None:
    await in_files(tmp_path, SHOWN, [])
    await migrate(TOKENS, tmp_path, url, back=False)
    await in_tables(url, [FIRST], [SECOND])
    await killed(when, url, tmp_path, "--back")
    if when == "before":
        # The tables are still it, and go on.
        assert await said_in_tables(url) == [SECOND.subject]
        await in_tables(url, [], [THIRD])
    await migrate(TOKENS, tmp_path, url, back=True)
    assert await said_in_files(tmp_path) == [THIRD.subject if when == "before" else SECOND.subject]
