"""What a store is asked for, by a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import asyncpg
import msgspec

from services.shared.decision import Domain
from services.shared.heights import BookHeights
from services.shared.postgres.batch import NOTHING, Known
from services.shared.postgres.link import PASSING, WAIT_FOR_STANDBY, Connection, Link, broken, passes, said
from services.shared.postgres.table_rows import Place, TableRows
from services.shared.records import RowCodec, with_checksum
from services.shared.store import MAX_LINES, Away
from services.shared.turns import Turns

Row = TypeVar("Row", bound=msgspec.Struct)
Found = TypeVar("Found")
# How many rows are kept for the next batch, so that they need not be sent again.
KEPT_ROWS: Final = 50_000
# So long somebody who only reads waits for a database that is away.
PATIENCE_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.1
# So many records are asked for at once.
RECORDS: Final = 256
# No text has it here, so no key has.
NO_TEXT: Final = "\0"
LATEST: Final = "SELECT seq, hora FROM diario ORDER BY seq DESC LIMIT 1"


class Reads(Generic[Row]):
    """`RowReader`, of tables; and what others have recorded, for whoever follows."""

    def __init__(self, url: str, domain: Domain[Row]) -> None:
        self.domain = domain
        self.table: TableRows[Row] = TableRows(domain.rows)
        self._codec = RowCodec(domain.rows)
        self.heights = BookHeights(domain.name)
        self.seq = 0
        self.time = ""
        # Why what was asked last has no answer yet, if it has none.
        self._unread: str | None = None
        # Rows by key as they were last seen.
        self._kept: dict[str, Known[Row]] = {}
        self._reading = Link(url, domain.name, "reads", self._may_read)
        # Who holds it asks by that connection.
        self._asking = asyncio.Lock()
        self._question: asyncio.Task[Any] | None = None
        self._wanted: dict[str, asyncio.Future[Row | None]] = {}
        self._list: tuple[tuple[int, int, int], bytes, int | None] | None = None

    @property
    def trouble(self) -> str | None:
        return self._unread

    async def _behind_standby(self, connection: Connection) -> None:
        """The next COMMIT of this connection waits until a standby has all that can be seen here."""
        await connection.execute(WAIT_FOR_STANDBY)

    async def _prepared(self, connection: Connection) -> None:
        """What a new connection has to be before it is used. Raises WrongSetting."""

    async def _may_read(self, connection: Connection) -> None:
        await self._prepared(connection)

    async def _ask(self, question: Callable[[Connection], Awaitable[Found]]) -> Found:
        """Raises Away when there is no answer in PATIENCE_SECONDS, those in which others ask included. Whoever goes
        away meanwhile ends no question: to break one off costs the connection, which others need."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    await self._asking.acquire()
                self._question = asyncio.create_task(self._asked(question, deadline))
                self._question.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
                found: Found = await asyncio.shield(self._question)
                self._unread = None
                return found
            except (*PASSING, asyncpg.PostgresError) as error:
                if not passes(error):
                    raise broken(error) from error
                if not (self._unread and isinstance(error, TimeoutError)):
                    self._unread = said(error)
                if asyncio.get_running_loop().time() >= deadline:
                    raise Away(f"PostgreSQL does not answer ({self._unread}): try again later") from None
            await asyncio.sleep(PAUSE_SECONDS)

    async def _asked(self, question: Callable[[Connection], Awaitable[Found]], deadline: float) -> Found:
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._reading.get()
                try:
                    found = await question(connection)
                    self._reading.expect_standby()
                    return found
                except msgspec.DecodeError:
                    # What was answered: the connection is as good as before.
                    raise
                except BaseException:
                    self._reading.drop()
                    raise
        finally:
            self._asking.release()

    async def row(self, key: str) -> Row | None:
        """Those that are asked for in one turn of the loop are asked for together."""
        if NO_TEXT in key:
            return None
        if key not in self._wanted:
            self._wanted[key] = asyncio.get_running_loop().create_future()
            if len(self._wanted) == 1:
                asyncio.get_running_loop().call_soon(self._look)
        return await asyncio.shield(self._wanted[key])

    async def rows_of(self, keys: Iterable[str]) -> dict[str, Row]:
        found = await self._ask(lambda connection: self._look_up(connection, list(dict.fromkeys(keys))))
        return {key: known.row for key, known in found.items() if known.row is not None}

    def _look(self) -> None:
        wanted, self._wanted = self._wanted, {}
        self._looking = asyncio.ensure_future(self._tell(wanted))

    async def _tell(self, wanted: dict[str, asyncio.Future[Row | None]]) -> None:
        try:
            rows = await self._ask(lambda connection: self._look_up(connection, list(wanted)))
            for key, future in wanted.items():
                if not future.done():
                    future.set_result(rows.get(key, NOTHING).row)
        except BaseException as error:
            if len(wanted) > 1 and isinstance(error, Exception) and not isinstance(error, Away):
                # What is wrong with one of them is told to who asked for that one.
                await asyncio.gather(*(self._tell({key: future}) for key, future in wanted.items()))
                return
            for future in wanted.values():
                if not future.done():
                    future.set_exception(error)
                    # Whoever asked may have gone.
                    future.exception()

    async def _look_up(self, connection: Connection, keys: list[str]) -> dict[str, Known[Row]]:
        before = [self._kept.get(key, NOTHING) for key in keys]
        found: dict[str, Known[Row]] = {}
        versions, numbers = [known.version for known in before], [self.table.next_number(known.row) for known in before]
        for i, version, kind, data, places, waiting in await connection.fetch(
            "SELECT * FROM ver($1, $2, $3)", keys, versions, numbers
        ):
            known = before[i - 1]
            if version != known.version:
                joined = [Place(number, item) for number, item in zip(places or (), waiting or (), strict=True)]
                row = None if data is None else self.table.row(kind, data, known.row, joined)
                known = Known(version, row)
                self._keep(keys[i - 1], known)
            found[keys[i - 1]] = known
        return found

    def _keep(self, key: str, known: Known[Row]) -> None:
        if known.version > self._kept.get(key, NOTHING).version:
            self._kept.pop(key, None)
            self._kept[key] = known
            if len(self._kept) > KEPT_ROWS:
                del self._kept[next(iter(self._kept))]

    async def public_list(self, limit: int = MAX_LINES, after: int = 0) -> tuple[bytes, int | None]:
        return await self._ask(lambda connection: self._public_list(connection, limit, after))

    async def _public_list(self, connection: Connection, limit: int, after: int) -> tuple[bytes, int | None]:
        seq = await connection.fetchval(LATEST) or 0
        asked = (seq, limit, after)
        if self._list is not None and self._list[0] == asked:
            return self._list[1:]
        body, last, more = await connection.fetchrow(
            """
            WITH found AS (
                SELECT clave::bigint AS numero, orden, visto FROM filas
                WHERE publica AND clave::bigint > $1 ORDER BY clave::bigint LIMIT $2 + 1
            ), page AS (SELECT * FROM found ORDER BY numero LIMIT $2),
            more AS (SELECT count(*) > $2 AS more FROM found)
            SELECT string_agg(visto, ',' ORDER BY CASE WHEN $1 = 0 AND NOT more THEN orden ELSE numero END),
                   max(numero), bool_or(more) FROM page, more
            """,
            after,
            limit,
        )
        self._list = asked, b"[" + (body or b"") + b"]", last if more else None
        return self._list[1:]

    async def listed(
        self, limit: int, *, after: int = 0, where: Mapping[str, int | None]
    ) -> list[tuple[int, Mapping[str, Any]]]:
        if self.domain.listing is None:
            return []
        columns = zip(("l.a", "l.b"), self.domain.listing.fields, strict=True)
        wanted = [(column, value) for column, name in columns if (value := where.get(name)) is not None]
        named = "".join(f" AND {column} = ${place}" for place, (column, _) in enumerate(wanted, 3))
        query = (
            "SELECT l.numero, l.n, d.registro FROM lista l JOIN diario d ON d.seq = l.seq "
            f"WHERE l.numero > $1{named} ORDER BY l.numero LIMIT $2"
        )
        values = [value for _, value in wanted]
        found = await self._ask(lambda connection: connection.fetch(query, after, limit, *values))
        lines: list[tuple[int, Mapping[str, Any]]] = []
        turns = Turns()
        for number, place, record in found:
            lines.append((number, read_record(record)["words"][place]))
            await turns.pause()
        return lines

    async def records(self, after: int, size_bytes: int) -> list[bytes]:
        found = await self._ask(lambda connection: records_behind(connection, after))
        some: list[bytes] = []
        for *row, _ in found:
            raw = line(*row)
            if some and size_bytes < len(raw):
                break
            size_bytes -= len(raw)
            some.append(raw)
        return some


async def records_behind(connection: Connection, after: int) -> list[Any]:
    query = "SELECT seq, lote, hora, registro, instancia FROM diario WHERE seq > $1 ORDER BY seq LIMIT $2"
    found: list[Any] = await connection.fetch(query, after, RECORDS)
    return found


def line(seq: int, lote: int, hora: str, record: bytes) -> bytes:
    """A record as /diario shows it: docs/journal.md."""
    return with_checksum(b'{"seq":%d,"batch":%d,"time":"%s"' % (seq, lote, hora.encode()) + record)


def read_record(record: bytes) -> dict[str, Any]:
    read: dict[str, Any] = msgspec.json.decode(b"{" + record[1:] + b"}")
    return read
