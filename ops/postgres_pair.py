"""Two private PostgreSQL: one is written to, the other has each commit before it counts, and takes over when that dies.

Who was replaced is made anew, as a copy of the other. While there is no standby, nothing is committed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from ops.postgres import CALL_SECONDS, FIRST_DATABASE, START_SECONDS, USER, Database, DatabaseError
from ops.process import POLL_SECONDS, free_port, make_private, write_durably

if TYPE_CHECKING:
    from ops.postgres_programs import Programs

SECOND: Final = "second"
# In the pair's folder: which of the two is written to, by the name of its folder in there, and as of which term: there
# is another term with each change. What the other one has of an earlier one may be older.
LEADS: Final = "leads"
# In the folder of who follows: the term in which its copy was made to its end.
TERM: Final = "term"
# PostgreSQL's own: who has this file follows.
FOLLOWS: Final = "standby.signal"
# So much of the log waits for a standby that is away; and it looks for the one that it follows that often.
SETTINGS: Final = {"wal_keep_size": "256MB", "wal_retrieve_retry_interval": "200ms", "wal_sender_timeout": "10s"}
REPLICATES: Final = f"host replication {USER} 127.0.0.1/32 scram-sha-256\n"
# By this name the standby is known to the other: whoever makes a copy is none.
NAME: Final = "zoco_standby"
ANY_ONE: Final = f"ANY 1 ({NAME})"
PROMOTE_SECONDS: Final = 60


class Member(Database):
    """One of the two. It starts as what it is by then."""

    def __init__(self, folder: Path, port: int, connections: int, secrets: Path, *, strict: bool) -> None:
        super().__init__(folder, port, connections)
        self.secrets = secrets
        self._strict = strict
        # Whom it follows, if it does, and in which term.
        self.source: Member | None = None
        self.term = ""

    @property
    @override
    def made(self) -> bool:
        return super().made and (self.source is None or _read(self.folder / TERM) == self.term)

    @override
    def _settings(self) -> dict[str, str]:
        settings = super()._settings() | SETTINGS | {"synchronous_standby_names": ANY_ONE if self._strict else ""}
        if self.source is not None:
            known = f"password={self._password(USER)} application_name={NAME}"
            settings["primary_conninfo"] = f"{self.source.conninfo} {known}"
        return settings

    @property
    def conninfo(self) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER}"

    @override
    def _rules(self) -> str:
        return super()._rules() + REPLICATES

    @override
    def _configure(self) -> None:
        (self.data / FOLLOWS).unlink(missing_ok=True)
        if self.source is not None:
            (self.data / FOLLOWS).touch()
        super()._configure()

    @override
    async def _make(self, programs: Programs) -> None:
        (self.folder / TERM).unlink(missing_ok=True)
        await super()._make(programs)
        if self.source is not None:
            (self.folder / TERM).write_text(self.term, encoding="utf-8")

    @override
    def _maker(self, programs: Programs) -> list[str]:
        if self.source is None:
            return super()._maker(programs)
        copying = ("--checkpoint=fast", "--wal-method=stream", "--no-password", "-d", self.source.conninfo)
        return [str(programs.folder / "pg_basebackup"), "-D", str(self.data), *copying]

    @override
    async def mend_roles(self) -> None:
        if self.source is None:
            await super().mend_roles()

    async def promote(self) -> None:
        """It is written to when this returns, also if it was already. Raises DatabaseError: then do it again."""
        follows = "SELECT pg_is_in_recovery()"
        async with self._mending(FIRST_DATABASE) as connection:
            if await connection.fetchval(follows, timeout=CALL_SECONDS):
                seconds = PROMOTE_SECONDS + CALL_SECONDS
                await connection.fetchval("SELECT pg_promote(true, $1)", PROMOTE_SECONDS, timeout=seconds)
            if await connection.fetchval(follows, timeout=CALL_SECONDS):
                says = "PostgreSQL in {folder} did not take over in {seconds} s"
                raise DatabaseError(says, self.folder, PROMOTE_SECONDS)


class Pair:
    """Both, as one engine: who starts it again when the one that was written to has ended, starts the other as that."""

    def __init__(self, folder: Path, port: int = 0, connections: int = 100, *, strict: bool = True) -> None:
        """Not `strict`: a commit waits for nobody, and a failover loses what the standby had not heard of."""
        self.folder = folder.absolute()
        self.primary, self.other = (
            Member(one, free_port(port + number if port else 0), connections, self.folder, strict=strict)
            for number, one in enumerate((self.folder, self.folder / SECOND))
        )
        self.standby = Standby(self)
        self._strict = strict
        self._led = False
        # Who takes over is not just starting to follow.
        self.turn = asyncio.Lock()

    def url(self, role: str = USER) -> str:
        """For a service: of both. For whoever owns it all: of the one that is written to."""
        url = self.primary.url(role)
        places = ",".join(f"127.0.0.1:{port}" for port in sorted((self.primary.port, self.other.port)))
        return url if role == USER else url.replace(f"127.0.0.1:{self.primary.port}", places)

    @property
    def pid(self) -> int | None:
        return self.primary.pid

    @property
    def leads(self) -> bool:
        """Whether one of the two is written to."""
        return self.primary.pid is not None and self.primary.source is None

    async def start(self, timeout_seconds: float = START_SECONDS) -> None:
        """Whoever is written to from now on runs, and may be. Raises DatabaseError, OSError: then do it again."""
        async with self.turn:
            leader, number = self._noted()
            if not self._led:
                make_private(self.folder)
                # Not strict: the other one gets nothing of what comes, and is made anew before it counts.
                self._note(f"{leader} {number if self._strict else number + 1}")
            elif self.primary.source is None and self.other.source is not None and self.other.made:
                # Nobody commits there any more.
                await self.primary.stop(0)
                leader = self.other.folder.name
                self._note(f"{leader} {number + 1}")
            if leader != self.primary.folder.name:
                # Whatever happens from here on, the other one is it.
                self.primary, self.other = self.other, self.primary
            await self._lead(timeout_seconds)
            self._led = True

    async def _lead(self, timeout_seconds: float) -> None:
        if self.primary.pid is not None and self.primary.source is not None:
            await self.primary.promote()
            self.primary.source = None
        else:
            self.primary.source = None
            await self.primary.start(timeout_seconds)

    async def wait(self) -> int:
        return await self.primary.wait()

    async def stop(self, timeout_seconds: float = 10) -> None:
        await self.primary.stop(timeout_seconds)
        await self.other.stop(timeout_seconds)

    def _noted(self) -> tuple[str, int]:
        """Who is written to, and as of which term. Raises DatabaseError."""
        file = self.folder / LEADS
        if not file.exists():
            return self.folder.name, 1
        leader, _, number = _read(file).rpartition(" ")
        if not leader or not number.isdecimal():
            says = "{file} does not say which of the two PostgreSQL is newer: none is started. Restore a backup"
            raise DatabaseError(says, file)
        return leader, int(number)

    def _note(self, term: str) -> None:
        """On the disk before anything is written by it: after a power cut, too, nobody takes the older one for it."""
        write_durably(self.folder / LEADS, term, self.folder / f".{LEADS}")
        self.term = term


class Standby:
    """Whichever of the two follows, as an engine of its own."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    @property
    def pid(self) -> int | None:
        return self._pair.other.pid

    async def start(self) -> None:
        """Once there is somebody to follow. Raises DatabaseError."""
        while self.pid is None:
            async with self._pair.turn:
                if self._pair.leads:
                    self._pair.other.source, self._pair.other.term = self._pair.primary, self._pair.term
                    await self._pair.other.start()
            await asyncio.sleep(POLL_SECONDS)

    async def wait(self) -> int:
        """Until neither of the two follows."""
        last = self._pair.other
        while self.pid is not None:
            last = self._pair.other
            await asyncio.sleep(POLL_SECONDS)
        return last.code or 0


@dataclass(frozen=True, slots=True)
class Postgres:
    """What a shop has: one alone, or with a standby."""

    standby: bool = False
    strict: bool = True


def database_of(wanted: Postgres, folder: Path, port: int, connections: int) -> Database | Pair:
    """Raises DatabaseError."""
    if wanted.standby:
        return Pair(folder, port, connections, strict=wanted.strict)
    if (folder / LEADS).exists():
        raise DatabaseError("PostgreSQL in {folder} has a standby, and one of the two is newer: add --standby", folder)
    return Database(folder, port, connections)


def leading(folder: Path) -> Database | Pair:
    """Where the books of a shop that is stopped are: of two, in the newer one, and a commit waits for nobody."""
    return Pair(folder, strict=False) if (folder / LEADS).exists() else Database(folder)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
