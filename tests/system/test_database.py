"""The private PostgreSQL: it listens on this machine only, is safe whoever kills it, and leaves no process behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from patience import END_SECONDS, PATIENCE_SECONDS, eventually, wait_until

from broker.services import SERVICES
from ops import postgres_programs
from ops.postgres import SETTINGS, USER, Database, DatabaseError, processes_in
from ops.postgres_programs import NoPostgres, find_postgres
from ops.process import Process, free_port


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    # The space in its folder's name is meant, and so is the length: no socket's path is as long.
    folder = tmp_path_factory.mktemp("own") / f"a database {'x' * 100}"
    database = Database(folder)
    yield database
    asyncio.run(database.stop(0))


@pytest.fixture
async def own(kept: Database) -> Database:
    """A running one of these tests' own, to be killed at will."""
    if kept.pid is None:
        await kept.start()
    return kept


async def test_it_listens_on_this_machine_only_and_in_no_file(own: Database) -> None:
    sockets = subprocess.run(["ss", "-Hlanp"], capture_output=True, text=True, check=True).stdout.splitlines()
    mine = [line.split() for line in sockets if f"pid={own.pid}," in line]
    assert [words[4] for words in mine if words[1] == "LISTEN"] == [f"127.0.0.1:{own.port}"]


async def test_what_is_promised_of_it_holds_whatever_its_version_has_by_default(own: Database) -> None:
    async with own.connected() as connection:
        told = dict(await connection.fetch("SELECT lower(name), setting FROM pg_settings"))
        encoding = await connection.fetchval("SHOW server_encoding")
    assert {name: told[name] for name in SETTINGS} == SETTINGS
    assert (told["data_checksums"], encoding, told["lc_messages"]) == ("on", "UTF8", "C")


async def test_what_somebody_set_otherwise_is_set_right_at_the_next_start(own: Database) -> None:
    async with own.connected() as connection:
        await connection.execute("ALTER SYSTEM SET fsync = off")
    own.kill()
    await own.start()
    async with own.connected() as connection:
        assert await connection.fetchval("SHOW fsync") == "on"


async def test_a_service_is_let_in_by_its_own_password_to_its_own_schema(own: Database) -> None:
    for service in SERVICES:
        connection = await asyncpg.connect(own.url(service))
        try:
            await connection.execute("CREATE TABLE mine (n int)")
            assert await connection.fetchval("SELECT 'mine'::regclass::text || current_schema()") == f"mine{service}"
            for other in {*SERVICES} - {service}:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(f"CREATE TABLE {other}.theirs (n int)")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("CREATE TABLE public.everybodys (n int)")
            await connection.execute("DROP TABLE mine")
        finally:
            await connection.close()
        for wrong in (f"{service}:x@", f"{service}@"):
            url = own.url(service)
            with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
                await asyncpg.connect(f"postgresql://{wrong}{url.partition('@')[2]}", password="x")


async def test_its_passwords_are_made_of_chance_and_for_nobody_else(own: Database) -> None:
    files = sorted(own.folder.glob("password*"))
    assert len(files) == len(SERVICES) + 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert len({file.read_text() for file in files}) == len(files)
    assert stat.S_IMODE(own.folder.stat().st_mode) == stat.S_IMODE(own.data.stat().st_mode) == 0o700
    # Neither its log nor a command line tells one.
    seen = own.log.read_text() + "".join(map(str, (process.cmdline() for process in processes_in(own.data))))
    assert not any(file.read_text() in seen for file in files)


async def test_a_password_and_a_right_that_somebody_changed_are_made_right_at_the_next_start(own: Database) -> None:
    async with own.connected() as connection:
        await connection.execute("ALTER ROLE tokens PASSWORD 'another'")
        await connection.execute("ALTER ROLE usuarios RESET search_path")
    own.kill()
    await own.start()
    await (await asyncpg.connect(own.url("tokens"))).close()
    connection = await asyncpg.connect(own.url("usuarios"))
    assert await connection.fetchval("SHOW search_path") == "usuarios"
    await connection.close()


