"""A batch of the store for any number of processes is one transaction; the order of its steps is the point.

S1  lock the rows that exist, in the order of their keys
S2  in a new snapshot, read what is remembered of the batch's subjects, and up to where the book goes
S3  decide
S4  insert the rows that are absent, in the order of their keys; if somebody else just did, begin again
S5  update the others
S6  take the service's advisory lock, last
S7  see that the book is still this one; the numbers of the records follow the last one that there is
S8  write what is remembered, the records, the list
S9  COMMIT. Only then anything is said

So no two batches wait for each other in a circle, records have numbers without gaps in the order of their commits, and
of two that are about one row the second sees all of the first. A batch that only repeats writes a record of the log, so
that its COMMIT waits until what it has seen is with the standby. `tests/simulation/` walks through all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

import msgspec

from broker.heights import Height, written
from broker.messages import BIT, Message, from_word
from broker.services import Service
from services.shared.decision import Domain
from services.shared.postgres.batch import NOTHING, Batch, Known, Seen, subject_key
from services.shared.postgres.follows import Follows
from services.shared.postgres.link import Connection
from services.shared.postgres.reads import read_record
from services.shared.postgres.table_rows import Place
from services.shared.postgres.voices import Voices
from services.shared.store import Answer, Fenced

Row = TypeVar("Row", bound=msgspec.Struct)
LEER: Final = "SELECT * FROM leer($1, $2, $3, $4, $5)"
# The heights that were heard are in the last so many batches: each says what those that it has seen did, and no more
# than there are processes have not seen the one before. `leer` goes by it, too.
LAST_HEARD: Final = 1_000
ESCRIBIR: Final = f"SELECT * FROM escribir({', '.join(f'${number}' for number in range(1, 28))})"


class Again(Exception):
    """Somebody else has made a row that this batch found absent."""


class Read(msgspec.Struct, Generic[Row]):
    """What S1 and S2 found."""

    seq: int = 0
    book: tuple[str, int] = ("", 0)
    known: dict[str, Known[Row]] = msgspec.field(default_factory=dict)
    seen: dict[str, Seen] = msgspec.field(default_factory=dict)


class Outcome(msgspec.Struct, Generic[Row]):
    """A batch that is decided: what others will see of it once it is committed."""

    answers: list[Answer]
    pending: Batch[Row]
    heard: dict[Service, Height]
    # The last record before it, as far as it saw; its own first record and their date, if it has any.
    seq: int
    base: int = 0
    hora: str = ""


class Decides(Follows[Row]):
    """S1 to S8, in a transaction that somebody else has begun, and ends."""

    # Of which generation this book is being written again: its records say so.
    rewriting = 0

    def __init__(self, url: str, domain: Domain[Row]) -> None:
        super().__init__(url, domain)
        self.voices: Voices | None = None
        self._heard_upto = 0
        # How far the database's clock is ahead of this one.
        self._ahead = timedelta()

    async def _read_book(self, connection: Connection) -> None:
        identity, generation, formerly, heard = await connection.fetchrow(
            "SELECT identidad, generacion, antes, oido FROM libro"
        )
        self.heights.book, self.heights.generation, self.heights.formerly = identity, generation, list(formerly)
        self.heights.read("", heard)
        found = await connection.fetch(
            "SELECT seq, oido FROM diario WHERE oido IS NOT NULL ORDER BY seq DESC LIMIT $1", LAST_HEARD
        )
        for seq, text in reversed(found):
            self.heights.read("", text)
            self._heard_upto = max(self._heard_upto, seq)

    async def _decide(self, connection: Connection, batch: Sequence[Message]) -> Outcome[Row]:
        """S1 to S8."""
        keys = list(dict.fromkeys(filter(None, map(self._key, batch))))
        read = await self._read(connection, keys, list(dict.fromkeys(message.subject for message in batch)))
        if read.book != (self.heights.book, self.heights.generation):
            raise self._rewritten()
        heard = self.heights.hear([message.heights for message in batch], read.seq)
        pending = await self._pending(connection, batch, read, heard)
        outcome = Outcome([pending.decide(message) for message in batch], pending, heard, read.seq)
        if pending.records:
            columns = (*read.book, *pending.columns(), None, None)
            sent = datetime.now(UTC)
            outcome.base, outcome.hora, clock = await connection.fetchrow(ESCRIBIR, self.instance, *columns)
            if not outcome.base:
                raise Again
            self._set_clock(sent, datetime.fromisoformat(clock))
        elif batch:
            await self._behind_standby(connection)
        return outcome

    async def _read(self, connection: Connection, keys: list[str], subjects: list[str]) -> Read[Row]:
        """S1 and S2."""
        before = [self._kept.get(key, NOTHING) for key in keys]
        found = await connection.fetch(
            LEER,
            keys,
            [known.version for known in before],
            [self.table.next_number(known.row) for known in before],
            list(map(subject_key, subjects)),
            self._heard_upto,
        )
        read: Read[Row] = Read()
        rows: list[tuple[int, int, int, bytes | None]] = []
        joined: dict[int, list[Place]] = {}
        for what, i, a, b, n, data, text in found:
            match what:
                case b"f":
                    rows.append((i - 1, a, n, data))
                case b"e":
                    joined.setdefault(i - 1, []).append(Place(a, data))
                case b"r":
                    read.seen[subjects[i - 1]] = Seen(b, a, n)
                case b"o":
                    self.heights.read("", text)
                    self._heard_upto = a
                case b"l":
                    read.seq, read.book = a, (text, b)
        for i, version, kind, data in rows:
            known = before[i]
            if version != known.version:
                row = None if data is None else self.table.row(kind, data, known.row, joined.get(i, ()))
                known = Known(version, row)
                self._keep(keys[i], known)
            read.known[keys[i]] = known
        return read

    def _key(self, message: Message) -> str | None:
        try:
            return self.domain.key(message)
        except Exception:
            # Deciding says why.
            return None

    async def _pending(
        self, connection: Connection, batch: Sequence[Message], read: Read[Row], heard: dict[Service, Height]
    ) -> Batch[Row]:
        news, known = written(heard.items()), self.heights.known()
        last: dict[str, Message] = {}
        again = {}
        for message in batch:
            seen = read.seen.get(message.subject, Seen())
            if seen.types & BIT[message.type] and seen.seq:
                again[message.subject] = seen
        if again:
            found = await connection.fetch(
                "SELECT seq, registro FROM diario WHERE seq = ANY($1)", list({seen.seq for seen in again.values()})
            )
            records = {seq: read_record(record) for seq, record in found}
            for subject, seen in again.items():
                word = from_word(records[seen.seq]["words"][seen.place])
                # Said again, it has the number that it had first.
                last[subject] = word.said(self.heights.said(seen.seq, news))
        return Batch(
            self.domain,
            self.table,
            self._codec,
            read.known,
            read.seen,
            last,
            self.heights.stale,
            news if news != known else None,
            self.rewriting,
        )

    def _committed(self, outcome: Outcome[Row]) -> None:
        """Now that its records have numbers, its words say so; and whoever watches hears of them."""
        pending, base, hora = outcome.pending, outcome.base, outcome.hora
        self.heights.heard = outcome.heard
        for key, known in pending.after().items():
            self._keep(key, known)
        if not base:
            if not self.domain.followed:
                self.seq = max(self.seq, outcome.seq)
            return
        heard = self.heights.known()
        for number, words in enumerate(pending.words, base):
            heights = self.heights.said(number, heard)
            for word in words:
                word.said(heights)
        if self.voices:
            self.voices.decided(base, pending.words)
        if not self.domain.followed:
            self.seq, self.time = max((self.seq, self.time), (base + len(pending.records) - 1, hora))
            for key, change in pending.changes if self._watchers else ():
                self._apply(key, change)
            return
        for number, (key, change) in enumerate(pending.changes, base):
            if number > self.seq:
                self._own[number] = hora, key, change
        self._take_own()

    def now(self) -> str:
        """By the database's clock, which is the same for all."""
        return (datetime.now(UTC) + self._ahead).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    def _set_clock(self, sent: datetime, clock: datetime) -> None:
        """By an answer: what it says was so after it was asked, and before now. A slow one says little, and changes
        nothing."""
        self._ahead = min(max(self._ahead, clock - datetime.now(UTC)), clock - sent)

    def _rewritten(self) -> Fenced:
        return Fenced(f"the book of {self.domain.name} was written again by another process")
