"""A shop's books go from files into tables, and back, as they are; and both go on from there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from postgres_server import away, new_database, url_in
from store_builders import life, pagado, publicado, solicitada, writer

from broker.messages import Message
from ops.postgres import Database
from services.compras.domain import DOMAIN as COMPRAS
from services.rebuild.migration import NotMigrated, migrate
from services.shared.exits import EX_CONFIG
from services.shared.heights import BookHeights
from services.shared.postgres.store import PostgresStore
from services.shared.store import Store
from services.tokens.domain import DOMAIN as TOKENS


async def all_of(store: Store[Any]) -> list[bytes]:
    found: list[bytes] = []
    while some := await store.records(len(found), 1 << 20):
        found += some
    return found


@pytest.fixture
async def database(postgres: Database) -> str:
    return await new_database(postgres)


async def test_a_book_goes_into_tables_and_back_word_for_word_and_goes_on(
    postgres: Database, database: str, tmp_path: Path
) -> None:
    url = url_in(postgres, "tokens", database)
    buyers = [solicitada(buyer) for buyer in range(1, 60)]
    async with writer(tmp_path / "tokens", TOKENS, snapshot_bytes=4_000) as files:
        await files.process_batch([publicado(), publicado(102), *buyers[:40]])
        written, heights, row = await all_of(files), files.heights.known(), await files.row("101")
    assert await migrate(TOKENS, tmp_path / "tokens", url, back=False) == len(written)
    assert await migrate(TOKENS, tmp_path / "tokens", url, back=False) == 0

    tables: PostgresStore[Any] = PostgresStore(url, TOKENS)
    await tables.open()
    assert await all_of(tables) == written and tables.heights.known() == heights
    assert await tables.row("101") == row
    # What was said before is said again, and the line goes on.
    (again, *_) = await tables.process_batch([buyers[0], *buyers[40:50]])
    assert again.repeated and again.messages and len((await tables.row("101")).cola) == 49
    on = await all_of(tables)
    await tables.close()

    with pytest.raises(NotMigrated, match="has one already"):
        await migrate(TOKENS, tmp_path / "tokens", url, back=False)
    assert await migrate(TOKENS, tmp_path / "tokens", url, back=True) == len(on)
    async with writer(tmp_path / "tokens", TOKENS) as files:
        assert await all_of(files) == on
        (sold,) = await files.process_batch([pagado(buyers[0])])
        assert len(sold.messages) == 50


async def test_purchases_on_their_way_are_still_on_their_way(postgres: Database, database: str, tmp_path: Path) -> None:
    async with writer(tmp_path / "compras", COMPRAS) as files:
        await files.process_batch([*life(solicitada(1), 1), solicitada(2), solicitada(3)])
        unfinished = await files.unfinished_rows()
        listed = await files.listed(10, where={"usuario_id": 1})
    url = url_in(postgres, "compras", database)
    await migrate(COMPRAS, tmp_path / "compras", url, back=False)
    tables: PostgresStore[Any] = PostgresStore(url, COMPRAS)
    await tables.open()
    assert await tables.unfinished_rows() == unfinished and [*unfinished] == [
        solicitada(2).subject,
        solicitada(3).subject,
    ]
    assert await tables.listed(10, where={"usuario_id": 1}) == listed
    await tables.close()


async def filled(url: str, batch: Sequence[Message]) -> None:
    """Tables in which a process has decided this, and ended."""
    tables: PostgresStore[Any] = PostgresStore(url, TOKENS)
    await tables.open()
    await tables.process_batch(batch)
    await tables.close()


async def test_another_book_or_a_process_at_work_is_left_alone(
    postgres: Database, database: str, tmp_path: Path
) -> None:
    url = url_in(postgres, "tokens", database)
    await filled(url, [publicado()])
    async with writer(tmp_path / "tokens", TOKENS) as files:
        await files.process_batch([publicado(), publicado(102)])
        with pytest.raises(NotMigrated, match="a process writes"):
            await migrate(TOKENS, tmp_path / "tokens", url, back=False)
    with pytest.raises(NotMigrated, match="has one already"):
        await migrate(TOKENS, tmp_path / "tokens", url, back=False)


async def test_a_folder_that_holds_no_book_is_none_that_is_taken_over(
    postgres: Database, database: str, tmp_path: Path
) -> None:
    """As where a volume is not mounted."""
    with pytest.raises(NotMigrated, match="there is no book in"):
        await migrate(TOKENS, tmp_path / "tokens", url_in(postgres, "tokens", database), back=False)


async def test_killed_at_any_moment_it_has_done_nothing_and_is_started_again(
    postgres: Database, database: str, tmp_path: Path
) -> None:
    async with writer(tmp_path / "tokens", TOKENS) as files:
        for first in range(200, 2_700, 500):
            await files.process_batch([publicado(token) for token in range(first, first + 500)])
    url = url_in(postgres, "tokens", database)
    command = [sys.executable, "-m", "services.rebuild.migration", "tokens"]
    env = {**os.environ, "ZOCO_DATA": str(tmp_path / "tokens"), "ZOCO_STORE": url}
    for lines in (0, 1, 3):
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(lines):
                await asyncio.to_thread(process.stdout.readline)
            process.send_signal(signal.SIGKILL)
        tables: PostgresStore[Any] = PostgresStore(url, TOKENS)
        await tables.open()
        assert await tables.latest() in (0, 2_500)
        await tables.close()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["hecho"] and last["registros"] in (0, 2_500)
    tables = PostgresStore(url, TOKENS)
    await tables.open()
    assert len(json.loads((await tables.public_list())[0])) == 2_500
    await tables.close()


async def test_a_later_generation_is_left_alone(postgres: Database, database: str, tmp_path: Path) -> None:
    """The shop went on there, was put back to a backup, and sold something else: with fewer records."""
    url = url_in(postgres, "tokens", database)
    async with writer(tmp_path / "tokens", TOKENS) as files:
        await files.process_batch([publicado(), *map(solicitada, range(1, 11))])
        some = (await all_of(files))[:3]
    await migrate(TOKENS, tmp_path / "tokens", url, back=False)
    tables: PostgresStore[Any] = PostgresStore(url, TOKENS)
    await tables.open()
    await tables.put_back(BookHeights("tokens", tables.heights.book, 2), pieces(some))
    await tables.close()
    with pytest.raises(NotMigrated, match="has one already"):
        await migrate(TOKENS, tmp_path / "tokens", url, back=False)


async def pieces(some: list[bytes]) -> AsyncIterator[list[bytes]]:
    yield some


async def test_tables_in_which_a_process_decides_are_left_alone(
    postgres: Database, database: str, tmp_path: Path
) -> None:
    """In either direction: it would go on there, and nobody would know of it."""
    url = url_in(postgres, "tokens", database)
    tables: PostgresStore[Any] = PostgresStore(url, TOKENS)
    await tables.open()
    await tables.process_batch([publicado()])
    for back in (True, False):
        with pytest.raises(NotMigrated, match="a process decides in PostgreSQL"):
            await migrate(TOKENS, tmp_path / "tokens", url, back=back)
    await tables.close()
    assert await migrate(TOKENS, tmp_path / "tokens", url, back=True) == 1


BACK = [sys.executable, "-m", "services.rebuild.migration", "tokens", "--back"]
# It waits for its starter after each line.
SLOWLY = """
import sys
from services.rebuild import migration
said = migration.say
def say(**line):
    said(**line)
    sys.stdin.readline()
