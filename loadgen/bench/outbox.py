"""The same purchase in FastStream with SQLAlchemy and an outbox: what the shop on PostgreSQL is compared with.

A transaction for each message: what was heard before is known by its id, the row is locked, and what is to be said goes
into a table; who publishes takes it out of there, a batch at a time, when it is confirmed. What is decided, and how a
row is written, is ours; and it is SQLAlchemy's Core, which costs less than its ORM. `fast_stream_apps.py` runs it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Generic, TypeVar

from faststream.rabbit import RabbitBroker
from msgspec import Struct
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Select, String, Table, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from broker.messages import Message, decode, encode
from loadgen.bench.fast_stream import publish, stock
from services.shared.clock import utc_now
from services.shared.decision import Domain
from services.shared.postgres.table_rows import TableRows

Row = TypeVar("Row", bound=Struct)
CONNECTIONS: Final = 20
# Words that are published, and deleted, together.
TOGETHER: Final = 100


tables: Final = MetaData()
heard: Final = Table("heard", tables, Column("id", String, primary_key=True))
kept: Final = Table(
    "kept",
    tables,
    Column("key", String, primary_key=True),
    Column("kind", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
outbox: Final = Table(
    "outbox",
    tables,
    Column("number", BigInteger, primary_key=True),
    Column("type", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
)


class Tables(Generic[Row]):
    """A service's rows, what it has heard, and its outbox."""

    def __init__(self, domain: Domain[Row]) -> None:
        self.ended = 0
        self._domain, self._rows = domain, TableRows(domain.rows)
        self._engine = create_async_engine(os.environ["BENCH_STORE"], pool_size=CONNECTIONS, max_overflow=0)
        self._wrote = asyncio.Event()

    async def hear(self, message: Message) -> tuple[Message, ...]:
        """Decide it once; what is to be said of it is in the outbox. Raises SQLAlchemyError."""
        async with self._engine.begin() as connection:
            ended = await self._decide(connection, message)
        self.ended += ended
        self._wrote.set()
        return ()

    async def row(self, key: str) -> Row | None:
        async with self._engine.connect() as connection:
            return await self._read(connection, select(kept).where(kept.c.key == key))

    @asynccontextmanager
    async def open(self, broker: RabbitBroker) -> AsyncIterator[None]:
        async with self._engine.begin() as connection:
            await connection.run_sync(tables.create_all)
            for message in stock().get(self._domain.name, ()):
                await self._decide(connection, message)
            # No front door has entered it, and none is told.
            await connection.execute(delete(outbox))
        saying = asyncio.create_task(self._publish_outbox(broker))
        yield
        saying.cancel()
        with suppress(asyncio.CancelledError):
            await saying
        await self._engine.dispose()

    async def _decide(self, connection: AsyncConnection, message: Message) -> bool:
        """Whether it has ended a purchase."""
        first = insert(heard).values(id=message.id).on_conflict_do_nothing().returning(heard.c.id)
        if await connection.scalar(first) is None:
            return False
        key = self._domain.key(message)
        row = await self._read(connection, select(kept).where(kept.c.key == key).with_for_update())
        decision = self._domain.decide(row, message)
        if decision.messages:
            words = [{"type": word.type, "body": encode(word)} for word in decision.messages]
            await connection.execute(insert(outbox), words)
        if decision.row is None:
            return False
        values = {"kind": self._rows.kind(decision.row), "data": self._rows.data(decision.row)}
        now = insert(kept).values(key=key, **values).on_conflict_do_update(index_elements=["key"], set_=values)
        await connection.execute(now)
        ended = self._domain.finished
        return ended(decision.row) and not (row is not None and ended(row))

    async def _read(self, connection: AsyncConnection, query: Select) -> Row | None:
        found = (await connection.execute(query)).one_or_none()
        # Each token has one buyer here: nobody waits in a line.
        return None if found is None else self._rows.row(kind=found.kind, data=found.data, known=None, joined=())

    async def _publish_outbox(self, broker: RabbitBroker) -> None:
        while True:
            await self._wrote.wait()
            self._wrote.clear()
            while await self._published_some(broker):
                pass

    async def _published_some(self, broker: RabbitBroker) -> bool:
        async with self._engine.begin() as connection:
            oldest = select(outbox).order_by(outbox.c.number).limit(TOGETHER).with_for_update(skip_locked=True)
            unsaid = (await connection.execute(oldest)).all()
            words = [decode(one.type, one.body, utc_now()) for one in unsaid]
            await asyncio.gather(*[publish(broker, word) for word in words])
            await connection.execute(delete(outbox).where(outbox.c.number.in_([one.number for one in unsaid])))
        return bool(unsaid)
