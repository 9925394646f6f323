"""A book that is written again, from messages or from the records of a backup.

Until the last segment of it has its name nothing is changed, whatever dies. What was there before stays in the folder,
beside the chain of headers, as a fenced writer's segments do.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any, Final, Protocol

import msgspec

from broker.messages import Message
from services.shared.clock import dated
from services.shared.heights import BookHeights
from services.shared.journal import position
from services.shared.journal import segments as journal
from services.shared.journal.disk import Disk
from services.shared.journal.packed import SUFFIX, Archive, take_back
from services.shared.journal.segments import Segment
from services.shared.records import has_checksum
from services.shared.store import Damaged, Fenced

# How a last segment is called until it is whole, before its epoch.
UNFINISHED: Final = "rebuilt-"
# Segments of this epoch, which no writer has, are records that were put back: a later one goes on behind them.
PUT_BACK: Final = 0
PART_BYTES: Final = 32 * 1024 * 1024


async def no_room(_: float) -> None:
    """How a book that is written again waits for room on a full disk: not at all. Raises OSError."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Book(Protocol):
    """A store that has read nothing."""

    disk: Disk
    heights: BookHeights

    async def begin(self, name: str, file: str | None = None) -> None: ...

    async def process_batch(self, batch: Sequence[Message]) -> Sequence[Any]: ...


async def write_again(book: Book, heights: BookHeights, batches: AsyncIterator[Sequence[Message]]) -> None:
    """See Store.begin_again: `book` decides it all, in the folder of the one whose place it takes."""
    disk = book.disk
    name, unfinished = _last_segment(disk)
    book.heights = heights
    try:
        disk.create(unfinished)
        await book.begin(name, unfinished)
        async for batch in batches:
            await book.process_batch(batch)
            await asyncio.sleep(0)
        _publish(disk, unfinished, name)
    except BaseException:
        give_up(disk)
        raise


class _Read(msgspec.Struct):
    """What is looked at in a record that is put back."""

    seq: int
    time: str
    generation: int = 0


async def put_back(
    disk: Disk,
    service: str,
    heights: BookHeights,
    now: Callable[[], str],
    records: AsyncIterator[Sequence[bytes]],
    told: int | None = None,
) -> None:
    """See Store.put_back: segments that lead nowhere until another one goes on behind them, as the next generation."""
    name, unfinished = _last_segment(disk)
    try:
        parts = _Parts(disk, service, heights.book)
        async for some in records:
            parts.add(some)
            await asyncio.sleep(0)
        await parts.end(now())
        known = (heights.book, heights.generation, heights.known(), tuple(heights.formerly))
        time = dated(now(), parts.time)
        last = Segment(name, parts.seq + 1, parts.name, parts.size, 0, time, *known)
        disk.create(unfinished)
        disk.append(unfinished, journal.header(service, last))
        await disk.sync(unfinished)
        if told is not None:
            # Before there is a book that it is of: a note that stands beside it never says too much.
            await disk.replace(position.TOLD, position.told(heights.said(told)))
        _publish(disk, unfinished, name)
    except BaseException:
        # Also when whoever sent it went away.
        give_up(disk)
        with contextlib.suppress(OSError, Damaged):
            _swept(disk, service)
        raise


class _Parts:
    """The segments of the records that are put back."""

    def __init__(self, disk: Disk, service: str, book: str) -> None:
        self._disk, self._service, self._book = disk, service, book
        self._number = _swept(disk, service)
        # The last record, and the segment that it is in: its name and bytes.
        self.seq, self.time = 0, ""
        self.name: str | None = None
        self.size = 0
        # The generation as which its records were written again; 0: as they were decided.
        self._again = 0
        self._full: list[str] = []

    def add(self, records: Sequence[bytes]) -> None:
        """Raises Damaged, OSError."""
        pending: list[bytes] = []
        for raw in records:
            read = self._checked(raw)
            if self.name is None or self.size > PART_BYTES or read.generation != self._again:
                self._append(pending)
                pending = []
                self._begin(read)
            self.seq, self.time = read.seq, read.time
            self.size += len(raw)
            pending.append(raw)
        self._append(pending)

    async def end(self, now: str) -> None:
        if self.name is None:
            self._begin(_Read(1, now))
        for name in self._full:
            await self._disk.sync(name)
            self._disk.release(name)

    def _checked(self, raw: bytes) -> _Read:
        try:
            read = msgspec.json.decode(raw, type=_Read)
        except msgspec.MsgspecError:
            read = None
        if read is None or not has_checksum(raw) or read.seq != self.seq + 1:
            raise Damaged(f"what came behind record {self.seq} is not record {self.seq + 1} as it was written")
        return read

    def _append(self, pending: Sequence[bytes]) -> None:
        if pending:
            assert self.name
            self._disk.append(self.name, b"".join(pending))

    def _begin(self, first: _Read) -> None:
        name = journal.segment_name(PUT_BACK, self._number)
        # What was written again says so in each record, and the header of its segment does.
        segment = Segment(
            name, self.seq + 1, self.name, self.size, 0, self.time or first.time, self._book, first.generation or 1
        )
        self._disk.create(name)
        line = journal.header(self._service, segment)
        self._disk.append(name, line)
        self._full.append(name)
        self._number += 1
        self.name, self.size, self._again = name, len(line), first.generation


def _last_segment(disk: Disk) -> tuple[str, str]:
    """The name of the segment that will be the last, and of its file until it is whole."""
    name = journal.segment_name(journal.latest_epoch(disk) + 1, 1)
    give_up(disk)
    return name, UNFINISHED + name.removeprefix("journal-")


def _publish(disk: Disk, unfinished: str, name: str) -> None:
    disk.release(unfinished)
    disk.release(mark := journal.mark_name(unfinished))
    if disk.exists(mark):
        disk.remove(mark)
    try:
        if disk.exists(name + SUFFIX):
            raise FileExistsError
        disk.publish(unfinished, name)
    except FileExistsError:
        raise Fenced(f"another process has begun epoch {int(name[8:16])} of this journal") from None


def _swept(disk: Disk, service: str) -> int:
    """Remove what was put back before and is no part of the journal. Returns the first free number."""
    chained = {segment.name for segment in journal.chain(Archive(disk), service)}
    last = 0
    for name in filter(_is_put_back, journal.segment_names(disk)):
        if name in chained:
            last = int(name[17:23])
        else:
            for file in filter(disk.exists, (name, name + SUFFIX)):
                disk.remove(file)
    return last + 1


def give_up(disk: Disk) -> None:
    """Take back what was written of a book that is not whole, and the room that it takes."""
    take_back(disk, (name for name in disk.names() if name.startswith(UNFINISHED)))


def drop_unfinished(disk: Disk, service: str, chained: Collection[str]) -> None:
    """Remove what was put back by a process that died before it was whole: nothing leads to it, neither this journal
    nor one that was here before."""
    names, files = journal.segment_names(disk), Archive(disk)
    left = {name for name in names if _is_put_back(name)} - set(chained)
    if not left:
        return
    with contextlib.suppress(OSError, Damaged):
        seen = set(chained)
        for name in itertools.filterfalse(_is_put_back, names):
            at: str | None = name
            while at is not None and at not in seen and files.exists(at):
                seen.add(at)
                segment = journal.read_header(files, service, at)
                at = segment.previous if segment else None
        take_back(disk, (file for name in left - seen for file in (name, name + SUFFIX)))


def _is_put_back(name: str) -> bool:
    return name.startswith(f"journal-{PUT_BACK:08d}-")
