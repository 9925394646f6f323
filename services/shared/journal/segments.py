"""The journal's files: checksummed lines in segments, and telling a torn tail from damage. See docs/journal.md.

A segment is named after the epoch of its writer. Its first line, the header, says which segment it follows and
where that one ended, so that a chain of headers is the whole journal and nothing that a fenced writer added later
belongs to it.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import pydantic_core

from services.shared.journal.disk import Files
from services.shared.records import has_checksum, with_checksum
from services.shared.store import Damaged

FORMAT: Final = 1
SEGMENT: Final = re.compile(r"journal-(\d{8})-(\d{6})\.jsonl")
# Its file, and how it is called when it is packed.
FILE: Final = re.compile(rf"({SEGMENT.pattern})(?:\.zst)?")
# What the digits of a name have room for.
MAX_EPOCH: Final = 99_999_999
MAX_PART: Final = 999_999
MARK: Final = re.compile(r"journal-\d{8}-\d{6}\.mark")
MARK_BYTES: Final = 29
# What is read of a header: it is rarely longer than the first, and of a packed segment that is one frame.
HEADER_BYTES: Final = (512, 4096)
# What helps when something is lost. One folder put back alone, an older book beside newer ones, sells what it has sold.
CURE: Final = (
    "move what is in this folder away, start the service, and have its book written again from the other three "
    "(`zoco rebuild SERVICE`), or all four from one backup (`zoco restore FILE`)"
)
# How a record begins.
RECORD: Final = b'{"seq":'


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the journal. `first` is the sequence number of its first record."""

    name: str
    first: int
    previous: str | None
    # Where the previous segment ends, in bytes: what stands behind that was never believed.
    previous_end: int
    header_bytes: int
    # When it was begun.
    time: str
    # The book's identity and generation ("", 0: nobody knew yet), what it had heard, and which books it holds all of.
    book: str = ""
    generation: int = 0
    heard: str = ""
    formerly: tuple[str, ...] = ()

    @property
    def epoch(self) -> int:
        return int(self.name[8:16])

    @property
    def branch(self) -> str:
        """As in heights: who goes on from a copy begins at another time. What was put back has that of no writer."""
        return f"{self.first}-{zlib.crc32(f'{self.name} {self.time}'.encode()) & 0xFFFF:04x}" if self.epoch else ""


@dataclass(frozen=True, slots=True)
class Line:
    """One record and where it stands in its segment, in bytes."""

    offset: int
    raw: bytes
    record: dict[str, Any]


def segment_name(epoch: int, part: int) -> str:
    return f"journal-{epoch:08d}-{part:06d}.jsonl"


def header(service: str, segment: Segment) -> bytes:
    head = {
        "format": FORMAT,
        "service": service,
        "segment": segment.name,
        "seq": segment.first - 1,
        "previous": segment.previous,
        "end": segment.previous_end,
        "time": segment.time,
    }
    if segment.book:
        head |= {"book": segment.book, "generation": segment.generation, "heard": segment.heard}
    if segment.formerly:
        head["formerly"] = segment.formerly
    return with_checksum(msgspec.json.encode(head)[:-1])


def latest_epoch(disk: Files) -> int:
    """Of all segments in the folder; 0: there is none."""
    return max((int(name[8:16]) for name in segment_names(disk)), default=0)


def segment_names(disk: Files) -> list[str]:
    """Every segment in the folder, oldest first, whether it belongs to the journal or not."""
    return sorted({found[1] for name in disk.names() if (found := FILE.fullmatch(name))})


def chain(disk: Files, service: str) -> list[Segment]:
    """The segments that are the journal, oldest first. Raises Damaged."""
    names, files = segment_names(disk), disk.names()
    for stray in filter(MARK.fullmatch, files):
        # Whoever gives a segment up, for want of room, removes its mark first.
        if not disk.exists(lost := stray.removesuffix(".mark") + ".jsonl") and disk.exists(stray):
            raise Damaged(f"{lost} is missing, and {stray} says that it was written: {CURE}")
    newest = next((segment for name in reversed(names) if (segment := _begun(disk, service, name))), None)
    if newest and f"{newest.name}.zst" in files:
        if segment_names(disk) != names:
            return chain(disk, service)
        raise Damaged(f"{newest.name}.zst is packed, and the segment that followed it is missing: {CURE}")
    found: list[Segment] = [newest] if newest else []
    while found and (previous := found[-1].previous):
        if not disk.exists(previous):
            raise Damaged(f"{previous} is missing, and {found[-1].name} goes on where it ended: {CURE}")
        older = read_header(disk, service, previous)
        if older is None:
            raise Damaged(_damage(previous, 0))
        size, end = disk.size(previous), found[-1].previous_end
        # What a fenced writer added is not packed.
        packed = f"{previous}.zst" in files
        if size < end or (size > end and packed):
            file = f"{previous}.zst" if packed else previous
            raise Damaged(f"{file} ends at byte {size}, and {found[-1].name} goes on at {end}: {CURE}")
        found.append(older)
    return found[::-1]


def _begun(disk: Files, service: str, name: str) -> Segment | None:
    """None, too, where it was given up since it was listed."""
    try:
        return read_header(disk, service, name)
    except FileNotFoundError:
        return None


