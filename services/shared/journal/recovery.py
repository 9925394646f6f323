"""Reading a journal: all of it at the start, or from a snapshot on; then what the one who writes it adds."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

import msgspec

from broker.messages import BIT, subject_of
from services.shared.journal import segments as journal
from services.shared.journal.rows import Entry, Recorded
from services.shared.journal.segments import Line, Segment
from services.shared.journal.snapshot import read_snapshots, rests_on
from services.shared.records import CHANGE, WORDS
from services.shared.store import Damaged, Fenced, StoreBroken

Row = TypeVar("Row", bound=msgspec.Struct)


class Follower(Recorded[Row]):
    """Rows that are read from a folder. `load`, then `follow` again and again."""

    def _forget(self) -> None:
        super()._forget()
        # Bytes of journal since the last snapshot.
        self._since_snapshot = 0
        self._names: list[str] = []
        self._snapshot: str | None = None
        self._lines_in_snapshot = 0
        # How long the list was when this segment began.
        self._lines_before = 0

    def load(self, *, to_the_end: bool = False) -> None:
        """Read the journal as far as it is surely on the disk (or `to_the_end`, see `follow`). Raises Damaged."""
        self._forget()
        segments = journal.chain(self.archive, self.domain.name)
        snapshot = read_snapshots(self.disk, segments)
        if snapshot is not None:
            self._dedup = snapshot.dedup
            self.list_index = snapshot.book
            self.public_rows = snapshot.public_rows
            self.rows = {key: self._codec.changed(None, row) for key, row in snapshot.rows.items()}
            self._kinds = Counter(map(type, self.rows.values()))
            self._segments = segments[: snapshot.segments]
            self.seq = segments[snapshot.segments - 1].first - 1
            self._end = segments[snapshot.segments - 1].header_bytes
            self.time = segments[snapshot.segments - 1].time
            for segment in self._segments:
                self._know(segment)
            self._snapshot = segments[snapshot.segments - 1].name
            self._lines_in_snapshot = self._lines_before = len(self.list_index)
        self.follow(to_the_end=to_the_end)

    def follow(self, *, to_the_end: bool = False) -> None:
        """Take in what was written since. `to_the_end`: also what may not be synced, up to a torn end.

        Raises Damaged, StoreBroken. Starts over by itself when what it has read turns out to be a fenced writer's; not
        when another book stands there: that is Fenced, as whoever reads from here has told of the one before.
        """
        try:
            self._read_on(to_the_end=to_the_end)
        except FileNotFoundError:
            # Somebody without room gives a segment up just now. What is lost is missed at the next look.
            self._names = []
            if to_the_end:
                raise

    def _read_on(self, *, to_the_end: bool) -> None:
        self.disk.let_go()
        names = journal.segment_names(self.disk)
        self._expect_first(names)
        if names != self._names:
            chain = journal.chain(self.archive, self.domain.name)
            if not self._continues(chain):
                self._expect_this_book(chain)
                self.load(to_the_end=to_the_end)
                return
            for segment in chain[len(self._segments) :]:
                if self._segments:
                    self._take_in(segment.previous_end)
                    self._segment_ends()
                self._segments.append(segment)
                self._know(segment)
                self.time = min(self.time or segment.time, segment.time)
                self._end = segment.header_bytes
            # A segment without a header yet is looked at again.
            self._names = names if not names or (chain and chain[-1].name == names[-1]) else []
        if self._segments:
            last = self._segments[-1].name
            self._take_in(None if to_the_end else max(journal.synced(self.disk, last), self._end))

    def _know(self, segment: Segment) -> None:
        """Take in what the header of a segment says of this book and the others."""
        if segment.book:
            self.heights.begins(segment.book, segment.generation, segment.first, segment.branch)
            self.heights.formerly = list(segment.formerly)
        self.heights.read("", segment.heard)

    def _segment_ends(self) -> None:
        """Whoever writes has made a snapshot as of its beginning, perhaps: then what was before need not be in ours."""
        last = self._segments[-1]
        saved = last.name != self._snapshot and rests_on(self.disk, last, self._snapshot)
        if saved:
            self._snapshot, self._lines_in_snapshot = last.name, self._lines_before
        self._touched, self._touched_before = {}, self._touched if saved else self._touched_before | self._touched
        self.public_rows.segment_ends(saved=saved)
        self._lines_before = len(self.list_index)

    def _expect_first(self, names: list[str]) -> None:
        """An emptied folder is not taken for one that nothing was written in yet. Raises StoreBroken."""
        if self._segments and self._segments[0].name not in names and not self.archive.exists(self._segments[0].name):
            raise StoreBroken(f"{self._segments[0].name} was deleted while it was followed")

    def _expect_this_book(self, chain: list[Segment]) -> None:
        now = next(((one.book, one.generation) for one in reversed(chain) if one.book), None)
        if self.heights.book and now not in {None, (self.heights.book, self.heights.generation)}:
            raise Fenced("another book was put in the place of the one that was read here, or it was written again")

    def _continues(self, chain: list[Segment]) -> bool:
        known = len(self._segments)
        if [segment.name for segment in chain[:known]] != [segment.name for segment in self._segments]:
            return False
        return known == len(chain) or not known or chain[known].previous_end >= self._end

    def _take_in(self, end: int | None) -> None:
        segment, number = self._segments[-1], len(self._segments) - 1
        for line in journal.lines(self.archive, segment.name, self._end, end, self.seq):
            try:
                entry = self._entry(line)
            except (ValueError, KeyError, TypeError) as error:
                raise Damaged(f"{segment.name}: the record at byte {line.offset} makes no sense: {error}") from error
            if entry.type not in BIT:
                raise Damaged(
                    f"{segment.name}: the record at byte {line.offset} is of the type {entry.type}, which this version "
                    "does not know: use the version that wrote it"
                )
            self._since_snapshot += len(line.raw)
            self._remember(entry, number, self._dedup)
            self._apply(entry, number)
            self.heights.read(line.record.get("from", ""), line.record.get("heard", ""))
            self.seq += 1
            self.time = line.record["time"]
            self._end = line.offset + len(line.raw)

    def _entry(self, line: Line) -> Entry[Row]:
        record, raw = line.record, line.raw
        subject, type_name = record["id"].rsplit(":", 1)
        row = self.find(record["row"])
        change_at, whole = None, False
        if record["change"] is not None:
            row = self._codec.changed(row, record["change"])
            change_at = line.offset + raw.index(CHANGE) + len(CHANGE)
            # A version before this one wrote no more of a sold token than had changed: that one stays in memory.
            whole = self.domain.finished(row) and self._codec.whole(record["change"])
        words = []
        at = line.offset + raw.rindex(WORDS) + len(WORDS)
        for word in record["words"]:
            words.append((subject_of(word), at, self.line_of(word)))
            at += len(msgspec.json.encode(word)) + 1
        return Entry(subject, type_name, record["row"], row, change_at, whole, words)
