"""What a buyer or an operator asks for becomes a row of the journal, and whoever waits is told of its end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, cast

from prometheus_client import Counter as Metric
from prometheus_client import Histogram

from broker.messages import AltaMessage, CompraSolicitada, Message
from services.compras.clock import MonotonicClock
from services.compras.domain import ETAPAS, Alta, Asunto, Compra, finished, pregunta
from services.shared.clock import dated, utc_now
from services.shared.heights import Doubted
from services.shared.http.problems import Problem, unavailable
from services.shared.http.shares import ALPHA
from services.shared.metrics import SECONDS
from services.shared.runtime import Runtime
from services.shared.store import Answer, Change

# How long a buyer is kept waiting for a writer, or for the disk, before they are told to come again.
PATIENCE_SECONDS: Final = 5.0
# Entries are the operator's, who is the one that makes room; they may need one to do so.
SHORT: Final = (
    "the disk is nearly full, and what is left is kept for purchases on their way: send the same request, with "
    "the same Idempotency-Key, again later. Whoever runs the shop makes room, or sets ZOCO_DISK_RESERVE lower"
)
USED: Final = "this Idempotency-Key was used for something else: nothing was done; use another key for this"
LOOK_SECONDS: Final = 0.1
# More than any book has; times a few generations it still is an exact JSON number.
RECORDS_OF_A_GENERATION: Final = 1 << 40


class Acceptance:
    """The purchases and entries that are accepted here, their dates, and who waits for them."""

    def __init__(self, runtime: Runtime[Asunto]) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._waiting: dict[str, list[asyncio.Future[None]]] = defaultdict(list)
        # Who waits for the disk, and until when, in their order.
        self._asked: deque[tuple[float, asyncio.Future[Answer]]] = deque()
        # Whose the purchases on their way are that were accepted here, and how many each address has.
        self._whose: dict[str, str] = {}
        self._held: Counter[str] = Counter()
        self._entry_clock = MonotonicClock(utc_now)
        registry = runtime.metrics.registry
        self._accepted = Metric(
            "zoco_purchases_accepted", "Purchases answered 202 for the first time", registry=registry
        )
        self._finished = Metric(
            "zoco_purchases_finished", "Purchases that reached their end, by result", ["result"], registry=registry
        )
        self._seconds = Histogram(
            "zoco_purchase_seconds", "Seconds from the POST to the end", buckets=SECONDS, registry=registry
        )

    def fecha(self) -> str:
        """Now, and never a little earlier than what is in the journal."""
        return dated(self._store.now(), self._store.time)

    async def fecha_alta(self, *whose: str) -> list[str]:
        """For two entries about the same user or token that are under way at once never the same."""
        moment = await self._store.moment()
        return [moment or self._entry_clock.next(one, self._store.time) for one in whose]

    async def orden(self) -> int | None:
        """Of two entries about the same user or token the later one is in force, whatever clocks say: it was entered
        when more records were there. An entry's own record comes behind all these; a book that was written again counts
        on above all that it ever counted."""
        generations = max(self._store.heights.generation - 1, 0)
        return generations * RECORDS_OF_A_GENERATION + await self._store.latest() or None

    async def accept(self, message: CompraSolicitada | AltaMessage, whose: str = "") -> Asunto:
        """Store what was asked for, by this address, unless it is there already. Raises Problem (422, 429, 503)."""
        # Where several decide, what can be seen may be with no standby yet: a batch waits for that, a look does not.
        row = None if (several := self._store.leads and self._store.lags) else await self._store.row(message.subject)
        if (doubt := self._runtime.doubt) is not None:
            raise unavailable(doubt.says, 60)
        if row is None:
            full = self._why_full(whose) if isinstance(message, CompraSolicitada) else None
            if full and not (several and await self._store.row(message.subject)):
                raise full
            with self._held_by(whose, message):
                row, repeated = await self._stored(message)
            if finished(row):
                self._ended(message.subject)
            if not repeated:
                return row
        if not _asks_the_same(row, message):
            raise Problem(422, USED)
        return row

    def _why_full(self, whose: str) -> Problem | None:
        many, limit = self._store.unfinished_of(Compra), self._runtime.settings.backlog_limit
        if many >= limit:
            return unavailable(f"{many} purchases are on their way already: try again later", 5)
        if (own := self._held[whose]) >= ALPHA * (limit - many):
            says = f"{own} purchases of this address are on their way already: try again later"
            return Problem(429, says, headers={"Retry-After": "5"})
        return unavailable(SHORT, 60) if self._store.room.short else None

    @contextmanager
    def _held_by(self, whose: str, message: Message) -> Iterator[None]:
        """It counts from now until it ends, or if it cannot be stored."""
        new = isinstance(message, CompraSolicitada) and message.subject not in self._whose
        if new:
            self._whose[message.subject] = whose
            self._held[whose] += 1
        try:
            yield
        except BaseException:
            if new:
                self._ended(message.subject)
            raise

    def _ended(self, subject: str) -> None:
        if (whose := self._whose.pop(subject, None)) is not None:
            self._held[whose] -= 1
            if not self._held[whose]:
                del self._held[whose]

    async def _stored(self, message: Message) -> tuple[Asunto, bool]:
        """What is there of it now, and whether it was there before."""
        loop = self._runtime.processor
        assert loop is not None
        try:
            if not self._runtime.writing.is_set():
                await asyncio.wait_for(self._runtime.writing.wait(), PATIENCE_SECONDS)
            stored = loop.submit(message)
            self._asked.append((time.monotonic() + PATIENCE_SECONDS, stored))
            answer = await stored
        except Doubted as doubted:
            raise unavailable(str(doubted), 60) from None
        except TimeoutError:
            if (doubt := self._runtime.doubt) is not None:
                raise unavailable(doubt.says, 60) from None
            why = "the database does not answer" if self._store.trouble else "the disk does not keep up"
            why = "the disk is full" if self._store.full else why
            raise unavailable(f"{why}: send the same request, with the same Idempotency-Key, again") from None
        if answer.failure and answer.repeated:
            raise Problem(500, f"this could not be decided: {answer.failure}")
        row = cast("Asunto | None", answer.row) or await self._store.row(message.subject)
        if answer.failure and (row is None or _asks_the_same(row, message)):
            raise Problem(500, f"this could not be decided: {answer.failure}")
        assert row is not None, f"{message.subject} was stored and is not there"
        if isinstance(message, CompraSolicitada) and not answer.repeated:
            self._accepted.inc()
        # Something else that came under the same key in the meantime is there instead.
        return row, answer.repeated or answer.failure is not None

    async def send_away(self) -> None:
        """Tell who waits too long. One look at all of them, now and then, costs less than a timer for each."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            while self._asked and (self._asked[0][1].done() or self._asked[0][0] < time.monotonic()):
                _, stored = self._asked.popleft()
                if not stored.done():
                    stored.set_exception(TimeoutError())

    async def finish(self, subject: str, seconds: float) -> None:
        """Return when this purchase or entry has reached its end, or after so many seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[subject].append(waiter)
        try:
            # Looked at after the waiter is there: an end that comes meanwhile wakes it. A follower may not know it yet.
            row = await self._store.row(subject)
            if row is None or not finished(row):
                async with asyncio.timeout(seconds):
                    await waiter
        except TimeoutError:
            pass
        finally:
            waiters = self._waiting.get(subject, [])
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                self._waiting.pop(subject, None)

    def heard(self, change: Change[Asunto]) -> None:
        """Something is on the disk, here or written by the replica that this one follows."""
        row = change.row
        if isinstance(row, Alta):
            self._entry_clock.seen(row.fecha)
        if row is None or not finished(row):
            return
        self._ended(change.subject)
        _release(self._waiting.pop(change.subject, ()))
        own = self._runtime.writing.is_set() and not change.elsewhere
        if isinstance(row, Compra) and own and change.type == ETAPAS[row.estado].llega.type:
            result = row.motivo if row.estado == "rechazada" and row.motivo else row.estado
            self._finished.labels(result).inc()
            self._seconds.observe(max(0.0, (datetime.now(UTC) - datetime.fromisoformat(row.fecha)).total_seconds()))

    def stop(self) -> None:
        """Tell those who wait for an end how their purchase stands: the process is to stop."""
        for waiters in self._waiting.values():
            _release(waiters)


def _release(waiters: Iterable[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


def _asks_the_same(row: Asunto, message: Message) -> bool:
    # What the front door adds.
    ours: dict[str, Any] = {name: getattr(message, name) for name in ("fecha", "orden") if hasattr(message, name)}
    return pregunta(row).model_copy(update=ours) == message
