"""Reading the four journals from outside, by folder or over HTTP. What a service would refuse as damaged is refused.

Nothing here is shared with the services: an audit that used their code would share their mistakes. docs/journal.md is
what this was written from.
"""

from __future__ import annotations

import re
import tempfile
import weakref
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Final

import aiohttp
import msgspec

from loadgen.audit import packed
from loadgen.audit.clocks import earlier
from loadgen.audit.headers import PUT_BACK, SEAL, SEAL_BYTES, head_of, identity_of, is_time, refuse, synced_of
from loadgen.audit.model import RULES, SERVICES
from loadgen.audit.readyz import identity_at
from loadgen.audit.text import NotAShop, Text, Unreadable

SEGMENT: Final = re.compile(r"(journal-\d{8}-\d{6}\.jsonl)(?:\.zst)?")
# For a whole journal: a million purchases are some 3 GB.
JOURNAL_SECONDS: Final = 900
PIECE_BYTES: Final = 1024 * 1024
# How a record ends that says nothing.
SAYS_NOTHING: Final = b',"words":[]'
SAYS_NOTHING_END: Final = -SEAL_BYTES
SAYS_NOTHING_START: Final = SAYS_NOTHING_END - len(SAYS_NOTHING)
# A record is shorter than this, but for one that ends a long line: that is read in more pieces.
RECORD_BYTES: Final = 2048
# A place in a journal is one number: which file, and the byte at which the line begins.
OFFSET_BITS: Final = 44
OFFSET: Final = (1 << OFFSET_BITS) - 1


