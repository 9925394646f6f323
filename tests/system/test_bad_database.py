"""A wrong database, as a service's process meets it: it ends with 78, or waits and says for what. No secret is told."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from patience import END_SECONDS, PATIENCE_SECONDS, wait_until
from postgres_server import new_database, url_in

from ops.child import GUARDED, SERVER_OPTIONS
from ops.postgres import Database
from ops.postgres_user import as_somebody_else, give
from ops.process import free_port, is_free
from services.shared.postgres.link import SESSION
from services.shared.postgres.store import PostgresStore
from services.tokens.domain import DOMAIN as TOKENS

EX_CONFIG = 78
PGBOUNCER = "/usr/sbin/pgbouncer"
ROLE = "tokens"


@dataclass(frozen=True)
class Wrong:
    """What is wrong; what it has to say; whether it waits for it to be mended."""

    says: str
    url: Callable[[str], str] = lambda url: url
    sql: str = ""
    waits: bool = False
    env: tuple[tuple[str, str], ...] = ()
    # Settings of a pooler in between.
    pooler: str | None = None


def password_of(url: str) -> str:
    return url.split(":")[2].split("@", maxsplit=1)[0]


WRONG = {
    "another scheme": Wrong("it does not begin with postgresql://", lambda url: url.replace("postgresql", "mysql")),
    "no number for a port": Wrong("ZOCO_STORE", lambda url: url.rpartition(":")[0] + ":many/zoco"),
    "a wrong password": Wrong("password authentication failed", lambda url: url.replace("@", "x@")),
    "a missing role": Wrong("password authentication failed", lambda url: url.replace(f"{ROLE}:", "nobody:")),
    "a missing database": Wrong("does not exist", lambda url: url + "_gone"),
    "no schema": Wrong("needs its own", sql=f"DROP SCHEMA {ROLE} CASCADE"),
    "another schema": Wrong("has the schema other", sql=f"CREATE SCHEMA other AUTHORIZATION {ROLE}; "
                            f"ALTER ROLE {ROLE} IN DATABASE {{database}} SET search_path = other"),
    "no right to make tables": Wrong("roles.sql", sql=f"ALTER SCHEMA {ROLE} OWNER TO zoco; "
                                     f"GRANT USAGE ON SCHEMA {ROLE} TO {ROLE}"),
    "an older schema": Wrong("are of version 0", sql=f"UPDATE {ROLE}.libro SET esquema = 0"),
    "a newer schema": Wrong("are of version 99", sql=f"UPDATE {ROLE}.libro SET esquema = 99"),
    "a setting that there is none of": Wrong("unrecognized configuration parameter", lambda url: f"{url}?foo=bar"),
    "a schema with something else in it": Wrong("already exists", sql=f"CREATE TYPE {ROLE}.leido AS (i int)"),
    "a pooler in transaction mode": Wrong("a pooler", pooler=""),
    "a pooler that leaves out what it is asked for": Wrong("a pooler", pooler="ignore_startup_parameters = {asked}"),
    "a primary that can only be read": Wrong(
        "can only be read", sql="ALTER DATABASE {database} SET default_transaction_read_only = on", waits=True
    ),
    "no standby where one was promised": Wrong(
        "ZOCO_STORE_STANDBYS promises 1", env=(("ZOCO_STORE_STANDBYS", "1"),), waits=True
    ),
    "nobody who answers": Wrong(
        "Errno 111", lambda url: url.rpartition("@")[0] + "@127.0.0.1:1/zoco", waits=True
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Met:
    """A process that met it."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    password: str

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def waits_for(self) -> str:
        try:
            with urlopen(f"{self.url}/readyz", timeout=60) as answer:
                found = json.load(answer)
        except HTTPError as error:
            with error:
                found = json.load(error)
        except OSError:
            return ""
        return str(found["waitsFor"] or "")


async def made_wrong(server: Database, wrong: Wrong) -> str:
    """The address of a database in which this is wrong."""
    name = await new_database(server)
    url = url_in(server, ROLE, name)
    if "libro" in wrong.sql:
        store: PostgresStore[Any] = PostgresStore(url, TOKENS)
        await store.open()
        await store.close()
    if wrong.sql:
        async with server.connected(name) as owner:
            await owner.execute(wrong.sql.format(database=name))
    return wrong.url(url)


@contextmanager
def pooled(folder: Path, url: str, more: str) -> Iterator[str]:
    """By way of a pgbouncer in transaction mode."""
    port, (server, _, name) = free_port(), url.rpartition("@")[2].partition("/")
    (folder / "users").write_text(f'"{ROLE}" "{password_of(url)}"\n', encoding="utf-8")
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{name} = host=127.0.0.1 port={server.rpartition(':')[2]}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\npool_mode = transaction\n"
        f"auth_type = plain\nauth_file = {folder}/users\n{more.format(asked=', '.join(SESSION))}\n",
        encoding="utf-8",
    )
    give(folder)
    with (folder / "pgbouncer.log").open("wb") as log:
        command = as_somebody_else([PGBOUNCER, str(folder / "pgbouncer.ini")])
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: not is_free(port), (folder / "pgbouncer.log").read_text)
        yield url.replace(server, f"127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(END_SECONDS)


@contextmanager
def run(folder: Path, url: str, env: dict[str, str]) -> Iterator[Met]:
    port, log = free_port(), folder / "log"
    command = [sys.executable, "-m", "uvicorn", f"services.{ROLE}.main:app", "--port", str(port)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("ZOCO_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *SERVER_OPTIONS, *GUARDED],
            env={**own, "ZOCO_STORE": url, "ZOCO_DATA": str(folder / "data"), **env},
            stdout=output,
            stderr=output,
        )
    try:
        yield Met(process, f"http://127.0.0.1:{port}", log, password_of(url))
    finally:
        process.kill()
        process.wait(END_SECONDS)


@pytest.fixture(scope="module")
def met(postgres: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Met]]:
    """Each has a process of its own, all at once: a start is most of what this takes."""
    with ExitStack() as stack:
        found = {}
        for name, wrong in WRONG.items():
            folder = tmp_path_factory.mktemp("bad")
            url = asyncio.run(made_wrong(postgres, wrong))
            if wrong.pooler is not None:
                url = stack.enter_context(pooled(folder, url, wrong.pooler))
            found[name] = stack.enter_context(run(folder, url, dict(wrong.env)))
        yield found


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_the_database_is_named_and_no_secret_told(met: dict[str, Met], name: str) -> None:
    wrong, one = WRONG[name], met[name]
    if wrong.waits:
        wait_until(lambda: one.waits_for, lambda: one.said)
        assert wrong.says in one.waits_for and one.process.poll() is None
        assert one.password not in one.waits_for
    else:
        assert one.process.wait(PATIENCE_SECONDS) == EX_CONFIG, one.said
        assert wrong.says in one.said
    assert one.password not in one.said and one.password not in " ".join(one.process.args[1:])  # type: ignore[index]
