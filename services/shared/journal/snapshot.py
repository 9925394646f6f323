"""Snapshots: what the journal before a segment comes to, so that a start need not read it. See docs/journal.md.

The newest holds all live rows, and each, of the dedup index and of what the public sees, what changed since the
snapshot before it: writing one costs the same however many purchases were ever made. They only save time: without
them, or with one damaged, the journal is read from its beginning.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import pydantic_core
import zstandard

from services.shared.journal.disk import Disk
from services.shared.journal.list_index import ListIndex
from services.shared.journal.public_list import PublicList
from services.shared.journal.segments import Segment
from services.shared.records import has_checksum, with_checksum

Row = TypeVar("Row", bound=msgspec.Struct)
FORMAT: Final = 3
# Of a version before this one: the rows are not packed.
UNPACKED: Final = 2
FORMATS: Final = (UNPACKED, FORMAT)
# The first line is shorter than this.
HEAD_BYTES: Final = 4096
# So many rows are encoded in one go (1 to 2 ms); then everything else of the process has its turn.
AT_ONCE: Final = 1_000
HALF: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that was read of a chain of snapshots. `segments` counts the segments up to the one it belongs to."""

    rows: dict[str, dict[str, Any]]
    dedup: dict[int, int]
    book: ListIndex
    public_rows: PublicList
    segments: int


@dataclass(frozen=True, slots=True)
class _File:
    format: int
    previous: str | None
    # b"": another snapshot has all rows that are live since.
    rows: bytes
    # Keys and values of the dedup index; the columns of the book, and its places; three of what the public sees.
    others: list[bytes]

    def live_rows(self) -> dict[str, dict[str, Any]]:
        packed = self.format != UNPACKED
        text = zstandard.ZstdDecompressor().decompressobj().decompress(self.rows) if packed else self.rows
        rows: dict[str, dict[str, Any]] = pydantic_core.from_json(text)
        return rows


def snapshot_name(segment: str) -> str:
    return segment.removesuffix(".jsonl") + ".snapshot"


async def packed_rows(rows: Mapping[str, Row], text: Callable[[Row], bytes]) -> bytes:
    """All of them as one JSON object, packed. They may not change meanwhile, though all else of the process goes on."""
    frame, keys = zstandard.ZstdCompressor().compressobj(), list(rows)
    packed = [frame.compress(b"{")]
    for first in range(0, len(keys), AT_ONCE):
        if first:
            await asyncio.sleep(0)
        lines = (b"%s:%s" % (msgspec.json.encode(key), text(rows[key])) for key in keys[first : first + AT_ONCE])
        packed.append(frame.compress((b",\n" if first else b"") + b",\n".join(lines)))
    return b"".join((*packed, frame.compress(b"}"), frame.flush()))


async def write_snapshot(
    disk: Disk,
    segment: Segment,
    previous: str | None,
    rows: bytes,
    touched: Mapping[int, int],
    book: ListIndex,
    public_rows: tuple[bytes, bytes, bytes],
) -> None:
    """Write down what all before `segment` comes to. `rows` are packed. Raises OSError."""
    keys = array("Q", (half for key in touched for half in (key >> 64, key & HALF)))
    others = [keys.tobytes(), array("Q", touched.values()).tobytes(), *book.parts(), *public_rows]
    await disk.replace(snapshot_name(segment.name), _text(segment, previous, [rows, *others]))


async def drop_rows(disk: Disk, segment: Segment) -> None:
    """Let a snapshot forget its rows, as a later one has them. Raises OSError."""
    name = snapshot_name(segment.name)
    try:
        head = pydantic_core.from_json(disk.read(name, 0, HEAD_BYTES).partition(b"\n")[0])
        if not head["sizes"][0]:
            return
    except (ValueError, LookupError, TypeError):
        return
    file = await disk.aside(partial(_file, segment, disk.read(name)))
    if file is not None:
        text = _text(segment, file.previous, [b"", *file.others])
        await disk.aside(partial(disk.replace_aside, name, text))


def _text(segment: Segment, previous: str | None, parts: Sequence[bytes]) -> bytes:
    body = b"".join(parts)
    head = {
        "format": FORMAT,
        "order": sys.byteorder,
        "segment": segment.name,
        "of": [segment.first, segment.previous_end, segment.time],
        "previous": previous,
        "sizes": [len(part) for part in parts],
        "body": zlib.crc32(body),
    }
    return with_checksum(msgspec.json.encode(head)[:-1]) + body


def read_snapshots(disk: Disk, segments: Sequence[Segment]) -> Snapshot | None:
    """The newest snapshot of this chain of segments with all those it rests on; None if there is no whole one."""
    numbers = {segment.name: number for number, segment in enumerate(segments, 1)}
    names = [segment.name for segment in segments if disk.exists(snapshot_name(segment.name))]
    if not names:
        return None
    files = []
    name: str | None = names[-1]
    while name is not None:
        file = _read(disk, segments[numbers[name] - 1]) if name in numbers else None
        if file is None:
            return None
        files.append(file)
        name = file.previous
    if not files[0].rows:
        return None
    dedup: dict[int, int] = {}
    book, public_rows = ListIndex(), PublicList()
    for file in reversed(files):
        names_of, values, *columns, places, ids, standing, lines = file.others
        halves = array("Q", names_of)
        keys = ((high << 64) | low for high, low in zip(halves[::2], halves[1::2], strict=True))
        dedup.update(zip(keys, array("Q", values), strict=True))
        book.extend(ListIndex(columns, places))
        public_rows.extend(ids, standing, lines)
    return Snapshot(files[0].live_rows(), dedup, book, public_rows, numbers[names[-1]])


def rests_on(disk: Disk, segment: Segment, previous: str | None) -> bool:
    """Whether there is a whole snapshot of all before this segment that rests on that one (None: on no other)."""
    if not disk.exists(snapshot_name(segment.name)):
        return False
    file = _read(disk, segment)
    return file is not None and file.previous == previous


def _read(disk: Disk, segment: Segment) -> _File | None:
    try:
        return _file(segment, disk.read(snapshot_name(segment.name)))
    except OSError:
        return None


def _file(segment: Segment, raw: bytes) -> _File | None:
    """What is in it; None if it is damaged or was written by another version or kind of machine."""
    try:
        head, body = raw[: raw.index(b"\n") + 1], raw[raw.index(b"\n") + 1 :]
        if not has_checksum(head):
            return None
        read = pydantic_core.from_json(head)
        if read["format"] not in FORMATS or (read["order"], read["segment"]) != (sys.byteorder, segment.name):
            return None
        # A backup, or another folder, may have a segment of this name.
        if read["of"] != [segment.first, segment.previous_end, segment.time]:
            return None
        if read["body"] != zlib.crc32(body):
            return None
        parts, at = [], 0
        for size in read["sizes"]:
            parts.append(body[at : at + size])
            at += size
        rows, *others = parts
        return _File(read["format"], read["previous"], rows, others)
    except (ValueError, KeyError, TypeError):
        return None
