"""Books that say something else than they did, with all that is not meant to be wrong put right again.

A record that is changed gets its checksum, those behind one that went or came get their numbers, headers and marks say
where the segments end: what an audit finds is the one thing that was put in.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from audit_shop import CLIENT, LIVE

SERVICES: Final = ("compras", "tokens", "usuarios", "transacciones")
Record = dict[str, Any]
Wanted = Callable[[Record], bool]
SEGMENT: Final = re.compile(r"journal-\d{8}-\d{6}\.jsonl")
# Where a record stands in the chain, and not what it says.
PLACE: Final = ("seq", "batch", "time")


def seal(line: Record) -> bytes:
    """A line as it stands in a journal, with the checksum that it should have."""
    body = msgspec.json.encode({name: value for name, value in line.items() if name != "crc"})[:-1]
    return b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def mark(end: int) -> bytes:
    number = b"%019d" % end
    return b"%s %08x\n" % (number, zlib.crc32(number))


@dataclass
class Segment:
    """A file of a journal: its header, its records, and what stands behind its end (torn, or a fenced writer's)."""

    name: str
    header: Record
    records: list[Record]
    behind: bytes


class Journal:
    """One service's books, to be changed."""

    def __init__(self, folder: Path) -> None:
        self.segments: list[Segment] = []
        # Whether numbers and batches follow from the records, and headers from the segments; else they stay.
        self.numbered = self.in_order = True
        # Changes of the bytes of files, by name, after all else was written; None: the file is gone.
        self.bytes: dict[str, Callable[[bytes], bytes | None]] = {}
        self._strays = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".jsonl", ".torn")}
        self._read()

    def _read(self) -> None:
        headed = sorted(name for name, raw in self._strays.items() if SEGMENT.fullmatch(name) and b"\n" in raw)
        name: str | None = headed[-1]
        end: int | None = None
        while name is not None:
            raw = self._strays.pop(name)
            whole = raw.rfind(b"\n") + 1 if end is None else end
            header, *records = (json.loads(line) for line in raw[:whole].splitlines())
            self.segments.insert(0, Segment(name, header, records, raw[whole:]))
            name, end = header["previous"], header["end"]

    @property
    def records(self) -> list[Record]:
        return [record for segment in self.segments for record in segment.records]

    def find(self, *wanted: Wanted, skip: int = 0) -> Record:
        """The first record, after `skip` others, of which all this is so."""
        found = [record for record in self.records if all(is_so(record) for is_so in wanted)]
        assert len(found) > skip, "this story has no such record"
        return found[skip]

    def remove(self, record: Record) -> None:
        segment, at = self._place(record)
        del segment.records[at]

    def put(self, new: Record, *, before: Record | None = None, after: Record | None = None) -> Record:
        """A copy of this record beside another, written in the same batch."""
        beside = before or after
        assert beside is not None
        segment, at = self._place(beside)
        new = {**copied(new), **{name: beside[name] for name in PLACE}}
        segment.records.insert(at + (after is not None), new)
        return new

    def move(self, record: Record, *, before: Record | None = None, after: Record | None = None) -> None:
        self.remove(record)
        self.put(record, before=before, after=after)

    def swap(self, one: Record, other: Record, *fields: str) -> None:
        """Exchange what two records say, or only these fields of them; each stays at its place of the chain."""
        for name in fields or [name for name in one if name not in PLACE]:
            one[name], other[name] = other[name], one[name]

    def _place(self, record: Record) -> tuple[Segment, int]:
        for segment in self.segments:
            for at, one in enumerate(segment.records):
                if one is record:
                    return segment, at
        raise AssertionError("that record is not in this journal")

    def write(self, folder: Path) -> None:
        if self.numbered and self.in_order:
            self._number()
        files = dict(self._strays)
        before: Segment | None = None
        end = 0
        for segment in self.segments:
            if self.in_order and before is not None:
                segment.header |= {"previous": before.name, "end": end}
            whole = seal(segment.header) + b"".join(map(seal, segment.records))
            end, before = len(whole), segment
            files[segment.name] = whole + segment.behind
            files[segment.name.replace(".jsonl", ".mark")] = mark(end)
        for name, change in self.bytes.items():
            changed = change(files.pop(name))
            if changed is not None:
                files[name] = changed
        folder.mkdir(parents=True)
        for name, raw in files.items():
            (folder / name).write_bytes(raw)

    def _number(self) -> None:
        seq = 0
        for segment in self.segments:
            segment.header["seq"] = seq
            label, first = None, 0
            for record in segment.records:
                seq += 1
                if record["batch"] != label:
                    label, first = record["batch"], seq
                record["seq"], record["batch"] = seq, first


