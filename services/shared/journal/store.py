"""The store that needs no database: an append-only journal of JSON lines, and in memory what it comes to.

One process holds the lock and writes; any number follow, serve reads, and take over.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec
import structlog

from broker.heights import written
from broker.messages import BIT, Message, encode_word, from_word
from services.shared.decision import Domain
from services.shared.heights import BookHeights, Doubted
from services.shared.journal import segments as journal
from services.shared.journal.disk import LocalDisk
from services.shared.journal.generation import no_room, put_back, write_again
from services.shared.journal.json_file import View, keep_shown, view_of
from services.shared.journal.position import dedup_key, last_word_of
from services.shared.journal.reads import Reads
from services.shared.journal.rows import Entry
from services.shared.journal.untold import noted
from services.shared.journal.writer import FULL_SECONDS, Writer
from services.shared.metrics import Metrics
from services.shared.records import CHANGE, WORDS, origin_of, with_checksum
from services.shared.settings import ROOT, Settings
from services.shared.store import Answer, Damaged, Fenced

log = structlog.get_logger()
Row = TypeVar("Row", bound=msgspec.Struct)
# How often a follower looks for news and for a lock that is free: a takeover takes under a second.
FOLLOW_SECONDS: Final = 0.1
# A leader that has nothing to write still learns that it was replaced.
CHECK_SECONDS: Final = 1.0
# The file beside the lock that says where the process that leads answers.
WRITER: Final = "writer"
# No snapshot is made of a book that is written again before the next start.
NEVER: Final = 1 << 62


@dataclass(slots=True)
class Batch(Generic[Row]):
    """Decisions that are not on the disk yet, and that nobody can see."""

    first: int
    time: str
    lines: list[bytes] = field(default_factory=list)
    entries: list[Entry[Row]] = field(default_factory=list)
    rows: dict[str, Row | None] = field(default_factory=dict)
    dedup: dict[int, int] = field(default_factory=dict)
    words: dict[int, Message] = field(default_factory=dict)
    size: int = 0
    # What is known of the other books with this batch, as its first record has it, if that is news.
    heard: str = ""


class JsonStore(Writer[Row], Reads[Row]):
    """The rows of one service in one folder, behind the whole port `Store`."""

    # The readable file beside the journal, where the domain says that there is one.
    view: View | None = None
    # This book is being written again, as this generation of it: its records say so.
    rewriting = 0
    # Where this process answers, once it leads.
    _url = ""
    trouble = None
    opened = False

    async def open(self) -> None:
        self.load()
        self.opened = True
        log.info("journal read", records=self.seq, rows=len(self.rows))

    async def until_leading(self, url: str) -> None:
        waits = False
        while not await self.lead():
            if self.full and not waits:
                log.error("the disk is full, or may only be read: this process waits, and answers what is only read")
            waits = self.full
            await asyncio.sleep(FULL_SECONDS if waits else FOLLOW_SECONDS * random.uniform(0.5, 1))
            self.follow()
        await noted(self, self.seq)
        self._url = url
        await self._say_where()
        log.info("this process writes", segment=self.segment, torn_bytes=self.torn_bytes)

    async def tend(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            if self.view:
                tasks.create_task(keep_shown(self.view))
            tasks.create_task(self.packer.run())
            tasks.create_task(self.tell())
            while True:
                await asyncio.sleep(CHECK_SECONDS)
                self.check()
                self.room.tend()
                await self._say_where()

    async def _say_where(self) -> None:
        """Again whenever somebody else has: who was fenced may have noted its own address after us."""
        if self.leader_url() != self._url:
            with contextlib.suppress(OSError):
                await self.disk.replace(WRITER, self._url.encode())

    def leader_url(self) -> str | None:
        try:
            return self.disk.read(WRITER).decode()
        except (OSError, ValueError):
            return None

    async def close(self) -> None:
        if self.leads and self.view:
            with contextlib.suppress(OSError, Damaged):
                await self.view.write()
        self.disk.close()

    async def begin_again(self, heights: BookHeights, batches: AsyncIterator[Sequence[Message]]) -> None:
        book = JsonStore(self.disk, self.domain, self.now, snapshot_bytes=NEVER, sleep=no_room)
        book.rewriting = heights.generation
        await write_again(book, heights, batches)

    async def put_back(
        self, heights: BookHeights, records: AsyncIterator[Sequence[bytes]], told: int | None = None
    ) -> None:
        await put_back(self.disk, self.domain.name, heights, self.now, records, told)

    async def process_batch(self, batch: Sequence[Message]) -> list[Answer]:
        """See BatchStore."""
        if not self.leads:
            raise Fenced("only the writer decides, and somebody else has become it")
        try:
            known = self.heights.hear([message.heights for message in batch], self.seq)
        except Doubted:
            # Whoever was replaced meanwhile only thinks that its book ends where it stopped.
            self._check_epoch()
            raise
        pending: Batch[Row] = Batch(self.seq + 1, self._date())
        pending.heard = written(known.items())
        answers = [self._decide(message, pending) for message in batch]
        try:
            await self._write(b"".join(pending.lines))
        except BaseException:
            # Nobody knows how much of it is on the disk: whoever goes on reads that first.
            self.leads = False
            raise
        self._check_epoch()
        self.heights.heard = known
        if pending.lines:
            self._end += pending.size
            self._since_snapshot += pending.size
            self.disk.note(journal.mark_name(self._segments[-1].name), journal.mark(self._end))
            self.seq += len(pending.lines)
            self.time = pending.time
            self._dedup.update(pending.dedup)
            self._touched.update(pending.dedup)
            for entry in pending.entries:
                self._apply(entry, len(self._segments) - 1)
            if self._since_snapshot >= self._snapshot_bytes:
                await self._rotate()
        return answers

    def _decide(self, message: Message, pending: Batch[Row]) -> Answer:
        name = dedup_key(message.subject)
        known = pending.dedup.get(name) or self._dedup.get(name, 0)
        if known & BIT[message.type]:
            try:
                return Answer(self._last_words(name, known, pending), repeated=True)
            except Exception as error:
                # Where a start that has a snapshot does not look. It costs those who ask for this word.
                log.error("what was said cannot be read again", message=message.id, error=str(error))
                return Answer(failure=f"{type(error).__name__}: {error}", repeated=True)
        if self.heights.stale(message.heights):
            return Answer()
        try:
            key = self.domain.key(message)
            old = pending.rows[key] if key in pending.rows else self.find(key)
            decision = self.domain.decide(old, message)
        except Exception as error:  # costs that one message, whatever it is
            return Answer(failure=f"{type(error).__name__}: {error}")
        entry = self._record(message, key, old, decision.row, decision.messages, pending)
        self._remember(entry, len(self._segments) - 1, pending.dedup)
        pending.entries.append(entry)
        pending.rows[key] = decision.row
        pending.words.pop(name, None)
        for word in decision.messages:
            pending.words[dedup_key(word.subject)] = word
        return Answer(decision.messages, row=decision.row)

    def _last_words(self, name: int, known: int, pending: Batch[Row]) -> tuple[Message, ...]:
        if name in pending.dedup:
            return (pending.words[name],) if name in pending.words else ()
        if not (at := last_word_of(known)) or "type" not in (word := self.word(at)):
            return ()
        # Said again, it has the number that it had first.
        return (from_word(word).said(self.heights.said(self.seq_at(at), pending.heard)),)

    def _record(
        self,
        message: Message,
        key: str,
        old: Row | None,
        new: Row | None,
        messages: Sequence[Message],
        pending: Batch[Row],
    ) -> Entry[Row]:
        """Write the line of a decision, and say where everything will stand in it."""
        change = self._codec.recorded(old, new, self.domain.finished)
        body = b'{"seq":%d,"batch":%d,"time":"%s","id":"%s","row":"%s"' % (
            pending.first + len(pending.lines),
            pending.first,
            pending.time.encode(),
            message.id.encode(),
            key.encode(),
        )
        news = not pending.lines and pending.heard != self.heights.known()
        body += origin_of(self.domain, message, pending.heard if news else None, self.rewriting)
        start, listing = self._end + pending.size, self.domain.listing
        change_at = start + len(body) + len(CHANGE) if change is not None else None
        body += CHANGE + (msgspec.json.encode(change) if change is not None else b"null") + WORDS
        words, pieces, at = [], [], start + len(body)
        heights = self.heights.said(pending.first + len(pending.lines), pending.heard)
        for word in messages:
            piece = encode_word(word.said(heights))
            line = None
            if listing is not None and isinstance(word, listing.message):
                line = tuple(getattr(word, name) for name in listing.fields)
            words.append((word.subject, at, line))
            pieces.append(piece)
            at += len(piece) + 1
        line_bytes = with_checksum(body + b",".join(pieces) + b"]")
        pending.lines.append(line_bytes)
        pending.size += len(line_bytes)
        whole = new is not None and change is not None and self.domain.finished(new)
        return Entry(message.subject, message.type, key, new, change_at, whole, words)


class MeasuredDisk(LocalDisk):
    """A disk whose syncs are timed."""

    def __init__(self, folder: Path, metrics: Metrics) -> None:
        super().__init__(folder)
        self._seconds = metrics.sync

    async def sync(self, name: str) -> None:
        began = time.perf_counter()
        try:
            await super().sync(name)
        finally:
            self._seconds.observe(time.perf_counter() - began)


def open_json_store(
    domain: Domain[Any],
    settings: Settings,
    metrics: Metrics,
    now: Callable[[], str],
    *,
    on: type[MeasuredDisk] = MeasuredDisk,
    kind: type[JsonStore[Any]] = JsonStore,
) -> JsonStore[Any]:
    """The store of a running service: in ZOCO_DATA, with its readable file. Raises OSError."""
    disk = on(settings.data or ROOT / ".zoco" / domain.name, metrics)
    store = kind(disk, domain, now, snapshot_bytes=settings.snapshot_bytes)
    store.view = view_of(store, disk.folder / f"{domain.name}.json")
    store.room.reserve = settings.disk_reserve
    metrics.torn.set_function(lambda: store.torn_bytes)
    return store
