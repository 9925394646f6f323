"""Purchases as they happen, as server-sent events: what the journal says, from any of its records on.

An event's id is its record's sequence number. It is the same on every replica and after every restart, so whoever
was away names the last one they saw (`Last-Event-ID`), and misses nothing and sees nothing twice. A listener costs
its place in the journal and what is being sent to it; where nobody listens, news costs one comparison.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.compras.domain import Asunto, finished, public
from services.compras.telling import REST, Listener, Pieces, event
from services.shared.http.edge import unless_gone
from services.shared.http.problems import Problem, unavailable
from services.shared.http.shares import Shares, asker, rest
from services.shared.store import RowReader

# So often something is sent, if only a comment: proxies close what is silent for 60 s.
HEARTBEAT_SECONDS: Final = 15.0
# How soon a browser comes back, in milliseconds.
RETRY: Final = b"retry: 1000\n\n"
# Who was away for longer is told how one purchase stands now, instead of a search through all of it. A browser is not.
SEARCH_RECORDS: Final = 20_000
# A follower is behind by less; past that the id is of another journal.
BEHIND_SECONDS: Final = 5.0
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MAX_LISTENERS: Final = 2_000
# Under load, events of so long are sent in one piece.
GATHER_SECONDS: Final = 0.03
# So many hear of news in one turn; then, where there are more, the others have the loop for so many times as long.
GROUP: Final = 20
# Turns of the loop in which those who hear of news take and send them.
SENDING: Final = 4

# Not `response_class=EventSourceResponse`: FastAPI would encode every event for every listener again.
STREAM: Final[dict[str, Any]] = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
HEARD: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The id of the last event that was seen: those behind it follow",
            "schema": {"type": "string", "pattern": "^[0-9]{1,16}$"},
        }
    ]
}


class Events:
    """All listeners of one process. `heard` whenever the store has news; `stop` ends every stream."""

    def __init__(self, store: RowReader[Asunto], *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self.listeners = Listeners()
        self._store = store
        self._heartbeat_seconds = heartbeat_seconds
        self._over = False
        self._pieces = Pieces(store)

    def heard(self) -> None:
        self.listeners.heard()

    def stop(self) -> None:
        self._over = True
        self.listeners.stop()
        self._pieces.stop()

    async def all(self, after: int | None, whose: str = "") -> AsyncIterator[bytes]:
        """Every purchase's events behind record `after`; None: from now on, with an event that says where that is."""
        yield RETRY
        if after is None or not await self._reached(after):
            after = self._store.seq
            yield event("inicio", {"registro": after}, after)
        with Listener(None, after, whose) as one:
            while not self._over:
                yield await self._next(one)

    async def of(self, subject: str, after: int | None, whose: str = "") -> AsyncIterator[bytes]:
        """One purchase's events until its end. Without `after`, how it stands comes first."""
        yield RETRY
        if after is None or not await self._reached(after) or self._store.seq - after > SEARCH_RECORDS:
            await self._caught_up()
            # Of one moment: what is not finished by then is no newer than that.
            after = self._store.seq
            row = (await self._store.rows_of([subject])).get(subject) or await self._store.row(subject)
            assert row is not None, f"{subject} is asked for before it is known"
            yield event("compra", public(row), after)
        with Listener(subject, after, whose) as one:
            while not (self._over or await self._ended(subject, one.after)):
                yield await self._next(one)

    async def missed(self, subject: str, after: int, whose: str = "") -> bool:
        """Whether anything happened to a finished purchase behind this record."""
        if not await self._reached(after) or self._store.seq - after > SEARCH_RECORDS:
            return True
        await self._caught_up()
        with Listener(subject, after, whose) as one:
            while one.after < self._store.seq:
                if await self._pieces.behind(one) or self._over:
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

    async def _next(self, one: Listener) -> bytes:
        """What is to be sent next, if anything."""
        at_end = one.after >= self._store.seq
        if at_end and not await self.listeners.news(self._heartbeat_seconds):
            return KEEPALIVE_COMMENT
        await asyncio.sleep(0)
        if self._over:
            return b""
        text = await self._pieces.behind(one, self._heartbeat_seconds, at_end=at_end)
        return KEEPALIVE_COMMENT if text is None else text


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
                    await rest(REST, began)
            if not self._more:
                break
        self._telling = None


class Listening(Response):
    """An answer to who wants to listen, who has a place from the question on and for as long as a stream lasts."""

    def __init__(self, listeners: Listeners, answer: Callable[[], Coroutine[Any, Any, Response]]) -> None:
        super().__init__()
        self._listeners, self._answer = listeners, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Problem (404, 503), ClientDisconnect."""
        with self._listeners.place(asker(scope)):
            response = await unless_gone(receive, self._answer())
            await response(scope, receive, send)


def last_event_id(request: Request, desde: int | None) -> int | None:
    """The last event that a client has seen, as browsers say it, or as asked by `desde`. Raises Problem (400)."""
    told = request.headers.get("last-event-id", "")
    if not told:
        return desde
    if not re.fullmatch(r"[0-9]{1,16}", told):
        raise Problem(400, "Last-Event-ID must be the id of an event: a whole number")
    return int(told)


def stream(pieces: AsyncIterator[bytes]) -> Response:
    return EventSourceResponse(pieces, headers=HEADERS)


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
