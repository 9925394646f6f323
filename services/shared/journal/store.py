"""The store that needs no database: an append-only journal of JSON lines, and in memory what it comes to.

One process holds the lock and writes; any number follow, serve reads, and take over. A message id is remembered for
good: an integer for the purchase, and one that packs where the last word about it lies and which types were seen.
"""

from __future__ import annotations

import asyncio
import errno
import json
import re
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, Generic, TypeVar

import msgspec

from broker.messages import BIT, Message, encode_word, from_word
from services.shared.decision import Domain
from services.shared.journal import segments as journal
from services.shared.journal.disk import Disk
from services.shared.journal.list_index import Book
from services.shared.journal.public_list import Shelf
from services.shared.journal.row_codec import Rows
from services.shared.journal.segments import Line, Segment
from services.shared.journal.snapshot import read_snapshots, write_snapshot
from services.shared.store import Answer, Damaged, Fenced, StoreBroken

Row = TypeVar("Row", bound=msgspec.Struct)

# A place in the journal, and what was seen, in one integer: segment number | offset in bytes | types seen.
SEEN_BITS: Final = 11
OFFSET_BITS: Final = 32
SEEN: Final = (1 << SEEN_BITS) - 1
# A word about a purchase or an entry is shorter than this; it is read in one go.
WORD_BYTES: Final = 4096
UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
# After so much journal a snapshot shortens the next start to the reading of at most as much again.
SNAPSHOT_BYTES: Final = 32 * 1024 * 1024
# So much of the journal is read at a time for whoever asks for its records.
RECORDS_BYTES: Final = 256 * 1024
# How long to wait for room on a full disk before the next try.
FULL_SECONDS: Final = 0.5
# No room on the disk, in the quota, or under the limit that was set for one file (`prlimit --fsize`).
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What stands before the two parts of a record that are found again by their place.
CHANGE: Final = b',"change":'
WORDS: Final = b',"words":['


class Change(msgspec.Struct, Generic[Row], frozen=True):
    """What one record did, for whoever watches the store."""

    type: str
    about: str
    row: Row | None


class _Entry(msgspec.Struct, Generic[Row]):
    """One record: made by a decision, or read from the journal. Offsets are within its segment, in bytes."""

    about: str
    type: str
    key: str
    row: Row | None
    # Where the change of the row stands, if it has one, and whether it is all of a row that may leave memory.
    change_at: int | None
    whole: bool
    # Whom each word is about, where it stands, and the book's line for it.
    words: list[tuple[str, int, tuple[int, int] | None]]


@dataclass(slots=True)
class _Batch(Generic[Row]):
    """Decisions that are not on the disk yet, and that nobody can see."""

    first: int
    time: str
    lines: list[bytes] = field(default_factory=list)
    entries: list[_Entry[Row]] = field(default_factory=list)
    rows: dict[str, Row | None] = field(default_factory=dict)
    memory: dict[int, int] = field(default_factory=dict)
    words: dict[int, Message] = field(default_factory=dict)
    size: int = 0