class Record(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One record of a journal: see docs/journal.md."""

    seq: int
    batch: int
    time: str
    id: str
    row: str
    change: dict[str, Any] | None
    words: list[dict[str, Any]]
    crc: str
    # Whose record the message came from, and what was known of all books then: `service/book/generation/seq`.
    origin: str = msgspec.field(name="from", default="")
    heard: str = ""
    # The message itself, where no row keeps what it says.
    message: dict[str, Any] | None = None
    # The generation in which it was written again from the other books; 0: it stands as it was decided.
    generation: int = 0
    # By which rules it was decided, where they have changed; 0: by those of a version before this one.
    rules: int = 0


class Saying(msgspec.Struct, gc=False):
    """What a record says, and by what: what it changed is not looked at."""

    seq: int
    id: str
    words: list[dict[str, Any]]
    generation: int = 0


_record: Final = msgspec.json.Decoder(Record).decode
_saying: Final = msgspec.json.Decoder(Saying).decode


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a journal: the bytes of a file from `start` to `end` (None: to the last whole line).

    `seq` is the record before its first. So many bytes as `synced` were surely on the disk.
    """

    name: str
    file: Path
    start: int
    end: int | None
    seq: int
    time: str = ""
    synced: int = 0
    # In the first of a book that was written again, and in what was put back of such a one, the generation that its
    # records say.
    generation: int = 0
    # Which of several books it is that went on from one copy, as others may have heard of it.
    branch: str = ""

    @property
    def in_order(self) -> bool:
        """Whether its header says since when its records are dated. Elsewhere a writer may have begun anywhere, by a
        clock that was put right."""
        return self.time != "" and not self.file.name.startswith(PUT_BACK)


class Journal:
    """One service's records, in order. They are read anew each time, a line at a time."""

    def __init__(self, service: str, pieces: Sequence[Piece], identity: tuple[str, int] | None = None) -> None:
        """`identity`: which book it is, in which generation, where its headers are at hand and say so."""
        self.service = service
        self.identity = identity
        self._pieces = pieces
        self._files: dict[int, IO[bytes]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process it is read anew, and nothing is deleted there."""
        return Journal, (self.service, self._pieces, self.identity)

    @property
    def size_bytes(self) -> int:
        return sum(packed.size_of(piece.file) for piece in self._pieces)

    def records(self) -> Iterator[tuple[int, Record]]:
        """Each record and its place. Raises Unreadable."""
        seq, batch, time = 0, 0, ""
        # What was written again stands before all else.
        generation: int | None = None
        for number, piece in enumerate(self._pieces):
            place = number << OFFSET_BITS
            if piece.seq != seq or (piece.time and earlier(piece.time, time)):
                refuse("{file} goes on behind record {seq} of {time}, and the journal before it ends with record "
                       "{last} of {last_time}", piece.name, piece.seq, piece.time, seq, time)  # fmt: skip
            # A clock that was far ahead was put right before this was begun.
            time, in_order = min(time, piece.time or time), piece.in_order
            for offset, raw in self._lines(number, piece):
                try:
                    record = _record(raw)
                except msgspec.MsgspecError as error:
                    where = self.where(place | offset)
                    raise Unreadable("{where} is no record that this audit knows: {error}", where, error) from error
                seq += 1
                due = piece.generation if piece.time else record.generation if generation is None else generation
                if record.generation != due and (piece.time or record.generation):
                    refuse("{where} is of generation {stands}, and its segment of {due}",
                           self.where(place | offset), record.generation, due)  # fmt: skip
                generation = record.generation
                if record.seq != seq:
                    where = self.where(place | offset)
                    refuse("{where} is record {seq}, and record {due} is due", where, record.seq, seq)
                # A batch is what was written with one sync: it has one time, and the number of its first record.
                if record.batch != batch:
                    back = in_order and is_time(record.time) and earlier(record.time, time)
                    if record.batch != seq or not is_time(record.time) or back:
                        refuse("{where} is of batch {batch} and {time}, and follows batch {last} of {last_time}",
                               self.where(place | offset), record.batch, record.time, batch, time)  # fmt: skip
                    batch, time = record.batch, record.time
                elif record.time != time:
                    where = self.where(place | offset)
                    refuse("{where} is of {time}, and its batch of {due}", where, record.time, time)
                if record.rules < 0:
                    refuse("{where} was decided by rules {rules}, which no version has", self.where(place | offset),
                           record.rules)  # fmt: skip
                if record.rules > RULES:
                    says = "{where} was decided by rules {rules}, this audit knows {ours}: use that version's audit"
                    raise Unreadable(says, self.where(place | offset), record.rules, RULES)
                yield place | offset, record

    def sayings(self, *, silent: bool = False) -> Iterator[tuple[int, Saying]]:
        """The place of each record that says something, and what: for who reads beside whoever checks the records.

        `silent`: also of those that say nothing."""
        for number, piece in enumerate(self._pieces):
            place = number << OFFSET_BITS
            for offset, raw in self._lines(number, piece):
                if silent or raw[SAYS_NOTHING_START:SAYS_NOTHING_END] != SAYS_NOTHING:
                    try:
                        yield place | offset, _saying(raw)
                    except msgspec.MsgspecError as error:
                        where = self.where(place | offset)
                        raise Unreadable("{where} is no record that this audit knows: {error}", where, error) from error

    def record(self, place: int) -> Record:
        """One record again."""
        file, at, size = self._file(place >> OFFSET_BITS), place & OFFSET, RECORD_BYTES
        while True:
            raw = packed.at(file, at, size)
            end = raw.find(b"\n")
            if end >= 0 or len(raw) < size:
                return _record(raw[:end])
            size *= 8

    def segment(self, place: int) -> int | None:
        """The number of the segment, all of which one process wrote; None: several may have."""
        number = place >> OFFSET_BITS
        return number if self._pieces[number].in_order else None

    def branch(self, seq: int) -> str:
        """Of this record's segment; "": that is not known."""
        return next((piece.branch for piece in reversed(self._pieces) if piece.seq < seq), "")

    def where(self, place: int) -> str:
        """File and line of a place. Its lines are counted only now: few places are ever asked for."""
        piece, left = self._pieces[place >> OFFSET_BITS], place & OFFSET
        lines, at, file = 1, 0, self._file(place >> OFFSET_BITS)
        while at < left:
            some = packed.at(file, at, min(PIECE_BYTES, left - at))
            if not some:
                break
            lines, at = lines + some.count(b"\n"), at + len(some)
        return f"{piece.name}:{lines}"

    def close(self) -> None:
        """Whoever has read it lets go of its files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _file(self, number: int) -> IO[bytes]:
        if number not in self._files:
            self._files[number] = packed.opened(self._pieces[number].file)
        return self._files[number]

    def _lines(self, number: int, piece: Piece) -> Iterator[tuple[int, bytes]]:
        """The piece's lines, all as they were written, and the byte where each begins. Raises Unreadable."""
        at, end = piece.start, piece.end
        crc32 = zlib.crc32
        # A file of its own for each reading: two may be under way at once.
        with packed.opened(piece.file) as file:
            file.seek(at)
            for raw in file:
                if end is not None and at >= end:
                    break
                if raw[-SEAL_BYTES:] != SEAL % crc32(raw[:-SEAL_BYTES]):
                    if end is not None or at < piece.synced or _goes_on(file):
                        where = self.where((number << OFFSET_BITS) | at)
                        raise Unreadable("{where} is damaged: its checksum is wrong", where)
                    # A torn end: it was never on the disk, so nothing of it was ever said.
                    break
                yield at, raw
                at += len(raw)
        wanted = piece.synced if end is None else end
        if at < wanted or (end is not None and at != end):
            says = "{file} ends at byte {at}, and {written} bytes of it were written: it is damaged"
            raise Unreadable(says, piece.name, at, wanted)


def _goes_on(file: IO[bytes]) -> bool:
    """Whether a whole line stands behind a bad one: a batch is written only when the one before is on the disk."""
    return any(raw[-SEAL_BYTES:] == SEAL % zlib.crc32(raw[:-SEAL_BYTES]) for raw in file)


def from_folder(data: Path, service: str) -> Journal:
    """The journal of a service below this data folder. Raises Unreadable."""
    folder = data / service
    try:
        files = {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        files = set()
    except OSError as error:
        says = "{file} cannot be read ({why}): read it as who runs the shop"
        raise Unreadable(says, folder, error.strerror) from error
    # Of one that is there both ways the packed one counts: it has its name only when it is whole.
    found = sorted(name for name in files if SEGMENT.fullmatch(name))
    names = sorted({name.removesuffix(packed.SUFFIX): name for name in found}.values())
    if not names:
        if not any((data / other).is_dir() for other in SERVICES):
            says = "{data} has none of the folders {known}: name a shop's folder with --data"
            raise NotAShop(says, data, ", ".join(SERVICES))
        raise Unreadable("there is no journal in {folder}: the book is missing", folder)
    for mark in files:
        lost = mark.removesuffix(".mark") + ".jsonl"
        if mark.endswith(".mark") and SEGMENT.fullmatch(lost) and not files & {lost, lost + packed.SUFFIX}:
            raise Unreadable("{segment} is missing, and {mark} says that it was written", folder / lost, mark)
    return Journal(service, *_chain(folder, names, service))


def _chain(folder: Path, names: list[str], service: str) -> tuple[list[Piece], tuple[str, int] | None]:
    """Which segments are the journal, and where each ends: what a fenced writer added later does not count. And which
    book it is."""
    chain: list[Piece] = []
    identity: tuple[str, int] | None = None
    wanted: str | None = None
    end: int | None = None
    for name in reversed(names):
        if wanted is not None and name.removesuffix(packed.SUFFIX) != wanted:
            continue
        file = folder / name
        if packed.is_packed(file):
            if end is None:
                raise Unreadable("{file} is packed, and the segment that followed it is missing", file)
            if (size := packed.size_of(file)) != end:
                refuse("{file} ends at byte {at}, and the next one goes on at {end}", file, size, end)
        header, size = head_of(file, service)
        if header is None:
            if wanted is None and not synced_of(file):
                continue
            raise Unreadable("{file} has no header, and the journal goes on behind it", file)
        synced = 0 if chain else synced_of(file)
        identity = identity_of(file, header, identity)
        of = header.identity[1] if header.identity else 0
        # The header of what was put back says what its records say, and not as what the book goes on.
        again = of if of > 1 and (header.previous is None or name.startswith(PUT_BACK)) else 0
        chain.append(Piece(str(file), file, size, end, header.seq, header.time, synced, again, header.branch))
        wanted, end = header.previous, header.end
        if wanted is None:
            if header.seq or header.end:
                refuse("{file} is the first segment, and begins behind record {seq}", file, header.seq)
            return chain[::-1], identity
    raise Unreadable("{folder} lacks {segment}", folder, wanted or Text("a segment with a header"))


async def from_service(url: str, books_token: str, service: str) -> Journal:
    """The journal of a service that runs: it shows it to its operator. Raises Unreadable, aiohttp.ClientError."""
    where, last = f"{url}/diario", b"\n"
    with tempfile.NamedTemporaryFile(delete=False) as file:
        pieces: list[Piece] = []
        journal = Journal(service, pieces)
        # It lives as long as the journal.
        weakref.finalize(journal, Path(file.name).unlink, missing_ok=True)
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=JOURNAL_SECONDS)) as http,
            http.get(where, headers={"Authorization": f"Bearer {books_token}"}) as answer,
        ):
            if answer.status != HTTPStatus.OK:
                says = "{where} answered {status}: give the token of this shop's books (ZOCO_BOOKS_TOKEN)"
                raise Unreadable(says, where, answer.status)
            async for last in answer.content.iter_chunked(PIECE_BYTES):
                file.write(last)
            journal.identity = await identity_at(http, url)
        if not last.endswith(b"\n"):
            raise Unreadable("{where} ended inside a record: ask again", where)
        pieces.append(Piece(where, Path(file.name), 0, file.tell(), 0))
    return journal