@dataclass
class Edited:
    """The books of a story, read when they are asked for. `write` writes what was changed, and links the rest."""

    story: Path
    live: dict[str, list[Record]] | None = None
    dead_letters: dict[str, int] | None = None
    journals: dict[str, Journal] = field(default_factory=dict)
    # The client's lines, before `write` counts them in the last; raw bytes are written as they stand.
    notes: list[Record] | None = None
    client: Callable[[bytes], bytes] = lambda raw: raw

    def __getattr__(self, name: str) -> Journal:
        if name not in SERVICES:
            raise AttributeError(name)
        if name not in self.journals:
            self.journals[name] = Journal(self.story / name)
        return self.journals[name]

    def book(self, service: str) -> Journal:
        journal: Journal = getattr(self, service)
        return journal

    def shown(self) -> dict[str, list[Record]]:
        """What the services answer, to be changed."""
        if self.live is None:
            self.live = json.loads((self.story / LIVE).read_text(encoding="utf-8"))
        return self.live

    def told(self) -> list[Record]:
        """The client's lines, to be changed."""
        if self.notes is None:
            self.notes = [json.loads(line) for line in (self.story / CLIENT).read_text(encoding="utf-8").splitlines()]
        return self.notes

    def write(self, folder: Path) -> None:
        for name in SERVICES:
            if name in self.journals:
                self.journals[name].write(folder / name)
            else:
                (folder / name).symlink_to(self.story / name)
        notes = self.told()
        if "compras" in self.journals and self.compras.records:
            # It is this shop, whatever its first record says now.
            first = json.loads(seal(self.compras.records[0]))
            for note in notes:
                if "shop" in note and "seq" in first:
                    note["shop"] = {name: first[name] for name in note["shop"]}
        if notes and notes[-1].get("closed"):
            notes[-1]["lines"] = len(notes) - 1
        raw = b"".join(json.dumps(note, ensure_ascii=False).encode() + b"\n" for note in notes)
        (folder / CLIENT).write_bytes(self.client(raw))


def copied(value: Any) -> Any:
    """Another one of the same JSON."""
    return json.loads(json.dumps(value))


# What one looks for in a journal


def heard(*types: str) -> Wanted:
    """Records of these messages."""
    return lambda record: record["id"].rpartition(":")[2] in types


def says(*types: str) -> Wanted:
    """Records in which one of these is said."""
    return lambda record: any(word["type"] in types for word in record["words"])


def of(row: str) -> Wanted:
    return lambda record: record["row"] == row


def about(compra: str) -> Wanted:
    return lambda record: record["id"].startswith(compra)


def with_field(name: str) -> Wanted:
    """Records that give this field of the row a new value."""
    return lambda record: name in (record["change"] or {})


def refusing(*motivos: str) -> Wanted:
    """Records that refuse for one of these reasons."""
    return lambda record: any(word.get("motivo") in motivos for word in record["words"])


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value in it that is no list and no object (or an empty one), with the way to it."""
    inside: Any = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    if not inside:
        yield path, value
    for name, one in inside:
        yield from leaves(one, (*path, name))


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def put_at(value: Any, path: tuple[str | int, ...], new: Any) -> None:
    at(value, path[:-1])[path[-1]] = new


def drop_at(value: Any, path: tuple[str | int, ...]) -> None:
    del at(value, path[:-1])[path[-1]]