class JsonStore(Generic[Row]):
    """The rows of one service in one folder. `load`, then `follow` until `lead`, then `once`."""

    def __init__(
        self,
        disk: Disk,
        domain: Domain[Row],
        now: Callable[[], str],
        *,
        snapshot_bytes: int = SNAPSHOT_BYTES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.disk = disk
        self.domain = domain
        self.now = now
        self.leads = False
        # The disk is full, and a batch waits for room.
        self.full = False
        # Bytes of torn ends that were cut off and kept aside by this process.
        self.torn_bytes = 0
        self.on_change: Callable[[Change[Row]], None] = lambda change: None
        self._sleep = sleep
        self._snapshot_bytes = snapshot_bytes
        self._codec = Rows(domain.rows)
        self._forget()

    def _forget(self) -> None:
        self.rows: dict[str, Row] = {}
        self.book = Book()
        self.shelf = Shelf()
        self.seq = 0
        # When the last record was written, as its writer's clock had it.
        self.time = ""
        self._memory: dict[int, int] = {}
        # What was touched since the last snapshot, for the next one.
        self._touched: dict[int, int] = {}
        self._segments: list[Segment] = []
        # The line that was read last, and found to be as it was written.
        self._checked = ("", 0, 0)
        self._end = 0
        self._since_snapshot = 0
        self._names: list[str] = []
        self._snapshot: str | None = None
        self._book_in_snapshot = 0

    # Reading

    def row(self, key: str) -> Row | None:
        row = self.rows.get(key)
        if row is not None:
            return row
        place = self.shelf.place(key) or self._memory.get(memory_key(key), 0) >> SEEN_BITS
        if not place:
            return None
        word = self.word(place)
        return None if "type" in word else self._codec.changed(None, word)

    def knows(self, about: str) -> bool:
        """Whether anything was ever decided about this purchase or entry."""
        return memory_key(about) in self._memory

    @property
    def segment(self) -> str | None:
        """The file that is written, or followed, now."""
        return self._segments[-1].name if self._segments else None

    def in_book(self, word: Mapping[str, Any]) -> bool:
        """Whether a word of the journal is one that makes a line of the book."""
        return self.domain.book is not None and word["type"] == self.domain.book.type

    def seq_at(self, place: int) -> int:
        """The sequence number of the record that this place is in. Raises Damaged."""
        name = self._segments[place >> OFFSET_BITS].name
        start, end = journal.line_around(self.disk, name, place & ((1 << OFFSET_BITS) - 1))
        seq: int = msgspec.json.decode(self.disk.read(name, start, end - start))["seq"]
        return seq

    def records(self, after: int) -> Iterator[bytes]:
        """The raw lines of the journal whose sequence number is above `after`, as far as they are on the disk."""
        while some := self.some_records(after, RECORDS_BYTES):
            yield from some
            after += len(some)

    def some_records(self, after: int, size_bytes: int) -> list[bytes]:
        """The next of these lines, no more than `size_bytes` of them unless one is longer; none at the end.

        Costs the same wherever they stand, and keeps nothing in memory. Raises Damaged, OSError.
        """
        number = bisect_right(self._segments, after + 1, key=lambda segment: segment.first) - 1
        if after >= self.seq or number < 0:
            return []
        segment = self._segments[number]
        last = number + 1 == len(self._segments)
        end = self._end if last else self._segments[number + 1].previous_end
        start = journal.place_of(self.disk, segment.name, segment.header_bytes, end, after + 1)
        return journal.whole_lines(self.disk, segment.name, start, end, size_bytes)[: self.seq - after]

    def word(self, place: int) -> dict[str, Any]:
        """What stands at a place of the journal: a word, or a row that left memory. Raises StoreBroken, Damaged."""
        segment = self._segments[place >> OFFSET_BITS]
        at = place & ((1 << OFFSET_BITS) - 1)
        raw = self.disk.read(segment.name, at, WORD_BYTES)
        if not (self._checked[0] == segment.name and self._checked[1] <= at < self._checked[2]):
            start, end = journal.line_around(self.disk, segment.name, at)
            self._checked = (segment.name, start, end)
        try:
            word: dict[str, Any] = json.JSONDecoder().raw_decode(raw.decode(errors="ignore"))[0]
        except ValueError as error:
            raise StoreBroken(f"{segment.name} no longer reads as it was written") from error
        return word

    # Following

    def load(self, *, to_the_end: bool = False) -> None:
        """Read the journal as far as it is surely on the disk (or `to_the_end`, see `follow`). Raises Damaged."""
        self._forget()
        segments = journal.chain(self.disk, self.domain.name)
        snapshot = read_snapshots(self.disk, segments)
        if snapshot is not None:
            self._memory = snapshot.memory
            self.book = snapshot.book
            self.shelf = snapshot.shelf
            self.rows = {key: self._codec.changed(None, row) for key, row in snapshot.rows.items()}
            self._segments = segments[: snapshot.segments]
            self.seq = segments[snapshot.segments - 1].first - 1
            self._end = segments[snapshot.segments - 1].header_bytes
            self.time = segments[snapshot.segments - 1].time
            self._snapshot = segments[snapshot.segments - 1].name
            self._book_in_snapshot = len(self.book)
        self.follow(to_the_end=to_the_end)

    def follow(self, *, to_the_end: bool = False) -> None:
        """Take in what was written since. `to_the_end`: also what may not be synced, up to a torn end.

        Raises Damaged. Starts over by itself when what it has read turns out to be a fenced writer's.
        """
        names = journal.segment_names(self.disk)
        if names != self._names:
            chain = journal.chain(self.disk, self.domain.name)
            if not self._continues(chain):
                self.load(to_the_end=to_the_end)
                return
            for segment in chain[len(self._segments) :]:
                if self._segments:
                    self._take_in(segment.previous_end)
                self._segments.append(segment)
                self.time = max(self.time, segment.time)
                self._end = segment.header_bytes
            # A segment without a header yet is looked at again.
            self._names = names if not names or (chain and chain[-1].name == names[-1]) else []
        if self._segments:
            last = self._segments[-1].name
            self._take_in(None if to_the_end else max(journal.synced(self.disk, last), self._end))

    def _continues(self, chain: list[Segment]) -> bool:
        known = len(self._segments)
        if [segment.name for segment in chain[:known]] != [segment.name for segment in self._segments]:
            return False
        return known == len(chain) or not known or chain[known].previous_end >= self._end

    def _take_in(self, end: int | None) -> None:
        segment, number = self._segments[-1], len(self._segments) - 1
        for line in journal.lines(self.disk, segment.name, self._end, end, self.seq):
            try:
                entry = self._entry(line)
            except (ValueError, KeyError, TypeError) as error:
                raise Damaged(f"{segment.name}: the record at byte {line.offset} makes no sense: {error}") from error
            self._since_snapshot += len(line.raw)
            self._remember(entry, number, self._memory)
            self._apply(entry, number)
            self.seq += 1
            self.time = line.record["time"]
            self._end = line.offset + len(line.raw)

    def _entry(self, line: Line) -> _Entry[Row]:
        record, raw = line.record, line.raw
        about, type_name = record["id"].rsplit(":", 1)
        row = self.row(record["row"])
        change_at, whole = None, False
        if record["change"] is not None:
            row = self._codec.changed(row, record["change"])
            change_at = line.offset + raw.index(CHANGE) + len(CHANGE)
            # A version before this one wrote no more of a sold token than had changed: that one stays in memory.
            whole = self.domain.finished(row) and self._codec.whole(record["change"])
        words = []
        at = line.offset + raw.rindex(WORDS) + len(WORDS)
        for word in record["words"]:
            words.append((word["compraId"] if "compraId" in word else word["altaId"], at, self._book_line(word)))
            at += len(msgspec.json.encode(word)) + 1
        return _Entry(about, type_name, record["row"], row, change_at, whole, words)

    def _book_line(self, word: dict[str, Any]) -> tuple[int, int] | None:
        return (word["usuarioId"], word["tokenId"]) if self.in_book(word) else None

    # Writing

    async def lead(self) -> bool:
        """Become the writer, if nobody else is: fence whoever was, then read to the end. Raises Damaged."""
        if not self.disk.lock():
            return False
        epoch = max((int(name[8:16]) for name in journal.segment_names(self.disk)), default=0) + 1
        name = journal.segment_name(epoch, 1)
        try:
            self.disk.create(name)
        except FileExistsError:
            self.disk.unlock()
            return False
        # Whoever wrote before sees the new file before it publishes: what it has said is all there to be read.
        self._names = []
        try:
            self.follow(to_the_end=True)
        except Damaged:
            # A journal that is refused stays as it was.
            self.disk.remove(name)
            self.disk.unlock()
            raise
        await self._write_again()
        await self._keep_torn_end()
        await self._begin(epoch, 1)
        self.leads = True
        return True

    async def _write_again(self) -> None:
        """Make sure of what the writer before did not see synced; from here on its words are repeated.

        It may be in the page cache only, and once a sync has failed no later one writes it to the disk.
        """
        if not self._segments:
            return
        name = self._segments[-1].name
        start = min(journal.synced(self.disk, name), self._end)
        try:
            self.disk.rewrite(name, start, self.disk.read(name, start, self._end - start))
            await self.disk.sync(name)
        except OSError as error:
            raise StoreBroken(f"cannot write {name} again: {error}") from error

    async def once(self, batch: Sequence[Message]) -> list[Answer]:
        """See Store.once."""
        if not self.leads:
            raise Fenced("only the writer decides, and somebody else has become it")
        pending: _Batch[Row] = _Batch(self.seq + 1, max(self.now(), self.time))
        answers = [self._decide(message, pending) for message in batch]
        try:
            await self._write(b"".join(pending.lines))
        except BaseException:
            # Nobody knows how much of it is on the disk: whoever goes on reads that first.
            self.leads = False
            raise
        self._check_epoch()
        if pending.lines:
            self._end += pending.size
            self._since_snapshot += pending.size
            self.disk.note(journal.mark_name(self._segments[-1].name), journal.mark(self._end))
            self.seq += len(pending.lines)
            self.time = pending.time
            self._memory.update(pending.memory)
            self._touched.update(pending.memory)
            for entry in pending.entries:
                self._apply(entry, len(self._segments) - 1)
            if self._since_snapshot >= self._snapshot_bytes:
                await self._rotate()
        return answers

    def check(self) -> None:
        """Raises Fenced if somebody else has become the writer. For whoever has not written for a while."""
        if self.leads:
            self._check_epoch()

    def _decide(self, message: Message, pending: _Batch[Row]) -> Answer:
        name = memory_key(message.about)
        known = pending.memory.get(name) or self._memory.get(name, 0)
        if known & BIT[message.type]:
            return Answer(self._last_words(name, known, pending), repeated=True)
        try:
            key = self.domain.key(message)
            old = pending.rows[key] if key in pending.rows else self.row(key)
            decision = self.domain.decide(old, message)
        except Exception as error:  # costs that one message, whatever it is
            return Answer(failure=f"{type(error).__name__}: {error}")
        entry = self._record(message, key, old, decision.row, decision.messages, pending)
        self._remember(entry, len(self._segments) - 1, pending.memory)
        pending.entries.append(entry)
        pending.rows[key] = decision.row
        pending.words.pop(name, None)
        for word in decision.messages:
            pending.words[memory_key(word.about)] = word
        return Answer(decision.messages)

    def _last_words(self, name: int, known: int, pending: _Batch[Row]) -> tuple[Message, ...]:
        if name in pending.memory:
            return (pending.words[name],) if name in pending.words else ()
        if not known >> SEEN_BITS:
            return ()
        word = self.word(known >> SEEN_BITS)
        return (from_word(word),) if "type" in word else ()

    def _record(
        self,
        message: Message,
        key: str,
        old: Row | None,
        new: Row | None,
        messages: Sequence[Message],
        pending: _Batch[Row],
    ) -> _Entry[Row]:
        """Write the line of a decision, and say where everything will stand in it."""
        change = self._change(old, new)
        body = b'{"seq":%d,"batch":%d,"time":"%s","id":"%s","row":"%s"' % (
            pending.first + len(pending.lines),
            pending.first,
            pending.time.encode(),
            message.id.encode(),
            key.encode(),
        )
        start = self._end + pending.size
        change_at = start + len(body) + len(CHANGE) if change is not None else None
        body += CHANGE + (msgspec.json.encode(change) if change is not None else b"null") + WORDS
        words, pieces, at = [], [], start + len(body)
        for word in messages:
            piece = encode_word(word)
            book = self.domain.book
            line = (word.usuario_id, word.token_id) if book and isinstance(word, book) else None  # type: ignore[attr-defined]
            words.append((word.about, at, line))
            pieces.append(piece)
            at += len(piece) + 1
        line_bytes = journal.seal(body + b",".join(pieces) + b"]")
        pending.lines.append(line_bytes)
        pending.size += len(line_bytes)
        whole = new is not None and change is not None and self.domain.finished(new)
        return _Entry(message.about, message.type, key, new, change_at, whole, words)

    def _change(self, old: Row | None, new: Row | None) -> dict[str, Any] | None:
        if new is None or new is old:
            return None
        change = self._codec.change(old, new)
        if change and self.domain.finished(new):
            # It leaves memory, so its record holds all of it; and who left a line that is empty now.
            return {**self._codec.change(None, new), **change}
        return change or None

    def _remember(self, entry: _Entry[Row], segment: int, memory: dict[int, int]) -> None:
        """Note what was seen, and where the last words lie now. A silent decision leaves nothing to repeat."""
        about = memory_key(entry.about)
        known = memory.get(about) or self._memory.get(about, 0)
        place = 0
        if entry.row is not None and entry.key == entry.about and self.domain.finished(entry.row):
            place = known >> SEEN_BITS if entry.change_at is None else (segment << OFFSET_BITS) | entry.change_at
        memory[about] = (place << SEEN_BITS) | (known & SEEN) | BIT[entry.type]
        for told, at, _ in entry.words:
            name = memory_key(told)
            seen = (memory.get(name) or self._memory.get(name, 0)) & SEEN
            memory[name] = (((segment << OFFSET_BITS) | at) << SEEN_BITS) | seen
        if memory is self._memory:
            for name in (about, *(memory_key(told) for told, _, _ in entry.words)):
                self._touched[name] = memory[name]

    def _apply(self, entry: _Entry[Row], segment: int) -> None:
        """Let everybody see what a record did, now that it is on the disk."""
        if entry.row is not None and entry.change_at is not None:
            if entry.whole:
                self.rows.pop(entry.key, None)
            else:
                self.rows[entry.key] = entry.row
            if (shown := self.domain.shown(entry.row)) is not None:
                place = (segment << OFFSET_BITS) | entry.change_at if entry.whole else 0
                self.shelf.put(int(entry.key), msgspec.json.encode(shown), place)
        for _, at, line in entry.words:
            if line is not None:
                self.book.add(*line, (segment << OFFSET_BITS) | at)
        self.on_change(Change(entry.type, entry.about, entry.row))

    async def _write(self, data: bytes) -> None:
        """Append and sync. A full disk is waited for; any other failure means that nothing can be believed."""
        name, whole = self._segments[-1].name, data
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
        if self.disk.exists(journal.segment_name(self._segments[-1].epoch + 1, 1)):
            self.leads = False
            raise Fenced(f"another process has begun epoch {self._segments[-1].epoch + 1} of this journal")

    async def _begin(self, epoch: int, part: int) -> None:
        """Write the header of a segment that was just created, and go on in it."""
        previous = self._segments[-1].name if self._segments else None
        time = max(self.now(), self.time)
        segment = Segment(journal.segment_name(epoch, part), self.seq + 1, previous, self._end, 0, time)
        line = journal.header(self.domain.name, segment)
        try:
            self.disk.append(segment.name, line)
            await self.disk.sync(segment.name)
            self.disk.note(journal.mark_name(segment.name), journal.mark(len(line)))
        except OSError as error:
            raise StoreBroken(f"cannot begin {segment.name}: {error}") from error
        if previous:
            self.disk.release(previous)
            self.disk.release(journal.mark_name(previous))
        self._end = len(line)
        self._segments.append(replace(segment, header_bytes=len(line)))

    async def _keep_torn_end(self) -> None:
        if not self._segments:
            return
        name = self._segments[-1].name
        torn = self.disk.read(name, self._end)
        if torn:
            self.torn_bytes += len(torn)
            await self.disk.replace(name.removesuffix(".jsonl") + ".torn", torn)

    async def _rotate(self) -> None:
        """Go on in a new segment, and write down, beside it, what all before it comes to."""
        last = self._segments[-1]
        part = int(last.name[17:23]) + 1
        name = journal.segment_name(last.epoch, part)
        try:
            self.disk.create(name)
        except OSError as error:
            if error.errno in NO_ROOM:
                return
            raise StoreBroken(f"cannot create {name}: {error}") from error
        await self._begin(last.epoch, part)
        try:
            await write_snapshot(
                self.disk,
                self._segments[-1],
                self._snapshot,
                {key: self._codec.change(None, row) for key, row in self.rows.items()},
                self._touched,
                self.book.since(self._book_in_snapshot),
                self.shelf.changes(),
            )
        except OSError:
            # Snapshots only save time: the next one, after as much again, holds what this one would have.
            self._since_snapshot = 0
            return
        self._snapshot, self._book_in_snapshot = name, len(self.book)
        self._touched, self._since_snapshot = {}, 0
        self.shelf.saved()


# It is asked several times for each message.
@lru_cache(maxsize=4096)
def memory_key(about: str) -> int:
    """A purchase's UUID as a number; for anything else a hash that no UUID will ever meet."""
    if UUID.fullmatch(about):
        return int(about.replace("-", ""), 16)
    return int.from_bytes(blake2b(about.encode(), digest_size=16).digest(), "big")
