"""Whose word a record heard, and how far the books were heard of by each other: none of them ends before that."""

from __future__ import annotations

from collections.abc import Mapping

from loadgen.audit.books import Journal, Record
from loadgen.audit.findings import NOBODY, Findings, Word, subject
from loadgen.audit.headers import HEIGHT
from loadgen.audit.text import Text
from loadgen.audit.verdict import UNSET, Verdict


def hear(findings: Findings, by: str, record: Record, place: int) -> None:
    """Take in whose record its message came from, and what was known of the others."""
    if record.origin:
        _take_in(findings, by, record, place, "from", record.origin)
    for height in record.heard.split(" ") if record.heard else ():
        _take_in(findings, by, record, place, "heard", height)


def _take_in(findings: Findings, by: str, record: Record, place: int, field: str, height: str) -> None:
    found = HEIGHT.fullmatch(height)
    if found is None:
        why = "this is no record of a book"
        findings.breach(7, subject(record.id), why, by, place, field, height)
        return
    heard, seq = findings.verdict.heard, int(found[4])
    book = found[1], found[2], found[3], found[5] or ""
    if book not in heard or heard[book][0] < seq:
        heard[book] = seq, by, place


def came_from(findings: Findings, service: str, record: Record, place: int, word: Word) -> None:
    """Promise 7: whose record a message came from is where it was said, or a later one that said it again. Records that
    were written again have other numbers, and so has the book of one that was."""
    said = HEIGHT.fullmatch(record.origin)
    if record.generation or (record.origin and said is None):
        # One that is no record's is named where it is heard.
        return
    if said is None:
        if findings.verdict.alone and word.by != NOBODY:
            why = "it does not say whose record it heard"
            findings.breach(7, subject(record.id), why, service, place, "from", UNSET, f"{word.by}/…/{word.seq}")
        return
    by, book, generation, seq = said[1], said[2], int(said[3]), int(said[4])
    identity = findings.journals[by].identity
    other = identity is not None and identity[1] == generation and (book != identity[0] or seq < word.seq)
    if by != word.by or other:
        due = f"{word.by}/…/{word.seq}" if word.by != NOBODY else UNSET
        why = "that is not whose record said this"
        findings.breach(7, subject(record.id), why, service, place, "from", record.origin, due)


def none_ends_before(verdict: Verdict, journals: Mapping[str, Journal]) -> None:
    """Promise 4: a record that somebody has heard of was on the disk, and still is. Of a book that was lost and written
    again, or put back, another generation was heard of."""
    for service, journal in journals.items():
        if verdict.cut:
            continue
        if journal.identity is None:
            if any(named[0] == service for named in verdict.heard):
                says = "nobody says which book of {service} this is: whether it ends too early is not known"
                verdict.in_part(4, Text(says, service))
            continue
        book, generation = journal.identity
        this = service, book, str(generation)
        heard = [(height, named[3]) for named, height in verdict.heard.items() if named[:3] == this]
        (seq, by, place), _ = max(heard, default=((0, "", 0), ""))
        if seq > (last := verdict.work.records[service]):
            why = "others have heard of it, and the book ends before it: it is an older copy, or lost its end"
            verdict.breach(4, Text("record {seq} of {service}", seq, service), why, book=by, field="heard",
                           where=journals[by].where(place), stands=seq, rules=last)  # fmt: skip
        for (seq, by, place), branch in heard:
            if seq <= last and branch and (due := journal.branch(seq)) not in ("", branch):
                why = "others have heard of another record with this number: an older copy of the book went on"
                verdict.breach(4, Text("record {seq} of {service}", seq, service), why, book=by, field="heard",
                               where=journals[by].where(place), stands=branch, rules=due)  # fmt: skip
