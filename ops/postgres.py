"""A private PostgreSQL on this machine, for `zoco up --postgres` and the tests: no root, no Docker, nothing in /etc.

It listens on 127.0.0.1 only, all it writes lies in one folder, and it ends with the process that started it. Whatever
version is installed does, from OLDEST on. Tried on Debian with 15; the Homebrew paths are untested.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
from typing_extensions import override

from broker.services import SERVICES
from ops.errors import UserError
from ops.postgres_programs import Programs, find_postgres
from ops.postgres_user import as_somebody_else, give
from ops.process import POLL_SECONDS, Process, free_port, make_private
from ops.secret import secret
from ops.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg import Connection

POSTGRES: Final = "postgres"
# Who owns all of it, its database, and where whoever makes that connects first.
USER: Final = "zoco"
DATABASE: Final = "zoco"
FIRST_DATABASE: Final = "postgres"
ROLES: Final = Path(__file__).parents[1] / "services" / "shared" / "postgres" / "roles.sql"
LOG: Final = "postgres.log"
CONSOLE_LINES: Final = 15
# The line of postmaster.pid that says how far it is, from 0.
STATUS_LINE: Final = 7
# Past this the log is put aside when it is started again.
LOG_BYTES: Final = 8 * 1024 * 1024
# It takes half a second, and as long as it takes when there is much to recover. One that died is not waited for.
START_SECONDS: Final = 180.0
CALL_SECONDS: Final = 5.0
# For so many clients it has room, whoever they are.
CONNECTIONS: Final = 100
# What is on by default stands here all the same: these are what is promised. Nothing of it lies outside of the folder
# (no socket, no shared memory with a name), and nothing that waits for its turn is ended.
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "password_encryption": "scram-sha-256",
    "idle_in_transaction_session_timeout": "0",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
    "log_lock_waits": "on",
    "log_line_prefix": "%m [%p] %q%u ",
}
ONLY_WITH_A_PASSWORD: Final = "host all all 127.0.0.1/32 scram-sha-256\n"


class DatabaseError(UserError):
    """The database does not run. Its text says why and what to do."""


class Database(Server):
    """One PostgreSQL. Its port keeps its number when it is started again; 0 is any free one."""

    title = "PostgreSQL"
    error = DatabaseError

    def __init__(self, folder: Path, port: int = 0, connections: int = CONNECTIONS) -> None:
        super().__init__(folder)
        self.port = port or free_port()
        self._connections = connections
        # The folder of the roles' passwords.
        self.secrets = self.folder

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / LOG

    def url(self, role: str = USER, database: str = DATABASE) -> str:
        """For a service, or whoever owns it all: with its password, which is random, made on first use, and the same
        as long as the folder exists."""
        return f"postgresql://{role}:{self._password(role)}@127.0.0.1:{self.port}/{database}"

    @property
    def made(self) -> bool:
        """Whether there is one on the disk that can be started."""
        return (self.data / "PG_VERSION").exists()

    async def start(self, timeout_seconds: float = START_SECONDS) -> None:
        """Start it and wait until the services can use it. Raises DatabaseError when it dies or takes too long."""
        self._check_stopped()
        programs = find_postgres(self.data)
        await self._end_stale()
        self._check_free(self.port)
        make_private(self.folder)
        if not self.made:
            await self._make(programs)
        self._configure()
        with self._new_log().open("ab") as log:
            command = as_somebody_else([str(programs.server), "-D", str(self.data)])
            self._process = Process(command, _environment(), log, cwd=self.folder)
        await self._until_ready(self._says_ready, timeout_seconds)
        try:
            await self.mend_roles()
        except BaseException:
            await self.stop(0)
            raise

    def kill(self) -> None:
        """SIGKILL to all of it: nothing is flushed, nobody is told."""
        for process in self._processes():
            with suppress(psutil.Error):
                process.kill()
        self._running().kill()

    def freeze(self) -> None:
        """Stop its clock (SIGSTOP): connections stay open and nothing answers."""
        freeze(self.data)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        thaw(self.data)

    @override
    async def stop(self, timeout_seconds: float = 10) -> None:
        if self._process:
            # Whoever is connected is told, and not waited for.
            await self._process.stop(timeout_seconds, signal.SIGINT)
            await self._end_stale()
        self._process = None

    async def mend_roles(self) -> None:
        """Make what the services need, or make it right: the database is ours. Raises DatabaseError."""
        # A standby may not be there yet.
        async with self._mending(FIRST_DATABASE) as connection:
            await connection.execute("SET synchronous_commit = local")
            if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        async with self._mending() as connection:
            await connection.execute("SET synchronous_commit = local")
            await connection.execute(ROLES.read_text(encoding="utf-8"))
            for service in SERVICES:
                # What a made-up password is made of needs no quotes.
                await connection.execute(f"ALTER ROLE {service} PASSWORD '{self._password(service)}'")

    @asynccontextmanager
    async def connected(self, database: str = DATABASE) -> AsyncIterator[Connection[Any]]:
        """As who owns it all. Raises DatabaseError, asyncpg's errors."""
        try:
            connection = await opened(self.url(USER, database))
        except ConnectionError as error:
            says = "PostgreSQL does not let its owner in ({error}); the password is in {file}. {log}"
            raise DatabaseError(says, error, self.secrets / "password", self._said()) from error
        try:
            yield connection
        finally:
            await connection.close(timeout=CALL_SECONDS)

    @asynccontextmanager
    async def _mending(self, database: str = DATABASE) -> AsyncIterator[Connection[Any]]:
        """`connected`, to one that may die meanwhile. Raises DatabaseError, whatever the reason."""
        import asyncpg  # noqa: PLC0415

        try:
            async with self.connected(database) as connection:
                yield connection
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            says = "PostgreSQL did not do what its owner asked for ({error}). {log}"
            raise DatabaseError(says, str(error) or type(error).__name__, self._said()) from error

    def _password(self, role: str) -> str:
        return secret(self.secrets / (f"password-{role}" if role != USER else "password"))

    async def _make(self, programs: Programs) -> None:
        """A new one. What a try that was broken off has left is nobody's."""
        await asyncio.to_thread(shutil.rmtree, self.data, ignore_errors=True)
        self._password(USER)
        self.data.mkdir(mode=0o700)
        give(self.data)
        command = as_somebody_else(self._maker(programs))
        with self._new_log().open("ab") as log:
            making = Process(command, _environment() | {"PGPASSWORD": self._password(USER)}, log, cwd=self.folder)
        try:
            code = await making.wait()
        finally:
            making.kill()
        if code:
            says = "PostgreSQL made no database (initdb ended with code {code}). {log}"
            raise DatabaseError(says, code, self._said())

    def _maker(self, programs: Programs) -> list[str]:
        options = ("--data-checksums", "--encoding=UTF8", "--locale=C", f"--username={USER}", "--auth=scram-sha-256")
        return [str(programs.initdb), "-D", str(self.data), *options, "--pwfile", str(self.secrets / "password")]

    def _settings(self) -> dict[str, str]:
        return SETTINGS | {"port": str(self.port), "max_connections": str(self._connections)}

    def _rules(self) -> str:
        return ONLY_WITH_A_PASSWORD

    def _configure(self) -> None:
        written = "".join(f"{name} = '{value}'\n" for name, value in self._settings().items())
        for name, text in (("postgresql.conf", written), ("pg_hba.conf", self._rules())):
            (self.data / name).write_text(text, encoding="utf-8")
        # What somebody changed by ALTER SYSTEM would stand above ours.
        (self.data / "postgresql.auto.conf").unlink(missing_ok=True)
        # One of a process that is gone, whose number may be anyone's by now. It was looked for.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        give(self.data)

    def _says_ready(self) -> bool:
        """By what pg_ctl goes by, too: whoever tries to connect meanwhile writes errors into the log."""
        with suppress(OSError):
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            return len(lines) > STATUS_LINE and lines[STATUS_LINE].strip() == "ready"
        return False

    def _processes(self) -> list[psutil.Process]:
        return processes_in(self.data)

    async def _end_stale(self) -> None:
        """Those of one that was killed end by themselves, when they notice; the next one would not start beside
        them. On macOS, where nothing ends it with its starter, the whole of it."""
        mine = self.pid
        while left := [process for process in self._processes() if process.pid != mine]:
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            await asyncio.sleep(POLL_SECONDS)

    def _new_log(self) -> Path:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        return self.log

    @override
    def _said(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-CONSOLE_LINES:]
        return "\n".join([f"More in {self.log}; it said:", *lines])


async def opened(url: str) -> Connection[Any]:
    """A connection, to be closed. Raises ConnectionError, whatever the reason."""
    # Who starts no database need not wait for it.
    import asyncpg  # noqa: PLC0415

    try:
        return await asyncpg.connect(url, timeout=CALL_SECONDS, ssl=False)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


def processes_in(data: Path) -> list[psutil.Process]:
    """Those of the PostgreSQL with this folder, which all of them stand in."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name().startswith(POSTGRES) and Path(process.cwd()) == data.resolve():
                found.append(process)
    return found


def freeze(data: Path) -> None:
    for process in processes_in(data):
        with suppress(psutil.Error):
            process.suspend()


def thaw(data: Path) -> None:
    for process in processes_in(data):
        with suppress(psutil.Error):
            process.resume()


def _environment() -> dict[str, str]:
    """All that it sees: a PG* variable of whoever started us must not reach it."""
    return {"PATH": os.pathsep.join([os.environ.get("PATH", ""), "/usr/bin", "/bin"]), "LANG": "C", "LC_ALL": "C"}
