"""S9 of a batch, by the connection for writing: the others are in deciding.py. What is committed, and what is not known
to be; and another book in the place of this one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final, TypeVar

import msgspec
import structlog

from broker.messages import Message
from services.shared.counts import PlainHistogram
from services.shared.decision import Domain
from services.shared.heights import BookHeights, Doubted
from services.shared.postgres.deciding import Again, Decides
from services.shared.postgres.link import PASSING, Connection, Link, broken, full, passes, said
from services.shared.postgres.new_book import NewBook, clear
from services.shared.postgres.reads import PAUSE_SECONDS
from services.shared.store import Answer, Fenced, StoreBroken

log = structlog.get_logger()
Row = TypeVar("Row", bound=msgspec.Struct)
# `escribir` says so where the book is not the one that this process has read.
REWRITTEN: Final = "ZC001"
# A COMMIT that takes longer is told of.
LATE_SECONDS: Final = 1.0


class Commits(Decides[Row]):
    """Batches, one after another, until each is committed."""

    leads = False
    full = False
    _commit_seconds: PlainHistogram | None = None

    def __init__(self, url: str, domain: Domain[Row]) -> None:
        super().__init__(url, domain)
        # Why a batch waits, or the books are not open yet.
        self._undecided: str | None = None
        self._writing = Link(url, domain.name, "writes", self._may_write)
        self._turn = asyncio.Lock()

    async def _may_write(self, connection: Connection) -> None:
        """What a new connection for writing has to be, and says of this process."""

    @property
    def trouble(self) -> str | None:
        return self._undecided or self._unread

    async def process_batch(self, batch: Sequence[Message]) -> list[Answer]:
        """See BatchStore."""
        if not self.leads:
            raise Fenced("this process has no book to decide in")
        async with self._turn:
            while True:
                try:
                    answers = await self._decided(batch)
                    self._undecided, self.full = None, False
                    return answers
                except Again:
                    continue
                except PASSING as error:
                    # Whether it was committed is not known: it is decided again, and what was is repeated.
                    self._wait_for(error)
                    await asyncio.sleep(PAUSE_SECONDS)

    def _wait_for(self, error: BaseException) -> None:
        self.full = full(error)
        if self._undecided is None:
            log.warning("PostgreSQL is away, or cannot write: this process waits", reason=said(error))
        self._undecided = said(error)

    async def _decided(self, batch: Sequence[Message]) -> list[Answer]:
        """Raises Again, one of PASSING, and what process_batch does."""
        connection = await self._writing.get()
        try:
            await connection.execute("BEGIN")
            outcome = await self._decide(connection, batch)
            await self._commit(connection)
        except (Again, Doubted):
            await connection.execute("ROLLBACK")
            raise
        except BaseException as error:
            self._drop()
            if getattr(error, "sqlstate", "") == REWRITTEN:
                raise self._rewritten() from None
            if passes(error):
                raise
            raise broken(error) from error
        self._committed(outcome)
        return outcome.answers

    def _drop(self) -> None:
        """What was committed is not known: who has this number is dead, and what is there of it others say."""
        self._writing.drop()
        self.instance = 0

    async def _commit(self, connection: Connection) -> None:
        """S9. Whoever waits for it may be cancelled, and it goes on: what is committed is not taken back.

        Raises StoreBroken when it is said to be in this database only.
        """
        self._commits = True
        waits = TimeoutError("a COMMIT has no answer yet: it waits for a standby, or for the disk")
        late = asyncio.get_running_loop().call_later(LATE_SECONDS, self._wait_for, waits)
        try:
            committing = asyncio.ensure_future(connection.execute("COMMIT"))
            with self._commit_seconds.time() if self._commit_seconds else contextlib.nullcontext():
                await asyncio.shield(committing)
        finally:
            late.cancel()
            self._commits = False
        if self._writing.alone:
            raise StoreBroken("PostgreSQL gave up waiting for its standby: what was committed may be lost with it")

    async def begin_again(self, heights: BookHeights, batches: AsyncIterator[Sequence[Message]]) -> None:
        async with self._replaced(heights) as (connection, book):
            async for batch in batches:
                await book.decide(connection, batch)

    async def put_back(
        self, heights: BookHeights, records: AsyncIterator[Sequence[bytes]], told: int | None = None
    ) -> None:
        async with self._replaced(heights) as (connection, book):
            if told is not None:
                await book.said_by_the_dead(connection, told)
            async for some in records:
                await book.put(connection, some)

    @contextlib.asynccontextmanager
    async def _replaced(self, heights: BookHeights) -> AsyncIterator[tuple[Connection, NewBook[Row]]]:
        """A transaction in which this book is empty, and who writes in it. All other processes wait, and then end."""
        async with self._turn:
            try:
                connection = await self._writing.get()
                await connection.execute("BEGIN")
                await clear(connection, heights)
                yield connection, NewBook(self.domain, heights)
                # Whatever comes of it, the old book is no longer decided in.
                self.leads = False
                await self._commit(connection)
            except BaseException as error:
                self._drop()
                if isinstance(error, PASSING):
                    raise OSError(f"PostgreSQL: {said(error)}") from error
                raise
