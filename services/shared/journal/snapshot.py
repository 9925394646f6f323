"""Snapshots: what the journal before a segment comes to, so that a start need not read it. See docs/journal.md.

Each holds all live rows, but of the dedup index and of what the public sees only what changed since the
snapshot before it: writing one costs the same however many purchases were ever made. They only save time: without
them, or with one damaged, the journal is read from its beginning.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import pydantic_core

from services.shared.journal.disk import Disk
from services.shared.journal.list_index import ListIndex
from services.shared.journal.public_list import PublicList
from services.shared.journal.segments import Segment
from services.shared.records import has_checksum, with_checksum

FORMAT: Final = 2
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
    previous: str | None
    rows: bytes
    keys: bytes
    values: bytes
    book: ListIndex
    public_rows: tuple[bytes, bytes, bytes]


def snapshot_name(segment: str) -> str:
    return segment.removesuffix(".jsonl") + ".snapshot"


async def write_snapshot(
    disk: Disk,
    segment: Segment,
    previous: str | None,
    rows: Mapping[str, Mapping[str, Any]],
    touched: Mapping[int, int],
    book: ListIndex,
    public_rows: tuple[bytes, bytes, bytes],
) -> None:
    """Write down what all before `segment` comes to. Raises OSError."""
    keys = array("Q", (half for key in touched for half in (key >> 64, key & HALF)))
    parts = (
        msgspec.json.encode(rows),
        keys.tobytes(),
        array("Q", touched.values()).tobytes(),
        *book.parts(),
        *public_rows,
    )
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
    await disk.replace(snapshot_name(segment.name), with_checksum(msgspec.json.encode(head)[:-1]) + body)


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
    dedup: dict[int, int] = {}
    book, public_rows = ListIndex(), PublicList()
    for file in reversed(files):
        halves = array("Q", file.keys)
        keys = ((high << 64) | low for high, low in zip(halves[::2], halves[1::2], strict=True))
        dedup.update(zip(keys, array("Q", file.values), strict=True))
        book.extend(file.book)
        public_rows.extend(*file.public_rows)
    return Snapshot(pydantic_core.from_json(files[0].rows), dedup, book, public_rows, numbers[names[-1]])


def rests_on(disk: Disk, segment: Segment, previous: str | None) -> bool:
    """Whether there is a whole snapshot of all before this segment that rests on that one (None: on no other)."""
    if not disk.exists(snapshot_name(segment.name)):
        return False
    file = _read(disk, segment)
    return file is not None and file.previous == previous


def _read(disk: Disk, segment: Segment) -> _File | None:
    """One file; None if it is damaged or was written by another version or kind of machine."""
    try:
        raw = disk.read(snapshot_name(segment.name))
        head, body = raw[: raw.index(b"\n") + 1], raw[raw.index(b"\n") + 1 :]
        if not has_checksum(head):
            return None
        read = pydantic_core.from_json(head)
        if (read["format"], read["order"], read["segment"]) != (FORMAT, sys.byteorder, segment.name):
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
        rows, keys, values, *columns, places, ids, standing, lines = parts
        return _File(read["previous"], rows, keys, values, ListIndex(columns, places), (ids, standing, lines))
    except (OSError, ValueError, KeyError, TypeError):
        return None
