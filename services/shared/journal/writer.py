"""Writing a journal: becoming the one who does, appending and syncing, a full disk, new segments, snapshots."""

from __future__ import annotations

import asyncio
import errno
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeVar

import msgspec
import structlog

from services.shared.clock import dated
from services.shared.decision import Domain
from services.shared.journal import segments as journal
from services.shared.journal.disk import Disk
from services.shared.journal.generation import drop_unfinished
from services.shared.journal.packed import create_segment, take_back
from services.shared.journal.packer import Packer
from services.shared.journal.position import MAX_SEGMENT_BYTES, MAX_SEGMENTS
from services.shared.journal.recovery import Follower
from services.shared.journal.segments import Segment
from services.shared.journal.snapshot import packed_rows, write_snapshot
from services.shared.room import Room
from services.shared.store import NO_ROOM, Damaged, Fenced, StoreBroken

log = structlog.get_logger()
Row = TypeVar("Row", bound=msgspec.Struct)
# After so much journal a snapshot shortens the next start to the reading of at most as much again.
SNAPSHOT_BYTES: Final = 32 * 1024 * 1024
# How long to wait for room on a full disk before the next try.
FULL_SECONDS: Final = 0.5
# A file that is written anew, or a book that is written again, has such a name until it is whole: what a process left
# that died on the way is removed by the next one.
UNFINISHED: Final = re.compile(r"\..+\.(?:\d+|new)|rebuilt-.+")


