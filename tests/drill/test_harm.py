"""A fault that did nothing is not counted as one that happened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from postgres_server import running_postgres

from loadgen.drill import target
from loadgen.drill.faults import POSTGRES, Fault, Happened, carry_out
from loadgen.drill.target import LocalTarget
from ops.postgres import Database
from ops.process import Process
from ops.running import STATE
from tests.unit.test_local import running, settled

WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture
def up() -> Iterator[Process]:
    yield from kept(settled("zoco", "up"))


@pytest.fixture
def service() -> Iterator[Process]:
    yield from kept(settled("services.tokens.main"))


def kept(process: Process) -> Iterator[Process]:
    yield process
    process.kill()
    assert process.output
    process.output.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """One of this test's own: it is to wait for a standby that never comes."""
    yield from running_postgres(tmp_path / "postgres")


@pytest.mark.parametrize("full", [True, False])
async def test_a_disk_that_is_never_full_for_who_writes_is_no_full_disk(
    tmp_path: Path, up: Process, service: Process, full: bool
) -> None:
    async def readyz(_: web.Request) -> web.Response:
        return web.json_response({"diskFull": full})

    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "journal-00000001-000001.jsonl").touch()
    app = web.Application()
    app.router.add_get("/readyz", readyz)
    async with TestServer(app) as server:
        running(tmp_path, up, {"tokens": str(server.make_url(""))}, tokens=service.pid)
        (happened,) = await carry_out([Fault(0, "disk-full", "tokens", 0.3)], LocalTarget(tmp_path))
    assert happened.trouble == (None if full else "tokens found room for all that it wrote in 0.3 s")


async def test_where_nobody_waits_for_a_standby_nobody_loses_the_connection_and_that_is_said(
    tmp_path: Path, up: Process, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "WAITS_SECONDS", 0.3)
    running(tmp_path, up)
    state = tmp_path / STATE
    state.write_text(json.dumps(json.loads(state.read_text()) | {"database_url": database.url()}))

    async def disconnected() -> Happened:
        (happened,) = await carry_out([Fault(0, "disconnect", POSTGRES)], LocalTarget(tmp_path))
        return happened

    # A database that was asked to wait for nobody.
    assert (await disconnected()).trouble is None
    owner = await asyncpg.connect(database.url())
    await owner.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    await owner.execute("SELECT pg_reload_conf()")
    while not await owner.fetchval("SHOW synchronous_standby_names"):
        await asyncio.sleep(0.05)
    assert (await disconnected()).trouble == "nobody waited for the standby in 0.3 s"
    writer = await asyncpg.connect(database.url())
    writing = asyncio.ensure_future(writer.execute("CREATE TABLE waits (n int)"))
    while not await owner.fetchval(WAITS):
        await asyncio.sleep(0.05)
    assert (await disconnected()).trouble is None
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await writing
    await owner.close()
