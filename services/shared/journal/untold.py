"""Words that a process decided and died without telling: whoever leads next says them.

What came by HTTP no message asks for again; nor, while the queues are never empty, does anybody ask for what was to be
said of others, as of who waits in a line. How far all is told is noted beside the journal, unsynced: where the note is
not of this book, or there is none, nothing is said; one that is older than it might be has words said twice, which
count once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final, Protocol

import msgspec
import structlog

from broker.heights import sender
from broker.messages import Message, from_word
from services.shared.heights import BookHeights
from services.shared.journal.disk import Disk
from services.shared.journal.position import TOLD, told
from services.shared.records import has_checksum
from services.shared.seed import is_seed

log = structlog.get_logger()
# After a disk that took no note.
AGAIN_SECONDS: Final = 0.5
# So much of the journal is read in one go: it takes a millisecond or two.
STRETCH_BYTES: Final = 64 * 1024
# While the broker is away compras accepts 100,000. A note of before more than this was left by a version that wrote
# none afterwards.
MOST_RECORDS: Final = 200_000


class Book(Protocol):
    """A store that leads."""

    disk: Disk
    heights: BookHeights

    def some_records(self, after: int, size_bytes: int) -> Sequence[bytes]: ...


class Led(Book, Protocol):
    """… and looks whether it still does."""

    def check(self) -> None: ...


async def noted(book: Led, end: int) -> None:
    """Before the first record behind `end` is decided: where nothing is noted of this book, all so far is told. From
    then on a note is there, after a power cut, too; it may say less than it might, and never nothing. Waits for the
    disk. Raises Fenced, StoreBroken.
    """
    last, waits = _told(book), False
    # One of more than there is was copied behind the segments: it would hide what comes next until they are as long.
    while last is None or not 0 <= end - last <= MOST_RECORDS:
        try:
            await book.disk.replace(TOLD, told(book.heights.said(end)))
        except OSError as error:
            if not waits:
                log.error("the disk takes no note: this process waits", error=str(error))
            waits = True
            await asyncio.sleep(AGAIN_SECONDS)
            book.check()
        else:
            last = end


def told_upto(book: Book, end: int) -> int:
    """Of the records up to `end`, up to which one all is told."""
    last = _told(book)
    return end if last is None or not 0 <= end - last <= MOST_RECORDS else last


async def untold(book: Book, end: int) -> AsyncIterator[Sequence[Message]]:
    """What the records up to `end` have said and the broker may not have: it has it when more is asked for."""
    last = _told(book)
    if last is None:
        return
    while last < end and (records := book.some_records(last, STRETCH_BYTES)[: end - last]):
        words: list[Message] = []
        for raw in records:
            last += 1
            said = map(from_word, msgspec.json.decode(raw)["words"])
            words += [word.said(book.heights.said(last)) for word in said if not is_seed(word.subject)]
        yield words
        with suppress(OSError):
            book.disk.note(TOLD, told(book.heights.said(last)))


def _told(book: Book) -> int | None:
    """Of which record the last note is; None where nothing is noted of this book."""
    try:
        raw = book.disk.read(TOLD)
    except OSError:
        return None
    noted = sender(msgspec.json.decode(raw)["told"]) if has_checksum(raw) else None
    own = book.heights.service, book.heights.book, book.heights.generation
    return noted[1].seq if noted and (noted[0], *noted[1][:2]) == own else None
