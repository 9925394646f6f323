"""What those who decide again share: which messages there are, and how a record that is wrong becomes a breach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from loadgen.audit.books import Journal, Record
from loadgen.audit.compare import ROWS, differences
from loadgen.audit.model import CONSUMERS, PRODUCERS, Impossible
from loadgen.audit.text import Text
from loadgen.audit.verdict import UNSET, Verdict

SEED: Final = "semilla:"
# A bit for each type of message.
BITS: Final = {kind: 1 << number for number, kind in enumerate(CONSUMERS)}
# What a value raises that is of another kind than the format has.
NONSENSE: Final = (KeyError, TypeError, ValueError, AttributeError, msgspec.MsgspecError)

Row = dict[str, Any]
Message = Mapping[str, Any]
# Who says what comes by HTTP, or by a seed.
NOBODY: Final = ""


class Word(NamedTuple):
    """A message, and which record of which service said it first."""

    message: Message
    by: str = NOBODY
    seq: int = 0


class Findings:
    """Whoever reads these journals says here what is wrong, and what was decided again without a fault."""

    def __init__(self, journals: Mapping[str, Journal], verdict: Verdict) -> None:
        self.journals, self.verdict = journals, verdict

    def breach(  # noqa: PLR0913, PLR0917 - what each says, side by side
        self, promise: int, about: str, why: str, book: str, place: int | None, field: str, stands: Any = UNSET,
        rules: Any = UNSET,
    ) -> None:  # fmt: skip
        """`place` is where it stands in the journal of `book`; None: in no record."""
        where = partial(self.journals[book].where, place) if place is not None else ""
        self.verdict.breach(promise, about, why, book=book, where=where, field=field, stands=stands, rules=rules)

    def nonsense(self, service: str, record: Record, place: int, error: Exception) -> None:
        """A value of another kind than the format has: nothing can be decided by this record."""
        self.breach(7, subject(record.id), "this record makes no sense", service, place, "record", type(error).__name__)

    def of_row(self, service: str, record: Record, place: int, due: str) -> None:
        """Whether a record is about the row that its message is about."""
        if record.row != due:
            why = "this record is about another row"
            self.breach(ROWS[service], subject(record.id), why, service, place, "row", record.row, due)

    def impossible(self, service: str, record: Record, place: int, error: Impossible, promise: int = 6) -> None:
        why = Text("no correct shop acts on this: {error}", error)
        self.breach(promise, subject(record.id), why, service, place, "id", record.id)

    def again(self, service: str, record: Record, place: int) -> None:
        self.verdict.doubled += 1
        self.breach(9, subject(record.id), "it was acted on before", service, place, "id", record.id)

    def right(self, change: Row, words: list[Row]) -> None:
        """A record did what the rules say."""
        work = self.verdict.work
        work.fields += len(change) + sum(map(len, words))
        for word in words:
            if "motivo" in word:
                work.reasons[word["motivo"]] += 1

    def wrong(self, service: str, record: Record, place: int, got: Row, change: Row, words: list[Row]) -> None:
        """A record did `got` and said its words, where the rules say `change` and `words`."""
        for promise, field, stands, rules in differences(service, got, change, record.words, words):
            self.breach(promise, subject(record.id), "the record does something else than its message", service, place,
                        field, stands, rules)  # fmt: skip


def subject(id_: str) -> str:
    """The purchase or the entry that a message's id is about."""
    return id_.rpartition(":")[0]


def said(service: str, word: Message) -> tuple[str, str]:
    """What a message is about, and its type; nothing where it is none that this service may say."""
    kind, about = word.get("type"), word.get("compraId") or word.get("altaId")
    if isinstance(kind, str) and isinstance(about, str) and service in PRODUCERS.get(kind, ()):
        return about, kind
    return "", ""


def said_ever(journals: Mapping[str, Journal]) -> Iterator[int]:
    """Of all messages in these journals, a number each."""
    for service, journal in journals.items():
        for _, record in journal.sayings():
            for word in record.words:
                about, kind = said(service, word)
                if kind:
                    yield hash(f"{about}:{kind}")
