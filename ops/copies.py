"""The four books as they were read, one after the other, while their shop went on; and back to where they agree.

Each is as of another moment, so all are cut back to where no book has heard what another one has not said.
"""

from __future__ import annotations

import io
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import zstandard

from broker.heights import Height, heard, sender
from broker.messages import PRODUCERS, TYPES, subject_of
from broker.services import Service
from ops.errors import UserError

# How the last field of a line seals it.
SEAL: Final = b',"crc":"%08x"}\n'
# It is read twice, and then gone.
FAST: Final = 1
# What no book of this shop has said.
NOBODY: Final = 1 << 62


class BackupFailed(UserError):
    """Why there is no backup, or none to be read, and what helps."""


class Identity(msgspec.Struct, frozen=True):
    """Which book it is, and which others it holds all of since it was written again."""

    book: str
    generation: int
    formerly: tuple[str, ...] = ()


class _Line(msgspec.Struct):
    """What is looked at in a record."""

    seq: int
    id: str
    origin: str = msgspec.field(name="from", default="")
    heard: str = ""
    generation: int = 0


class _Words(msgspec.Struct):
    words: list[dict[str, Any]]


class _Decided(msgspec.Struct):
    id: str
    change: msgspec.Raw
    words: msgspec.Raw


_decided: Final = msgspec.json.Decoder(_Decided).decode
_line: Final = msgspec.json.Decoder(_Line).decode
_words: Final = msgspec.json.Decoder(_Words).decode


class Copy:
    """One service's book as it was read, on this disk."""

    def __init__(self, service: Service, identity: Identity, file: Path) -> None:
        self.service, self.identity, self.file = service, identity, file
        self.records = 0
        # So many of its first records were written again, as this generation; both 0: none.
        self.again = self.again_as = 0
        # What it heard of which a version before this one did not write down whose record it came from.
        self.unnamed: set[str] = set()

    def write(self, pieces: Iterable[bytes]) -> None:
        """Raises BackupFailed when they are not its records, whole."""
        rest = b""
        with zstandard.open(self.file, "wb", cctx=zstandard.ZstdCompressor(FAST)) as file:
            for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for raw in lines:
                    self._take_in(raw)
                file.write(piece)
        if rest:
            raise BackupFailed("the answer of {service} ended inside a record: try again", self.service)

    def lines(self) -> Iterator[bytes]:
        with zstandard.open(self.file, "rb") as file:
            yield from io.BufferedReader(file)

    def _take_in(self, raw: bytes) -> None:
        self.records += 1
        try:
            line = _line(raw)
        except msgspec.MsgspecError:
            line = None
        if line is None or line.seq != self.records or not sealed(raw + b"\n"):
            raise BackupFailed("{service} shows no record {seq} as it was written", self.service, self.records)
        if line.generation:
            self.again, self.again_as = self.records, line.generation
        if not line.origin and self.is_of_another(line.id):
            self.unnamed.add(line.id)

    def is_of_another(self, message_id: str) -> bool:
        """Whether another service said this message."""
        subject, _, kind = message_id.rpartition(":")
        if kind not in TYPES or subject.startswith("semilla:"):
            return False
        return self.service not in PRODUCERS[TYPES[kind]]


def cut(copies: Mapping[Service, Copy]) -> dict[Service, int]:
    """How many records of each book: all that were heard of another one are among its own. The most that can be."""
    needs = {service: _Needs(copies, copy).rises() for service, copy in copies.items()}
    ends = {service: copy.records for service, copy in copies.items()}
    moved = True
    while moved:
        moved = False
        for service, rises in needs.items():
            for other, due in rises.items():
                if (end := bisect_right(due, ends[other])) < ends[service]:
                    ends[service], moved = end, True
    return ends


class _Needs:
    """How far the other books have to reach for the first so many records of one."""

    def __init__(self, copies: Mapping[Service, Copy], copy: Copy) -> None:
        self._copies, self._copy = copies, copy
        self._others: list[Service] = [name for name in copies if name != copy.service]
        self._said = self._said_of_unnamed()

    def rises(self) -> dict[Service, array[int]]:
        """For each other book, as many numbers as there are records; none is smaller than the one before."""
        found = {other: array("Q") for other in self._others}
        high = dict.fromkeys(self._others, 0)
        for raw in self._copy.lines():
            line = _line(raw)
            for other, due in self._due(line):
                high[other] = max(high[other], due)
            for other in self._others:
                found[other].append(high[other])
        return found

    def _due(self, line: _Line) -> Iterator[tuple[Service, int]]:
        if line.origin and (said := sender(line.origin)) is not None:
            yield said[0], self._reach(*said)
        elif self._copy.is_of_another(line.id):
            yield self._said.get(line.id, (self._others[0], NOBODY))
        if line.heard:
            for other, at in heard(f" {line.heard}").items():
                yield other, self._reach(other, at)

    def _reach(self, other: Service, at: Height) -> int:
        if other not in self._copies or other == self._copy.service:
            return 0
        copy = self._copies[other]
        if at.book != copy.identity.book:
            # What another book took the place of is in that one's first part, which is never cut.
            return 0 if at.book in copy.identity.formerly else NOBODY
        return at.seq if at.generation >= copy.again_as else 0

    def _said_of_unnamed(self) -> dict[str, tuple[Service, int]]:
        """Where that was said of which the record itself does not say it."""
        found: dict[str, tuple[Service, int]] = {}
        for other in self._others if self._copy.unnamed else ():
            for seq, raw in enumerate(self._copies[other].lines(), 1):
                for word in _words(raw).words:
                    if (what := f"{subject_of(word)}:{word['type']}") in self._copy.unnamed:
                        found.setdefault(what, (other, seq))
        return found


def ids(pieces: Iterable[bytes]) -> Iterator[str]:
    """Of records that come in pieces of any size."""
    for raw in _whole(pieces):
        yield _line(raw).id


def contents(pieces: Iterable[bytes]) -> Iterator[tuple[str, int]]:
    """The same, and by what one is known that was decided otherwise."""
    for raw in _whole(pieces):
        found = _decided(raw)
        yield found.id, hash((bytes(found.change), bytes(found.words)))


def _whole(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def sealed(raw: bytes) -> bool:
    size = len(SEAL % 0)
    return raw[-size:] == SEAL % zlib.crc32(raw[:-size])