@pytest.mark.parametrize("who", ["all", "the first"])
async def test_a_killed_one_has_what_was_committed_and_its_port_and_is_back_at_once(own: Database, who: str) -> None:
    async with own.connected() as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (n serial)")
        before = await connection.fetchval("INSERT INTO kept DEFAULT VALUES RETURNING n")
    # Somebody is in the middle of something, in a process that does not see that the first one is gone.
    busy = await asyncpg.connect(own.url(USER))
    working = asyncio.create_task(busy.execute("SELECT pg_sleep(600)"))
    await eventually(lambda: active(own), "nothing is under way")
    port = own.port
    assert own.pid is not None
    if who == "all":
        own.kill()
    else:
        os.kill(busy.get_server_pid(), signal.SIGSTOP)
        os.kill(own.pid, signal.SIGKILL)
        await own.wait()
    await own.start()
    assert own.port == port
    async with own.connected() as connection:
        assert await connection.fetchval("SELECT max(n) FROM kept") == before
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await working
    busy.terminate()


async def active(database: Database) -> bool:
    async with database.connected() as connection:
        question = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        return bool(await connection.fetchval(question))


async def test_a_start_is_no_error_in_its_log(own: Database) -> None:
    before = own.log.stat().st_size
    own.kill()
    await own.start()
    said = own.log.read_bytes()[before:].decode()
    assert "ready to accept connections" in said
    assert not any(word in said for word in ("ERROR", "FATAL", "PANIC", "WARNING")), said


async def test_a_frozen_one_can_be_stopped(own: Database) -> None:
    own.freeze()
    async with asyncio.timeout(END_SECONDS):
        await own.stop(1)
    assert own.pid is None
    assert processes_in(own.data) == []


async def test_it_ends_in_order_whoever_is_connected(own: Database) -> None:
    connection = await asyncpg.connect(own.url(USER))
    before = own.log.stat().st_size
    async with asyncio.timeout(END_SECONDS):
        await own.stop(END_SECONDS)
    assert "database system is shut down" in own.log.read_bytes()[before:].decode()
    assert not (own.data / "postmaster.pid").exists()
    connection.terminate()


async def test_one_that_dies_while_it_is_made_right_is_a_database_that_does_not_run(own: Database) -> None:
    connection = await asyncpg.connect(own.url(USER))
    await connection.execute("BEGIN; LOCK TABLE pg_authid IN SHARE MODE")
    mending = asyncio.ensure_future(own.mend_roles())

    async def waits() -> bool:
        return await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0

    await eventually(waits, "it waits for nothing")
    own.kill()
    with pytest.raises(DatabaseError, match=r"(?s)did not do what its owner asked for.*postgres\.log"):
        await mending
    connection.terminate()
    await own.start()


async def test_a_copy_of_its_folder_opens_whoever_owns_the_files(own: Database, tmp_path: Path) -> None:
    async with own.connected() as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (n serial)")
        before = await connection.fetchval("INSERT INTO kept DEFAULT VALUES RETURNING n")
    await own.stop()
    shutil.copytree(own.folder, tmp_path / "copy")
    copy = Database(tmp_path / "copy")
    await copy.start()
    try:
        async with copy.connected() as connection:
            assert await connection.fetchval("SELECT max(n) FROM kept") == before
    finally:
        await copy.stop()


async def test_the_pid_file_of_one_that_is_gone_keeps_nobody_from_starting(own: Database) -> None:
    """After a reboot its number may be anybody's: here it is a process of the same user."""
    file = own.data / "postmaster.pid"
    lines = file.read_text().splitlines()
    await own.stop()
    owner = own.data.stat()
    sleeping = subprocess.Popen(["sleep", "600"], user=owner.st_uid, group=owner.st_gid)
    try:
        file.write_text("\n".join([str(sleeping.pid), *lines[1:], ""]))
        await own.start()
    finally:
        sleeping.kill()
        sleeping.wait()