def read_header(disk: Files, service: str, name: str) -> Segment | None:
    """The header of a segment; None if its writer died before there was one. Raises Damaged."""
    for size in HEADER_BYTES:
        if has_checksum(raw := _first_line(disk.read(name, 0, size))):
            break
    else:
        # Its writer may be at it just now: the mark comes after the header, so it is looked at before.
        known = synced(disk, name)
        data = disk.read(name)
        raw = _first_line(data)
    if not has_checksum(raw):
        if known or any(True for _ in _good_lines(data)):
            raise Damaged(_damage(name, 0))
        return None
    read = pydantic_core.from_json(raw)
    if read.get("format") != FORMAT:
        raise Damaged(
            f"{name} has format {read.get('format')}, and this version reads {FORMAT}: use the version that wrote it"
        )
    if read["service"] != service:
        raise Damaged(
            f"{name} is the journal of {read['service']}, not of {service}: point ZOCO_DATA at another folder"
        )
    if read["segment"] != name:
        raise Damaged(f"{name} is {read['segment']} under another name: {CURE}")
    book = read.get("book", ""), read.get("generation", 0), read.get("heard", ""), tuple(read.get("formerly", ()))
    return Segment(name, read["seq"] + 1, read["previous"], read["end"], len(raw), read["time"], *book)


def lines(disk: Files, name: str, start: int, end: int | None, seq: int) -> Iterator[Line]:
    """The records from the byte `start`, the first of which follows record `seq`.

    Up to `end`, every line must be good. Without an end (nobody has said yet where this segment ends) what comes
    after the last synced batch may be torn, and is left out. Raises Damaged.
    """
    mark = synced(disk, name) if end is None else end
    data = disk.read(name, start, -1 if end is None else end - start)
    position = 0
    while position < len(data):
        after = data.find(b"\n", position) + 1 or len(data)
        raw = data[position:after]
        if not has_checksum(raw):
            if start + position < mark or _later_batch(data[position:], seq + 1):
                raise Damaged(_damage(name, start + position))
            return
        record = pydantic_core.from_json(raw)
        if record["seq"] != seq + 1:
            raise Damaged(_damage(name, start + position))
        yield Line(start + position, raw, record)
        position, seq = after, seq + 1
    if start + position < mark:
        raise Damaged(
            f"{name} ends at byte {start + position}, and {mark} bytes of it were on the disk. If this folder was "
            f"copied while its service wrote, copy it again, the .mark files first; else {CURE}"
        )


def place_of(disk: Files, name: str, start: int, end: int, seq: int) -> int:
    """Where record `seq` begins between these bytes, or the first after it: by halving, as records stand in order. One
    that is damaged is passed over, so that those around it are found."""
    while start < end:
        begin, after = _bounds(disk, name, (start + end) // 2)
        at, behind = begin, after
        while not has_checksum(raw := disk.read(name, at, behind - at)) and behind < end:
            at, behind = _bounds(disk, name, behind)
        found = pydantic_core.from_json(raw)["seq"] if has_checksum(raw) else None
        if found == seq:
            return at
        if found is not None and found < seq:
            start = behind
        else:
            end = begin
    return start


def whole_lines(disk: Files, name: str, start: int, end: int, size: int) -> list[bytes]:
    """The lines from `start` on that end within `size` bytes, or the first one; none at the `end`. A damaged one is
    the last to be reached. Raises Damaged when it is the first."""
    data = disk.read(name, start, min(size, end - start))
    found = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
    if not found and start < end:
        begin, after = _bounds(disk, name, start)
        found = [disk.read(name, begin, after - begin)]
    whole = list(itertools.takewhile(has_checksum, found))
    if found and not whole:
        raise Damaged(_damage(name, start))
    return whole


def mark_name(name: str) -> str:
    return name.removesuffix(".jsonl") + ".mark"


def mark(end: int) -> bytes:
    """What is noted beside a segment after each sync: its first `end` bytes are on the disk."""
    number = b"%019d" % end
    return b"%s %08x\n" % (number, zlib.crc32(number))


def synced(disk: Files, name: str) -> int:
    """How many bytes of a segment are surely on the disk (0: nothing is known)."""
    if not disk.exists(mark_name(name)):
        return 0
    raw = disk.read(mark_name(name), 0, MARK_BYTES)
    number = raw[:19]
    return int(number) if raw == b"%s %08x\n" % (number, zlib.crc32(number)) else 0


def _first_line(data: bytes) -> bytes:
    return data[: data.find(b"\n") + 1]


def line_around(disk: Files, name: str, at: int) -> tuple[int, int]:
    """Where the line begins and ends that has this byte in it. Raises Damaged when it is not as it was written."""
    start, end = _bounds(disk, name, at)
    if not has_checksum(disk.read(name, start, end - start)):
        raise Damaged(_damage(name, start))
    return start, end


def _bounds(disk: Files, name: str, at: int) -> tuple[int, int]:
    reach = 2048
    while True:
        start = max(0, at - reach)
        data = disk.read(name, start, at - start + reach)
        begin, end = data.rfind(b"\n", 0, at - start) + 1, data.find(b"\n", at - start) + 1
        if (begin or not start) and (end or len(data) < at - start + reach):
            break
        reach *= 8
    return start + begin, start + (end or len(data))


def _good_lines(data: bytes) -> Iterator[bytes]:
    """Every whole record in here, also one that stands behind the damaged end of the line before it."""
    for raw in data.splitlines(keepends=True):
        start = raw.find(RECORD, 1)
        if has_checksum(raw):
            yield raw
        elif start > 0 and has_checksum(raw[start:]):
            yield raw[start:]


def _later_batch(data: bytes, seq: int) -> bool:
    """Whether a batch that began after record `seq` stands in here. If so, that record was synced before it."""
    return any(pydantic_core.from_json(raw).get("batch", 0) > seq for raw in _good_lines(data))


def _damage(name: str, offset: int) -> str:
    return (
        f"{name} is damaged at byte {offset}: this is not a torn end, so nothing was changed. One file put back is "
        f"no cure: {CURE}"
    )
