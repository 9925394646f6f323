"""What listeners are told: pieces of the journal, as events.

Those at its end share each piece. Of those who catch up each has their turn, address by address: one piece is made at
a time, and in between the loop is for who buys. Whoever comes upon a piece that was made for another goes on with it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from itertools import accumulate, chain
from typing import Any, Final

import msgspec
import pydantic_core
import structlog
from fastapi.sse import format_sse_event

from services.compras.domain import Asunto, novedad
from services.shared.http.one_by_one import OneByOne
from services.shared.store import Damaged, RowReader
from services.shared.turns import Turns

log = structlog.get_logger()

CHUNK_BYTES: Final = 32 * 1024
# What comes in half a second when as much is sold as can be.
SHARED_CHUNKS: Final = 64
# So far behind the end news of one purchase are looked for out of turn: a millisecond or two.
NEAR_RECORDS: Final = 500
# The loop is for others so many times as long.
REST: Final = 3.0

Piece = tuple[bytes, int]
# What is told of records that follow each other, and where in it each of them begins.
Told = tuple[bytes, list[int]]


class Listener:
    """Somebody who is told what happened, to one purchase or to any, and up to which record they have been told."""

    def __init__(self, subject: str | None, after: int, whose: str) -> None:
        self.subject, self.after, self.whose = subject, after, whose
        # What they wait for in the line of those who catch up.
        self.coming: asyncio.Future[Piece] | None = None

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        if self.coming is not None:
            self.coming.cancel()


class Pieces:
    """Each is what happened behind a record, if anything did, and the record that it reaches up to."""

    def __init__(self, store: RowReader[Asunto]) -> None:
        self._store = store
        # By the record that they begin behind: each of these but the first begins where another ends.
        self._at_end: OrderedDict[int, Told] = OrderedDict()
        self._before: OrderedDict[int, Told] = OrderedDict()
        self._catching_up = OneByOne(REST)

    async def behind(self, one: Listener, seconds: float | None = None, *, at_end: bool = False) -> bytes | None:
        """What is told next. `at_end`: they had been told all there was. None: whose turn it is to catch up has not
        come in so many seconds; who asks again then has kept their place in the line."""
        if one.coming is None:
            after, subject = one.after, one.subject
            if subject is not None:
                make = partial(self._make, after, self._store.seq, subject)
                at_end |= self._store.seq - after <= NEAR_RECORDS
            else:
                at_end = at_end or any(place <= after <= place + len(told[1]) for place, told in self._at_end.items())
                make = partial(self._made, after, self._at_end if at_end else self._before)
            if at_end:
                text, one.after = await make()
                return text
            one.coming = self._catching_up.ask(one.whose, make)
        await asyncio.wait((one.coming,), timeout=seconds)
        if not one.coming.done():
            return None
        coming, one.coming = one.coming, None
        if coming.cancelled():
            return b""
        text, one.after = coming.result()
        return text

    def stop(self) -> None:
        """Who stands in line to catch up is told nothing more."""
        self._catching_up.close()

    async def _made(self, after: int, kept: OrderedDict[int, Told]) -> Piece:
        if (made := self._kept(after)) is not None:
            return made
        # Not beyond where another piece begins: from there on whoever catches up goes on with that.
        begins = (place for place in chain(self._at_end, self._before) if place > after)
        told, _ = await self._tell(after, min(begins, default=self._store.seq))
        if told:
            kept[after] = b"".join(told), [0, *accumulate(map(len, told[:-1]))]
            if len(kept) > SHARED_CHUNKS:
                kept.popitem(last=False)
        return b"".join(told), after + len(told)

    def _kept(self, after: int) -> Piece | None:
        if (told := self._at_end.get(after) or self._before.get(after)) is not None:
            return told[0], after + len(told[1])
        for place, (text, starts) in chain(self._at_end.items(), self._before.items()):
            if place < after < place + len(starts):
                return text[starts[after - place] :], place + len(starts)
        return None

    async def _make(self, after: int, upto: int, subject: str) -> Piece:
        told, read = await self._tell(after, upto, subject)
        return b"".join(told), after + read

    async def _tell(self, after: int, upto: int, subject: str | None = None) -> tuple[list[bytes], int]:
        """What is told of each record, or of each of one purchase, and how many there are."""
        try:
            # No further than was heard: whoever is told more would have to wait for it again.
            found = (await self._store.records(after, CHUNK_BYTES))[: max(upto - after, 0)]
        except Damaged as error:
            # What happened in it can be told to nobody; what happened behind it can.
            log.error("a record cannot be told of", record=after + 1, error=str(error))
            return [b""], 1
        mine = found if subject is None else [raw for raw in found if b'"row":"%s"' % subject.encode() in raw]
        records = [pydantic_core.from_json(raw) for raw in mine]
        rows = await self._store.rows_of(record["row"] for record in records)
        turns, told = Turns(), []
        for record in records:
            told.append(_text(record, rows.get(record["row"])))
            await turns.pause()
        return told, len(found)


def _text(record: dict[str, Any], row: Asunto | None) -> bytes:
    if row is None or record["change"] is None:
        return b""
    news = novedad(row, record["change"])
    return event(*news, record["seq"]) if news else b""


def event(kind: str, data: object, seq: int) -> bytes:
    return format_sse_event(event=kind, data_str=msgspec.json.encode(data).decode(), id=str(seq))