class Writer(Follower[Row]):
    """Rows whose journal this process may write, once it leads. One at a time holds the folder's lock and leads."""

    def __init__(
        self,
        disk: Disk,
        domain: Domain[Row],
        now: Callable[[], str],
        *,
        snapshot_bytes: int = SNAPSHOT_BYTES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        new_identity: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        # The disk is full, and a batch waits for room, or the whole process does.
        self.full = False
        # Bytes of torn ends that were cut off and kept aside by this process.
        self.torn_bytes = 0
        self.now = now
        self._sleep = sleep
        self._new_identity = new_identity
        self._snapshot_bytes = snapshot_bytes
        self.packer = Packer(disk, lambda: self._segments, self.check, sleep, snapshot_bytes)
        self.room = Room(disk.space, self._written, lambda: self.packer.share)
        super().__init__(disk, domain)

    def _written(self) -> int:
        return sum(segment.previous_end for segment in self._segments) + self._end

    @property
    def segment(self) -> str | None:
        """The file that is written, or followed, now."""
        return self._segments[-1].name if self._segments else None

    async def lead(self) -> bool:
        """Become the writer, if nobody else is: fence whoever was, then read to the end.

        False, too, while there is no room to begin (`full`): nothing is left then. Raises Damaged, Fenced, StoreBroken.
        """
        if not self.disk.lock():
            self.full = False
            return False
        names = journal.segment_names(self.disk)
        epoch = journal.latest_epoch(self.disk) + 1
        name = journal.segment_name(epoch, 1)
        try:
            self._expect_first(names)
            if epoch > journal.MAX_EPOCH:
                raise StoreBroken(f"epoch {journal.MAX_EPOCH:,} was the last one that a segment can be named after")
            create_segment(self.disk, name)
        except (OSError, StoreBroken) as error:
            self.disk.unlock()
            return not isinstance(error, FileExistsError) and self._waits(error)
        syncing = False
        try:
            # Whoever wrote before sees the new file before it publishes: what it has said is all there to be read.
            self._names = []
            self.follow(to_the_end=True)
            self._expect_place()
            syncing = True
            await self._write_again()
            self.torn_bytes += await _kept_aside(self.disk, self.segment, self._end)
            await self.begin(name)
        except (OSError, Damaged, Fenced, StoreBroken) as error:
            # A journal that is refused, or finds no room, stays as it was. But whoever wrote before stays fenced where
            # a sync failed here: that is not told to it, and what it wrote is lost.
            if not (syncing and isinstance(error, StoreBroken)):
                _give_up(self.disk, name)
            self.disk.unlock()
            return self._waits(error)
        self.full = False
        take_back(self.disk, filter(UNFINISHED.fullmatch, self.disk.names()))
        drop_unfinished(self.disk, self.domain.name, [segment.name for segment in self._segments])
        return True

    def _waits(self, error: Exception) -> bool:
        """Not leading: for want of room, or on a volume that may only be read, until that is mended. Raises others."""
        if not isinstance(error, OSError) or error.errno not in (*NO_ROOM, errno.EROFS):
            raise error
        self.full = True
        return False

    def _expect_place(self) -> None:
        if len(self._segments) >= MAX_SEGMENTS:
            raise StoreBroken(
                f"no more than {MAX_SEGMENTS:,} segments can be told apart: set ZOCO_SNAPSHOT_BYTES higher"
            )

    async def _write_again(self) -> None:
        if self._segments:
            await _made_sure_of(self.disk, self._segments[-1].name, self._end)

    def _date(self) -> str:
        """When a record or a segment that is written now is dated."""
        now = self.now()
        if (time := dated(now, self.time)) < self.time:
            log.error("a clock was far ahead: what it dated stays as it is", last_record=self.time, now=now)
        return time

    def check(self) -> None:
        """Raises Fenced if somebody else has become the writer. For whoever has not written for a while."""
        if self.leads:
            self._check_epoch()
        self.disk.let_go()

    async def _write(self, data: bytes) -> None:
        """Append and sync. A full disk is waited for; any other failure means that nothing can be believed."""
        name, whole = self._segments[-1].name, data
        if self._end + len(data) > MAX_SEGMENT_BYTES:
            raise StoreBroken(f"{name} has no place left that can be pointed at: the next start begins a segment")
        while data:
            try:
                self.disk.append(name, data)
                break
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise StoreBroken(f"cannot write {name}: {error}") from error
                self.full = True
            # What found room stays, as another process may have read it by now: the rest goes behind it.
            data = whole[self.disk.size(name) - self._end :]
            self._check_epoch()
            await self._sleep(FULL_SECONDS)
        self.full = False
        if whole:
            try:
                await self.disk.sync(name)
            except OSError as error:
                raise StoreBroken(f"cannot sync {name}: {error}") from error

    def _check_epoch(self) -> None:
        """Raises Fenced, and StoreBroken if what is written here is not what the next start will read."""
        last = self._segments[-1]
        try:
            # Not the next epoch alone: whoever began that may have given it up when another one was behind it already.
            newest = journal.latest_epoch(self.disk)
            ours = self.disk.is_ours(last.name)
        except OSError as error:
            self.leads = False
            raise StoreBroken(f"cannot see whether {last.name} is still written here: {error}") from error
        if newest > last.epoch:
            self.leads = False
            raise Fenced(f"another process has begun epoch {newest} of this journal")
        if not ours:
            self.leads = False
            raise StoreBroken(f"{last.name} was deleted or replaced while it was written: nothing more is sold from it")

    async def begin(self, name: str, file: str | None = None) -> None:
        """Write the header of a segment that was just created (as `file`, where it gets its name later), and go on in
        it. Without room raises OSError."""
        self._expect_place()
        file = file or name
        previous = self._segments[-1].name if self._segments else None
        time = self._date()
        heights = self.heights
        if not heights.book:
            heights.book, heights.generation = self._new_identity(), 1
        known = (heights.book, heights.generation, heights.known(), tuple(heights.formerly))
        segment = Segment(name, self.seq + 1, previous, self._end, 0, time, *known)
        line = journal.header(self.domain.name, segment)
        try:
            self.disk.append(file, line)
            await self.disk.sync(file)
            self.disk.note(journal.mark_name(file), journal.mark(len(line)))
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            raise StoreBroken(f"cannot begin {file}: {error}") from error
        if previous:
            self.disk.release(previous)
            self.disk.release(journal.mark_name(previous))
        # A clock that was far ahead was put right before this, or is only now: neither is waited for.
        self._end, self.time = len(line), min(self.time or time, time)
        self._segments.append(replace(segment, name=file, header_bytes=len(line)))
        heights.begins(heights.book, heights.generation, segment.first, segment.branch)
        self.leads = True

    async def _rotate(self) -> None:
        """Go on in a new segment, and write down, beside it, what all before it comes to."""
        last = self._segments[-1]
        part = int(last.name[17:23]) + 1
        if part > journal.MAX_PART:
            raise StoreBroken(
                f"{last.name} was the last part that this epoch has a name for: the next start begins one"
            )
        name = journal.segment_name(last.epoch, part)
        try:
            create_segment(self.disk, name)
            await self.begin(name)
        except OSError as error:
            _give_up(self.disk, name)
            if error.errno in NO_ROOM:
                return
            raise StoreBroken(f"cannot create {name}: {error}") from error
        try:
            await write_snapshot(
                self.disk,
                self._segments[-1],
                self._snapshot,
                await packed_rows(self.rows, self._codec.text),
                self._touched_before | self._touched,
                self.list_index.since(self._lines_in_snapshot),
                self.public_rows.changes(),
            )
        except OSError:
            # Snapshots only save time: the next one, after as much again, holds what this one would have.
            self._since_snapshot = 0
            return
        self._snapshot, self._lines_in_snapshot = name, len(self.list_index)
        self._touched, self._touched_before, self._since_snapshot = {}, {}, 0
        self.public_rows.saved()


async def _made_sure_of(disk: Disk, name: str, end: int) -> None:
    """Make sure of what the writer before did not see synced; from here on its words are repeated.

    It may be in the page cache only, and once a sync has failed no later one writes it to the disk.
    """
    start = min(journal.synced(disk, name), end)
    try:
        disk.rewrite(name, start, disk.read(name, start, end - start))
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise StoreBroken(f"cannot write {name} again: {error}") from error
    try:
        await disk.sync(name)
    except OSError as error:
        raise StoreBroken(f"cannot sync {name} again: {error}") from error


async def _kept_aside(disk: Disk, name: str | None, end: int) -> int:
    """How many bytes of a torn end were put beside the segment."""
    torn = disk.read(name, end) if name else b""
    if name and torn:
        await disk.replace(name.removesuffix(".jsonl") + ".torn", torn)
    return len(torn)


def _give_up(disk: Disk, name: str) -> None:
    """Take back a segment that nobody has written a record in."""
    take_back(disk, (journal.mark_name(name), name))
