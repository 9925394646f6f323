"""One batch: what was read for it, what is decided, and what of that goes into which table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, Generic, TypeVar

import msgspec

from broker.messages import BIT, Message, encode_word
from services.shared.decision import Domain
from services.shared.postgres.table_rows import TableRows
from services.shared.records import CHANGE, WORDS, RowCodec, origin_of
from services.shared.store import Answer, Change

Row = TypeVar("Row", bound=msgspec.Struct)


class Known(msgspec.Struct, Generic[Row], frozen=True):
    """A row as of one of its versions. 0: it is in no table; a row that is None may have one all the same."""

    version: int = 0
    row: Row | None = None


class Seen(msgspec.Struct, frozen=True):
    """The types of message that were heard of a subject, as bits, and the record and place of the last word about it,
    if there is any."""

    types: int = 0
    seq: int = 0
    place: int = -1


@dataclass(slots=True)
class Remembered:
    """What a batch says of a subject: which types it has heard, and in which of its records the last word stands."""

    types: int
    record: int
    place: int
    word: Message | None


_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


# It is asked several times for each message.
@lru_cache(maxsize=4096)
def subject_key(subject: str) -> str:
    """A subject as a UUID: a purchase's own, for anything else a hash that no purchase has."""
    return subject if _UUID.fullmatch(subject) else blake2b(subject.encode(), digest_size=16).hexdigest()


@dataclass
class Batch(Generic[Row]):
    """Decisions that nobody can see yet. `known`: the rows by key, which are locked; `seen`: what is remembered of the
    subjects, and `last`: the last words about those that came again, with the heights that they had."""

    domain: Domain[Row]
    table: TableRows[Row]
    codec: RowCodec[Row]
    known: dict[str, Known[Row]]
    seen: dict[str, Seen]
    last: dict[str, Message]
    # Whether this is a message that a book said before it was rebuilt.
    stale: Any
    # What is known of the other books with this batch, if that is news; and of which generation this one is written.
    heard: str | None = None
    rewriting: int = 0
    rows: dict[str, Row | None] = field(default_factory=dict)
    remembered: dict[str, Remembered] = field(default_factory=dict)
    records: list[bytes] = field(default_factory=list)
    changes: list[tuple[str, Change[Row]]] = field(default_factory=list)
    # Record, place in it, and the list's fields, of each word that is a line of it.
    lines: list[tuple[int, int, int, int]] = field(default_factory=list)
    # The words of each record.
    words: list[tuple[Message, ...]] = field(default_factory=list)

    def decide(self, message: Message) -> Answer:
        """Once for each message. The words have no heights yet: nobody knows the numbers of their records."""
        subject = message.subject
        mine, seen = self.remembered.get(subject), self.seen.get(subject, Seen())
        if (mine.types if mine else seen.types) & BIT[message.type]:
            word = mine.word if mine else self.last.get(subject)
            return Answer((word,) if word is not None else (), repeated=True)
        if self.stale(message.heights):
            return Answer()
        try:
            key = self.domain.key(message)
            old = self.rows[key] if key in self.rows else self.known.get(key, Known()).row
            decision = self.domain.decide(old, message)
        except Exception as error:  # costs that one message, whatever it is
            return Answer(failure=f"{type(error).__name__}: {error}")
        change = self.codec.recorded(old, decision.row, self.domain.finished)
        record = self._record(message, key, change, decision.messages)
        self.add(message.subject, message.type, key, decision.row, decision.messages, record)
        return Answer(decision.messages, row=decision.row)

    def add(self, subject: str, kind: str, key: str, row: Row | None, words: Sequence[Message], record: bytes) -> None:
        """Take in a record: one that is decided here, or one that is put back."""
        number, listing = len(self.records), self.domain.listing
        self.records.append(record)
        self.words.append(tuple(words))
        self.rows[key] = row
        self.changes.append((key, Change(kind, subject, row)))
        self._remember(subject, BIT[kind], number, -1, None)
        for place, word in enumerate(words):
            self._remember(word.subject, 0, number, place, word)
            if listing is not None and isinstance(word, listing.message):
                a, b = (getattr(word, name) for name in listing.fields)
                self.lines.append((number, place, a, b))

    def _remember(self, subject: str, types: int, record: int, place: int, word: Message | None) -> None:
        before = self.remembered.get(subject)
        heard = before.types if before else self.seen.get(subject, Seen()).types
        self.remembered[subject] = Remembered(heard | types, record, place, word)

    def _record(self, message: Message, key: str, change: Any, words: Sequence[Message]) -> bytes:
        """From its id on, as docs/journal.md has it, without its checksum."""
        parts = [b',"id":"%s","row":"%s"' % (message.id.encode(), key.encode())]
        heard = None if self.records else self.heard
        parts.append(origin_of(self.domain, message, heard, self.rewriting))
        said = b",".join(map(encode_word, words))
        parts += (CHANGE, b"null" if change is None else msgspec.json.encode(change), WORDS, said, b"]")
        return b"".join(parts)

    def columns(self) -> list[Any]:
        """What `escribir` takes behind the book: the arrays of filas, esperas, recuerdo, diario and lista."""
        names = {key: number for number, key in enumerate(self.rows)}
        changed = {key: row for key, row in self.rows.items() if row is not self.known.get(key, NOTHING).row}
        changed |= {key: None for key, row in self.rows.items() if row is None and not self._version(key)}
        joined: list[tuple[str, int, bytes]] = []
        left: list[tuple[str, int]] = []
        for key, row in changed.items():
            if row is None:
                continue
            first, places = self.table.moved(self.known.get(key, NOTHING).row, row)
            joined += [(key, place.number, place.data) for place in places]
            if first is not None:
                left.append((key, first))
        remembered = list(self.remembered.items())
        return [
            list(changed),
            [self._version(key) for key in changed],
            [names[key] for key in changed],
            [row is not None and self.domain.finished(row) for row in changed.values()],
            [self.table.kind(row) for row in changed.values()],
            [self.table.data(row) for row in changed.values()],
            [self._shown(row) for row in changed.values()],
            *_columns(joined, 3),
            *_columns(left, 2),
            [subject_key(subject) for subject, _ in remembered],
            [one.types for _, one in remembered],
            [one.record for _, one in remembered],
            [one.place for _, one in remembered],
            self.records,
            self.heard,
            *_columns(self.lines, 4),
        ]

    def after(self) -> dict[str, Known[Row]]:
        """The rows as they are once this is committed."""
        after = dict(self.known)
        for key, row in self.rows.items():
            version = self._version(key)
            changed = row is not self.known.get(key, NOTHING).row or not version
            after[key] = Known(version + changed, row)
        return after

    def _version(self, key: str) -> int:
        return self.known.get(key, NOTHING).version

    def _shown(self, row: Row | None) -> bytes | None:
        shown = None if row is None else self.domain.shown(row)
        return None if shown is None else msgspec.json.encode(shown)


NOTHING: Known[Any] = Known()


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
