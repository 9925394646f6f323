"""How far the books were heard of by each other: none of them ends before that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from loadgen.audit.books import Journal, Record
from loadgen.audit.text import Text
from loadgen.audit.verdict import Heard, Verdict

# `service/book/generation/seq`, and perhaps more of it.
PARTS: Final = 4


def hear(heard: Heard, by: str, record: Record, place: int) -> None:
    """Take in whose record its message came from, and what was known of the others."""
    heights = record.heard.split() if record.heard else []
    for height in (record.origin, *heights) if record.origin else heights:
        parts = height.split("/")
        if len(parts) < PARTS or not parts[3].isdecimal():
            continue
        book, seq = (parts[0], parts[1], parts[2]), int(parts[3])
        if book not in heard or heard[book][0] < seq:
            heard[book] = seq, by, place


def none_ends_before(verdict: Verdict, journals: Mapping[str, Journal]) -> None:
    """Promise 4: a record that somebody has heard of was on the disk, and still is. Of a book that was lost and written
    again, or put back, another generation was heard of."""
    for service, journal in journals.items():
        if journal.identity is None or verdict.cut:
            # Nobody says which book it is, or its end was cut off.
            continue
        book, generation = journal.identity
        seq, by, place = verdict.heard.get((service, book, str(generation)), (0, "", 0))
        if seq > (last := verdict.work.records[service]):
            why = "others have heard of it, and the book ends before it: it is an older copy, or lost its end"
            verdict.breach(4, Text("record {seq} of {service}", seq, service), why, book=by, field="heard",
                           where=journals[by].where(place), stands=seq, rules=last)  # fmt: skip