async def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path) -> None:
    taken = free_port()
    squatter = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", taken)
    database = Database(tmp_path / "database", taken)
    async with squatter:
        with pytest.raises(DatabaseError, match=f"port {taken} is taken"):
            await database.start()
    assert database.pid is None
    assert not database.data.exists()


async def test_a_try_to_make_one_that_was_broken_off_is_nobodys(tmp_path: Path) -> None:
    database = Database(tmp_path / "database")
    (database.data / "base").mkdir(parents=True)
    (database.data / "half.made").touch()
    await database.start()
    await database.stop()
    assert not (database.data / "half.made").exists()


async def test_what_it_says_when_it_does_not_start_is_told(own: Database) -> None:
    await own.stop()
    control = own.data / "global" / "pg_control"
    before = control.read_bytes()
    control.write_bytes(before[:100])
    try:
        with pytest.raises(DatabaseError, match=r"(?s)ended while it started.*postgres\.log.*pg_control"):
            await own.start()
    finally:
        control.write_bytes(before)


async def test_a_password_file_that_was_lost_is_named(own: Database) -> None:
    file = own.folder / "password"
    await own.stop()
    kept = file.read_text()
    file.write_text("another")
    try:
        with pytest.raises(
            DatabaseError, match=r"does not let its owner in .*password authentication.* is in .*password"
        ):
            await own.start()
        assert own.pid is None
    finally:
        file.write_text(kept)


async def test_a_database_of_another_version_is_refused_and_left_as_it_is(own: Database) -> None:
    await own.stop()
    (own.data / "PG_VERSION").write_text("13\n")
    try:
        with pytest.raises(NoPostgres, match=r"is of PostgreSQL 13, and here is \d+.*Install"):
            await own.start()
        assert (own.data / "base").exists()
    finally:
        (own.data / "PG_VERSION").write_text(f"{find_postgres().version}\n")


def test_the_newest_is_taken_that_is_installed_somewhere_and_none_that_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, says in (
        ("13/bin", "postgres (PostgreSQL) 13.21 (Debian 13.21-1)"),
        ("9.6/bin", "postgres (PostgreSQL) 9.6.24"),
        ("17/bin", "postgres (PostgreSQL) 17.2 (Homebrew)"),
        ("16/bin", "postgres (PostgreSQL) 16.9"),
        ("18/bin", "postgres (PostgreSQL) 18beta1"),
        ("broken/bin", ""),
    ):
        programs = tmp_path / folder
        programs.mkdir(parents=True)
        for name in ("postgres", "initdb"):
            (programs / name).write_text(f"#!/bin/sh\necho '{says}'\n")
            (programs / name).chmod(0o755)
    monkeypatch.setattr(postgres_programs, "HOMES", (f"{tmp_path}/*/bin",))
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_postgres().version == 18
    (tmp_path / "18/bin/initdb").unlink()
    assert find_postgres().server == tmp_path / "17/bin/postgres"
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("16\n")
    assert find_postgres(data).server == tmp_path / "16/bin/postgres"
    for newer in ("16", "17", "18"):
        shutil.rmtree(tmp_path / newer)
    with pytest.raises(NoPostgres, match=r"14 or newer.*apt-get install postgresql.*brew install"):
        find_postgres()


async def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    folder = tmp_path / "database"
    script = (
        f"import asyncio, pathlib, ops.postgres as p; asyncio.run(p.Database(pathlib.Path({str(folder)!r})).start())"
    )
    read, write = os.pipe()
    with os.fdopen(read, "rb") as heard, os.fdopen(write, "wb") as output:
        ends = f"{script}; print('it runs', flush=True); import time; time.sleep(600)"
        starter = Process([sys.executable, "-c", ends], os.environ, output)
        output.close()
        assert b"it runs" in await asyncio.wait_for(asyncio.to_thread(heard.readline), PATIENCE_SECONDS)
    assert processes_in(folder / "data")
    starter.kill()
    wait_until(lambda: not processes_in(folder / "data"), "it outlives its starter")
