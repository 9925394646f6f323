"""What a journal comes to, in memory: rows, dedup index, two lists. And reading what is on the disk only."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

from broker.messages import BIT
from services.shared.decision import Domain
from services.shared.heights import BookHeights
from services.shared.journal import segments as journal
from services.shared.journal.disk import Disk, Files
from services.shared.journal.list_index import ListIndex
from services.shared.journal.packed import Archive
from services.shared.journal.position import (
    NOWHERE,
    Position,
    dedup_entry,
    dedup_key,
    last_word_of,
    position,
    segment_and_offset,
)
from services.shared.journal.public_list import PublicList
from services.shared.journal.segments import Segment
from services.shared.records import RowCodec
from services.shared.store import Change, StoreBroken

Row = TypeVar("Row", bound=msgspec.Struct)
# A word about a purchase or an entry is shorter than this; it is read in one go.
WORD_BYTES: Final = 4096


class Entry(msgspec.Struct, Generic[Row]):
    """One record: made by a decision, or read from the journal. Offsets are within its segment, in bytes."""

    subject: str
    type: str
    key: str
    row: Row | None
    # Where the change of the row stands, if it has one, and whether it is all of a row that may leave memory.
    change_at: int | None
    whole: bool
    # Whom each word is about, where it stands, and its fields in the list, if it is a line of it.
    words: list[tuple[str, int, tuple[int, ...] | None]]


class Recorded(Generic[Row]):
    """The rows of one service, as its records have made them."""

    # Whether this process writes them.
    leads = False

    def __init__(self, disk: Disk, domain: Domain[Row]) -> None:
        self.disk = disk
        self.archive = Archive(disk)
        self.domain = domain
        self._codec = RowCodec(domain.rows)
        self._watchers: list[Callable[[Change[Row]], None]] = []
        self._forget()

    def _forget(self) -> None:
        self.rows: dict[str, Row] = {}
        # How many of them are of each class.
        self._kinds: Counter[type[Any]] = Counter()
        self.list_index = ListIndex()
        self.public_rows = PublicList()
        self.seq = 0
        self.time = ""
        self.heights = BookHeights(self.domain.name)
        self._dedup: dict[int, int] = {}
        # What was touched since the last snapshot, for the next one: in this segment, and before it.
        self._touched: dict[int, int] = {}
        self._touched_before: dict[int, int] = {}
        self._segments: list[Segment] = []
        # Where the last record ends, in bytes of the last segment.
        self._end = 0
        # The line that was read last, and found to be as it was written.
        self._checked = ("", 0, 0)

    def watch(self, heard: Callable[[Change[Row]], None]) -> None:
        self._watchers.append(heard)

    @property
    def unfinished(self) -> int:
        return len(self.rows)

    def unfinished_of(self, kind: type[msgspec.Struct]) -> int:
        return self._kinds[kind]

    def find(self, key: str) -> Row | None:
        """The row as it is on the disk now. Raises StoreBroken, Damaged."""
        row = self.rows.get(key)
        if row is not None:
            return row
        at = self.public_rows.place(key) or last_word_of(self._dedup.get(dedup_key(key), 0))
        if not at:
            return None
        word = self.word(at)
        return None if "type" in word else self._codec.changed(None, word)

    def knows(self, subject: str) -> bool:
        """Whether anything was ever decided about this purchase or entry."""
        return dedup_key(subject) in self._dedup

    def word(self, at: Position) -> dict[str, Any]:
        """What stands at a place of the journal: a word, or a row that left memory. Raises StoreBroken, Damaged."""
        number, offset = segment_and_offset(at)
        segment, files = self._segments[number], self._files_of(number)
        raw = files.read(segment.name, offset, WORD_BYTES)
        if not (self._checked[0] == segment.name and self._checked[1] <= offset < self._checked[2]):
            start, end = journal.line_around(files, segment.name, offset)
            self._checked = (segment.name, start, end)
        try:
            word: dict[str, Any] = json.JSONDecoder().raw_decode(raw.decode(errors="ignore"))[0]
        except ValueError as error:
            raise StoreBroken(f"{segment.name} no longer reads as it was written") from error
        return word

    def seq_at(self, at: Position) -> int:
        """The sequence number of the record that this place is in. Raises Damaged."""
        number, offset = segment_and_offset(at)
        name, files = self._segments[number].name, self._files_of(number)
        start, end = journal.line_around(files, name, offset)
        seq: int = msgspec.json.decode(files.read(name, start, end - start))["seq"]
        return seq

    def _files_of(self, number: int) -> Files:
        """What to read a segment from: the one that is written here is not packed."""
        return self.disk if self.leads and number + 1 == len(self._segments) else self.archive

    def some_records(self, after: int, size_bytes: int) -> list[bytes]:
        """See RecordReader.records. Costs the same wherever they stand. Raises Damaged, OSError."""
        number = bisect_right(self._segments, after + 1, key=lambda segment: segment.first) - 1
        if after >= self.seq or number < 0:
            return []
        segment = self._segments[number]
        last = number + 1 == len(self._segments)
        end = self._end if last else self._segments[number + 1].previous_end
        files = self._files_of(number)
        start = journal.place_of(files, segment.name, segment.header_bytes, end, after + 1)
        return journal.whole_lines(files, segment.name, start, end, size_bytes)[: self.seq - after]

    def line_of(self, word: Mapping[str, Any]) -> tuple[int, ...] | None:
        """The list's fields of a word of the journal; None when it is no line of the list."""
        listing = self.domain.listing
        if listing is None or word["type"] != listing.message.type:
            return None
        return tuple(word[name] for name in listing.json_fields)

    def _remember(self, entry: Entry[Row], segment: int, dedup: dict[int, int]) -> None:
        """Note what was seen, and where the last words lie now. A silent decision leaves nothing to repeat."""
        subject = dedup_key(entry.subject)
        known = dedup.get(subject) or self._dedup.get(subject, 0)
        at = NOWHERE
        if entry.row is not None and entry.key == entry.subject and self.domain.finished(entry.row):
            at = last_word_of(known) if entry.change_at is None else position(segment, entry.change_at)
        dedup[subject] = dedup_entry(at, known | BIT[entry.type])
        for told, offset, _ in entry.words:
            name = dedup_key(told)
            dedup[name] = dedup_entry(position(segment, offset), dedup.get(name) or self._dedup.get(name, 0))
        if dedup is self._dedup:
            for name in (subject, *(dedup_key(told) for told, _, _ in entry.words)):
                self._touched[name] = dedup[name]

    def _apply(self, entry: Entry[Row], segment: int) -> None:
        """Let everybody see what a record did, now that it is on the disk."""
        if entry.row is not None and entry.change_at is not None:
            self._kinds[type(self.rows.pop(entry.key, None) if entry.whole else self.rows.get(entry.key))] -= 1
            if not entry.whole:
                self.rows[entry.key] = entry.row
                self._kinds[type(entry.row)] += 1
            if (shown := self.domain.shown(entry.row)) is not None:
                at = position(segment, entry.change_at) if entry.whole else NOWHERE
                self.public_rows.put(int(entry.key), msgspec.json.encode(shown), at)
        for _, offset, line in entry.words:
            if line is not None:
                self.list_index.add(line, position(segment, offset))
        if self._watchers:
            change = Change(entry.type, entry.subject, entry.row)
            for heard in self._watchers:
                heard(change)
