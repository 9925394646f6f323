"""The store for any number of processes: PostgreSQL. Its life; what it decides is in committing.py."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import asyncpg
import msgspec
import structlog

from broker.messages import Message
from services.shared.decision import Domain
from services.shared.metrics import Metrics
from services.shared.postgres.committing import Commits
from services.shared.postgres.health import Health
from services.shared.postgres.link import PASSING, Connection, Link, leave_replaced, said
from services.shared.postgres.reads import PAUSE_SECONDS
from services.shared.postgres.tables import expect_session, make_tables
from services.shared.postgres.voices import Voices, new_instance
from services.shared.room import Room, Space
from services.shared.settings import Settings, WrongSetting
from services.shared.store import Away, StoreBroken

log = structlog.get_logger()
Row = TypeVar("Row", bound=msgspec.Struct)
# How often is looked for what others have recorded: by the front door, and by who only says how far the book goes.
FOLLOW_SECONDS: Final = 0.05
LOOK_SECONDS: Final = 1.0
# A start that takes longer, as before a standby is there, goes on while the process serves.
OPEN_SECONDS: Final = 10.0


class PostgresStore(Commits[Row]):
    """The rows of one service in one schema, behind the whole port `Store`."""

    lags = True

    def __init__(self, url: str, domain: Domain[Row], metrics: Metrics | None = None, *, standbys: int = 0) -> None:
        super().__init__(url, domain)
        self._standbys = standbys
        self._commit_seconds = metrics.sync if metrics else None
        self._opened = asyncio.Event()
        # What room the database has, nobody here can see.
        self.room = Room(lambda: Space(0, 0), lambda: 0)
        self.voices = self._voices = Voices(self, Link(url, domain.name, "locks", self._prepared))
        self.told, self.alone, self.others = self._voices.told, self._voices.alone, self._voices.others
        self.told_upto = self._voices.told_upto
        self._health = Health(url, metrics.registry) if metrics and domain.followed else None
        # Made by who asks again: it may wait long, and so keeps nobody's turn.
        self._asks = Link(url, domain.name, "asks", self._prepared)
        self._links = [self._voices.link, self._writing, self._reading, self._asks]
        if self._health:
            self._links.append(self._health.link)

    @property
    def health(self) -> Mapping[str, float] | None:
        return self._health.told if self._health else None

    @property
    def opened(self) -> bool:
        return self._opened.is_set()

    async def moment(self) -> str | None:
        moment: str = await self._ask(lambda connection: connection.fetchval("SELECT momento()"))
        return moment

    async def durable(self) -> None:
        """One COMMIT of a record that says nothing, however much was read. A cancelled one's row can be seen, too."""
        while True:
            try:
                await self._behind_standby(connection := await self._asks.get())
                self._asks.expect_standby()
                # What was read elsewhere this says nothing of: a new connection for reading looks whether it is there.
                await self._ask(lambda reading: reading.fetchval("SELECT 1"))
                leave_replaced([self._asks, self._reading])
                if not connection.is_closed() and self._asks.server == self._reading.server:
                    return
            except (*PASSING, Away) as error:
                self._asks.drop()
                log.info("what does not get on is not asked for yet", reason=said(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def _prepared(self, connection: Connection) -> None:
        if self._standbys and not await connection.fetchval("SHOW synchronous_standby_names"):
            raise ConnectionError(
                f"ZOCO_STORE_STANDBYS promises {self._standbys} standbys, and synchronous_standby_names is empty"
            )
        # After a restart or a failover, what was committed and is with no standby can be seen. Nothing is read before
        # it is: this COMMIT waits for all before it. What was read before that may be gone.
        await self._behind_standby(connection)
        self._kept.clear()
        self._list = None

    async def _may_write(self, connection: Connection) -> None:
        await self._prepared(connection)
        await make_tables(connection, self.domain.name)
        self.instance = new_instance()
        await self._voices.live(connection, self.instance)

    # Its life.

    async def open(self) -> None:
        try:
            await self._open()
        except PASSING as error:
            self._wait_for(error)
        except (StoreBroken, asyncpg.PostgresError) as error:
            raise WrongSetting(f"what ZOCO_STORE names cannot be used: {said(error)}") from None

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(OPEN_SECONDS) as limit:
                connection, other = await self._writing.get(), await self._reading.get()
        except TimeoutError as error:
            late = "PostgreSQL lets nobody in yet: it is busy, or waits for a standby"
            raise TimeoutError(late if limit.expired() else said(error)) from None
        await expect_session(connection, other)
        sent = datetime.now(UTC)
        self._set_clock(sent, await connection.fetchval("SELECT clock_timestamp()"))
        await self._read_book(connection)
        await self._load(connection)
        self._undecided, self.leads = None, True
        self._opened.set()
        log.info("the books are open", records=self.seq, instance=self.instance)

    async def until_leading(self, url: str) -> None:
        while not self.opened:
            await asyncio.sleep(PAUSE_SECONDS)
            await self.open()

    async def tend(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_following())
            tasks.create_task(self._until_replaced())
            tasks.create_task(self._voices.run())
            if self._health:
                tasks.create_task(self._health.run())

    async def _keep_following(self) -> None:
        pause = FOLLOW_SECONDS if self.domain.followed else LOOK_SECONDS
        while True:
            await asyncio.sleep(pause)
            with contextlib.suppress(Away):
                await self.follow()

    async def _until_replaced(self) -> None:
        """Who has nothing to decide would never learn that the book is another one, and show the old one's end."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(Away):
                book = await self._ask(lambda one: one.fetchrow("SELECT identidad, generacion FROM libro"))
                if not self.leads or tuple(book) != (self.heights.book, self.heights.generation):
                    raise self._rewritten()
                leave_replaced(self._links)

    def speaks(self, publish: Callable[[Sequence[Message]], Awaitable[None]]) -> None:
        self._voices.publish = publish

    def leader_url(self) -> str | None:
        return None

    async def close(self) -> None:
        self.leads = False
        if self._question is not None and not self._question.done():
            # Whoever asked it went away.
            self._question.cancel()
            await asyncio.wait((self._question,))
        for link in self._links:
            await link.close()


def open_postgres_store(
    domain: Domain[Any],
    settings: Settings,
    metrics: Metrics,
    now: Callable[[], str],
    *,
    kind: type[PostgresStore[Any]] = PostgresStore,
) -> PostgresStore[Any]:
    """The store of a running service in the database of ZOCO_STORE."""
    assert settings.store is not None
    return kind(settings.store.get_secret_value(), domain, metrics, standbys=settings.store_standbys)
