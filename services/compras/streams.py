"""Purchases as they happen, as server-sent events: what the journal says, from any of its records on.

An event's id is its record's sequence number. It is the same on every replica and after every restart, so whoever
was away names the last one they saw (`Last-Event-ID`), and misses nothing and sees nothing twice. A listener costs
its place in the journal and what is being sent to it; where nobody listens, news costs one comparison.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import pydantic_core
import structlog
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from services.compras.domain import Asunto, finished, novedad, public
from services.shared.http.problems import unavailable
from services.shared.http.shares import Shares, asker
from services.shared.store import Damaged, RowReader
from services.shared.turns import Turns

log = structlog.get_logger()

# So often something is sent, if only a comment: proxies close what is silent for 60 s.
HEARTBEAT_SECONDS: Final = 15.0
# How soon a browser comes back, in milliseconds.
RETRY: Final = b"retry: 1000\n\n"
CHUNK_BYTES: Final = 32 * 1024
# Listeners at the journal's end share the pieces that were made for the first of them.
SHARED_CHUNKS: Final = 16
# Who was away for longer is told how one purchase stands now, instead of a search through all of it.
SEARCH_RECORDS: Final = 100_000
# A follower is behind by less; past that the id is of another journal.
BEHIND_SECONDS: Final = 5.0
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MAX_LISTENERS: Final = 2_000
# Under load, events of so long are sent in one piece.
GATHER_SECONDS: Final = 0.03
# So many hear of news in one turn; then, where there are more, the others have the loop for so many times as long.
GROUP: Final = 20
REST: Final = 3.0
# Turns of the loop in which those who hear of news take and send them.
SENDING: Final = 4
MAX_REST_SECONDS: Final = 0.05


class Events:
    """All listeners of one process. `heard` whenever the store has news; `stop` ends every stream."""

    def __init__(self, store: RowReader[Asunto], *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self.listeners = Listeners()
        self._store = store
        self._heartbeat_seconds = heartbeat_seconds
        self._over = False
        self._shared: OrderedDict[int, tuple[bytes, int]] = OrderedDict()

    def heard(self) -> None:
        self.listeners.heard()

    def stop(self) -> None:
        self._over = True
        self.listeners.stop()

    async def all(self, after: int | None) -> AsyncIterator[bytes]:
        """Every purchase's events behind record `after`; None: from now on, with an event that says where that is."""
        yield RETRY
        if after is None or not await self._reached(after):
            after = self._store.seq
            yield _event("inicio", {"registro": after}, after)
        while not self._over:
            text, after = await self._next(after)
            yield text

    async def of(self, subject: str, after: int | None) -> AsyncIterator[bytes]:
        """One purchase's events until its end. Without `after`, how it stands comes first."""
        yield RETRY
        if after is None or not await self._reached(after) or self._store.seq - after > SEARCH_RECORDS:
            await self._caught_up()
            # Of one moment: what is not finished by then is no newer than that.
            after = self._store.seq
            row = (await self._store.rows_of([subject])).get(subject) or await self._store.row(subject)
            assert row is not None, f"{subject} is asked for before it is known"
            yield _event("compra", public(row), after)
        while not (self._over or await self._ended(subject, after)):
            text, after = await self._next(after, subject)
            yield text

    async def missed(self, subject: str, after: int) -> bool:
        """Whether anything happened to a finished purchase behind this record."""
        if not await self._reached(after) or self._store.seq - after > SEARCH_RECORDS:
            return True
        await self._caught_up()
        while after < self._store.seq:
            text, after = await self._chunk(after, subject)
            if text:
                return True
            await asyncio.sleep(0)
        return False

    async def known(self, subject: str, seconds: float) -> Asunto | None:
        """The purchase, which a follower may still have to read of."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not self._over:
            # Before it is looked for: news of it may come while the store is asked.
            with self.listeners.expecting() as told:
                if (row := await self._store.row(subject)) is not None:
                    return row
                if not await in_time(told, deadline - asyncio.get_running_loop().time()):
                    break
        return None

    async def _ended(self, subject: str, place: int) -> bool:
        # As it is told of here: the last of what happened to it may still have to come.
        row = (await self._store.rows_of([subject])).get(subject) if place >= self._store.seq else None
        return row is not None and finished(row)

    async def _reached(self, after: int) -> bool:
        """Wait until this process has read so far. False: there is no such record, the journal is another one."""
        deadline = asyncio.get_running_loop().time() + (BEHIND_SECONDS if self._store.lags else 0)
        while after > self._store.seq and not self._over:
            if not await self.listeners.news(deadline - asyncio.get_running_loop().time()):
                return False
        return True

    async def _caught_up(self) -> None:
        """Wait until this process has heard of all that can be seen now, as whoever asks may have seen it elsewhere."""
        upto = await self._store.latest()
        while not (self._over or await self._reached(upto)):
            pass

    async def _next(self, after: int, subject: str | None = None) -> tuple[bytes, int]:
        """What is to be sent next, if anything, and the record that it reaches up to."""
        if after >= self._store.seq and not await self.listeners.news(self._heartbeat_seconds):
            return KEEPALIVE_COMMENT, after
        await asyncio.sleep(0)
        return await self._chunk(after, subject)

    async def _chunk(self, after: int, subject: str | None) -> tuple[bytes, int]:
        if subject is None and (made := self._shared.get(after)) is not None:
            return made
        upto = self._store.seq
        try:
            # No further than was heard: whoever is told more would have to wait for it again.
            found = (await self._store.records(after, CHUNK_BYTES))[: max(upto - after, 0)]
        except Damaged as error:
            # What happened in it can be told to nobody; what happened behind it can.
            log.error("a record cannot be told of", record=after + 1, error=str(error))
            return b"", after + 1
        mine = found if subject is None else [raw for raw in found if b'"row":"%s"' % subject.encode() in raw]
        records = [pydantic_core.from_json(raw) for raw in mine]
        rows = await self._store.rows_of(record["row"] for record in records)
        turns, told = Turns(), []
        for record in records:
            told.append(_text(record, rows.get(record["row"])))
            await turns.pause()
        chunk = b"".join(told), after + len(found)
        if subject is None and found:
            self._shared[after] = chunk
            if len(self._shared) > SHARED_CHUNKS:
                self._shared.popitem(last=False)
        return chunk


class Listeners:
    """Who listens to one process. News go to a few at a time, so that no buyer waits for all."""

    def __init__(self) -> None:
        self._places = Shares(MAX_LISTENERS)
        self._waiting: list[asyncio.Future[None]] = []
        self._telling: asyncio.Task[None] | None = None
        self._more = False

    @property
    def count(self) -> int:
        return MAX_LISTENERS - self._places.free

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @contextmanager
    def place(self, whose: str) -> Iterator[None]:
        """One for this address. Raises Problem (503)."""
        if not self._places.take(whose):
            raise unavailable(f"{self.count} listen already, too many of them from this address: come again later", 5)
        try:
            yield
        finally:
            self._places.give(whose)

    @contextmanager
    def expecting(self) -> Iterator[asyncio.Future[None]]:
        """Done with the next news, from now on."""
        told = asyncio.get_running_loop().create_future()
        self._waiting.append(told)
        try:
            yield told
        finally:
            if told in self._waiting:
                self._waiting.remove(told)

    async def news(self, seconds: float) -> bool:
        """Whether there are any, in so many seconds."""
        with self.expecting() as told:
            return await in_time(told, seconds)

    def heard(self) -> None:
        """There is something new."""
        if self._waiting and self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell())
        else:
            self._more = True

    def stop(self) -> None:
        _wake(self._waiting)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(GATHER_SECONDS)
            self._more, waiting = False, self._waiting
            self._waiting = []
            for start in range(0, len(waiting), GROUP):
                began = time.perf_counter()
                _wake(waiting[start : start + GROUP])
                for _ in range(SENDING):
                    await asyncio.sleep(0)
                if start + GROUP < len(waiting):
                    await asyncio.sleep(min(REST * (time.perf_counter() - began), MAX_REST_SECONDS))
            if not self._more:
                break
        self._telling = None


class Listening(EventSourceResponse):
    """A stream of events, which has a place for as long as it lasts."""

    def __init__(self, listeners: Listeners, pieces: AsyncIterator[bytes]) -> None:
        super().__init__(pieces, headers=HEADERS)
        self._listeners = listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Problem (503)."""
        with self._listeners.place(asker(scope)):
            await super().__call__(scope, receive, send)


def _text(record: dict[str, Any], row: Asunto | None) -> bytes:
    if row is None or record["change"] is None:
        return b""
    news = novedad(row, record["change"])
    return _event(*news, record["seq"]) if news else b""


def _event(kind: str, data: object, seq: int) -> bytes:
    return format_sse_event(event=kind, data_str=msgspec.json.encode(data).decode(), id=str(seq))


async def in_time(told: asyncio.Future[None], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await told
    except TimeoutError:
        return False
    return True


def _wake(waiting: list[asyncio.Future[None]]) -> None:
    for told in waiting:
        if not told.done():
            told.set_result(None)