migration.say = say
migration.main()
"""


async def test_who_promises_standbys_does_not_migrate_without_them(
    postgres: Database, database: str, tmp_path: Path
) -> None:
    url = url_in(postgres, "tokens", database)
    env = {**os.environ, "ZOCO_DATA": str(tmp_path / "tokens"), "ZOCO_STORE": url, "ZOCO_STORE_STANDBYS": "1"}
    done = await asyncio.to_thread(subprocess.run, BACK, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == EX_CONFIG and "ZOCO_STORE_STANDBYS promises 1" in done.stderr


async def test_a_database_that_goes_away_on_the_way_is_a_sentence(
    postgres: Database, database: str, tmp_path: Path
) -> None:
    url = url_in(postgres, "tokens", database)
    await filled(url, [publicado(token) for token in range(200, 1_000)])
    env = {**os.environ, "ZOCO_DATA": str(tmp_path / "tokens"), "ZOCO_STORE": url}
    slowly = [sys.executable, "-c", SLOWLY, *BACK[3:]]
    with subprocess.Popen(
        slowly, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        async with away(postgres, database):
            _, why = await asyncio.to_thread(process.communicate)
    assert process.returncode == EX_CONFIG
    assert b"PostgreSQL does not answer" in why and b"Traceback" not in why
