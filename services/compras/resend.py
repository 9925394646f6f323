"""The nudge: asking again for what does not get on, so that whatever the broker lost is found.

By `BatchStore.process_batch` a message seen before is answered with the last word about it, so one question makes the
whole chain say its last words again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Protocol

from broker.messages import Message
from broker.services import SERVICES, Service
from services.compras.domain import Asunto, finished, pregunta
from services.shared.store import Change, RowReader

# How long a purchase may stand still, with every queue empty and nothing as old in anybody's hands, before it is asked
# for again. A purchase takes tens of milliseconds; each further question waits twice as long.
FIRST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 120.0
ROUND_SECONDS: Final = 1.0
# A message says in whole seconds, by the clock of who said it, when that was.
CLOCKS_SECONDS: Final = 2.0
EVERYWHERE: Final = frozenset(SERVICES)
BEFORE_THE_SALE: Final = EVERYWHERE - {"transacciones"}
# At most so many questions a round: with a full line behind it, a lost holder must still be reached soon.
ROUND_LIMIT: Final = 1_000


class Outbound(Protocol):
    """What the nudge asks of the broker."""

    async def publish(self, messages: Sequence[Message]) -> None: ...

    async def oldest(self) -> Mapping[Service, float] | None:
        """How long ago the oldest message was said that each service has not dealt with, in seconds: 0 when there is
        none, without end when one waits in its queue. None when it is not known."""


@dataclass(slots=True)
class _Waiting:
    due_seconds: float
    wait_seconds: float


class Resender:
    """Watches the purchases and entries that are not finished, from the moment its owner is the writer."""

    def __init__(
        self,
        store: RowReader[Asunto],
        voice: Outbound,
        seconds: Callable[[], float],
        *,
        first_seconds: float = FIRST_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._voice = voice
        self._seconds = seconds
        self._sleep = sleep
        self._first_seconds = first_seconds
        self._waiting: dict[str, _Waiting] = {}

    def heard(self, change: Change[Asunto]) -> None:
        """Something happened to a purchase: its patience begins anew, or is over."""
        if change.row is None or finished(change.row):
            self._waiting.pop(change.subject, None)
        else:
            self._waiting[change.subject] = _Waiting(self._seconds() + self._first_seconds, self._first_seconds)

    async def run(self) -> None:
        for subject, row in (await self._store.unfinished_rows()).items():
            if subject not in self._waiting:
                self.heard(Change("", subject, row))
            if row.estado == "solicitada":
                # The writer before may have stored it and not published it: it is due, by the same rule as all else.
                self._waiting[subject] = _Waiting(self._seconds(), self._first_seconds / 2)
        while True:
            now = self._seconds()
            due = [subject for subject, waiting in self._waiting.items() if waiting.due_seconds <= now]
            oldest = await self._voice.oldest() if due else None
            if oldest is not None:
                await self._again(due, oldest)
            await self._sleep(ROUND_SECONDS)

    async def _again(self, due: Sequence[str], oldest: Mapping[Service, float]) -> None:
        rows: list[Asunto] = []
        found = await self._store.rows_of(due)
        for subject in due:
            row, waiting = found.get(subject), self._waiting.get(subject)
            if row is None or waiting is None or finished(row):
                self._waiting.pop(subject, None)
                continue
            # What was said of it last is as old as its waiting: where nothing is as old as that, it is not.
            stood = self._seconds() - waiting.due_seconds + waiting.wait_seconds
            if (held := max(oldest[name] for name in _on_the_way(row))) and held > stood - CLOCKS_SECONDS:
                continue
            if len(rows) == ROUND_LIMIT:
                break
            waiting.wait_seconds = min(2 * waiting.wait_seconds, LONGEST_SECONDS)
            waiting.due_seconds = self._seconds() + waiting.wait_seconds
            rows.append(row)
        await self._ask(rows)

    async def _ask(self, rows: Sequence[Asunto]) -> None:
        if rows:
            # It is said now, by the book as it stands now; what can be read may be in one place only.
            heights = self._store.heights.said(self._store.seq)
            await self._store.durable()
            await self._voice.publish([pregunta(row).said(heights) for row in rows])


def _on_the_way(row: Asunto) -> AbstractSet[Service]:
    """In whose queues it, or an answer about it, may still wait. A record can only wait for a sale that is made: while
    transacciones is down, with a backlog, the others' losses are found all the same."""
    return EVERYWHERE if row.estado == "confirmada" else BEFORE_THE_SALE
