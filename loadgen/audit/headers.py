"""The headers of a journal's segments: which book they are of, what each follows. docs/journal.md is what this was
written from."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from loadgen.audit import packed
from loadgen.audit.clocks import is_moment
from loadgen.audit.model import SERVICES
from loadgen.audit.text import Text, Unreadable

# Segments of records that were put back from a backup: no writer begins one.
PUT_BACK: Final = "journal-00000000-"
FORMAT: Final = 1
SEAL: Final = b',"crc":"%08x"}\n'
SEAL_BYTES: Final = len(SEAL % 0)
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
BOOK: Final = re.compile(r"[0-9a-f]{8}")
MARK: Final = re.compile(rb"(\d{19}) ([0-9a-f]{8})\n")
# How far a book was heard of.
HEIGHT: Final = re.compile(
    rf"({'|'.join(SERVICES)})/([0-9a-f]{{8}})/([1-9][0-9]{{0,8}})/([0-9]{{1,16}})(?:/([0-9]{{1,16}}-[0-9a-f]{{4}}))?"
)


class Header(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The first line of a segment."""

    format: int
    service: str
    segment: str
    seq: int
    previous: str | None
    end: int
    time: str
    crc: str
    # All three, or none of them, as of a version before this one.
    book: str | msgspec.UnsetType = msgspec.UNSET
    generation: int | msgspec.UnsetType = msgspec.UNSET
    heard: str | msgspec.UnsetType = msgspec.UNSET
    formerly: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str, int] | None:
        """Which book it is, in which generation; None: nobody said it."""
        if isinstance(self.book, str) and isinstance(self.generation, int):
            return self.book, self.generation
        return None

    @property
    def branch(self) -> str:
        """Its first record, and digits that differ where two went on from one copy; "": that is not known, as of what
        was put back."""
        if self.identity is None or self.segment.startswith(PUT_BACK):
            return ""
        return f"{self.seq + 1}-{zlib.crc32(f'{self.segment} {self.time}'.encode()) & 0xFFFF:04x}"


_header: Final = msgspec.json.Decoder(Header).decode


def is_time(time: str) -> bool:
    """Whether a record or a header may be dated so."""
    return TIME.fullmatch(time) is not None and is_moment(time)


def refuse(says: str, *values: object) -> NoReturn:
    raise Unreadable("{says}: the journal is not what was written", Text(says, *values))


def identity_of(file: Path, header: Header, known: tuple[str, int] | None) -> tuple[str, int] | None:
    """Which book it is, as all segments of it say that say it at all. Raises Unreadable."""
    told = [value is not msgspec.UNSET for value in (header.book, header.generation, header.heard)]
    found = header.identity
    heard = [] if not isinstance(header.heard, str) or not header.heard else header.heard.split(" ")
    whole = found is not None and BOOK.fullmatch(found[0]) and found[1] > 0 and all(map(HEIGHT.fullmatch, heard))
    if any(told) and not (all(told) and whole):
        refuse("{file} does not say whole which book it is of", file)
    # Behind records that were put back, a book goes on as a later generation of itself.
    later = found and known and found[0] == known[0] and found[1] < known[1] and file.name.startswith(PUT_BACK)
    if found and known and found != known and not later:
        refuse("{file} is of book {book}, and the journal goes on as {other}", file, found, known)
    return known if later else found or known


def head_of(file: Path, service: str) -> tuple[Header | None, int]:
    """A segment's header and its size in bytes; None when its writer died before there was one. Raises Unreadable."""
    with packed.opened(file) as opened:
        raw, more = opened.readline(), opened.readline()
    # What a newer version may write is not known, its seal neither: its number is looked at first.
    if (version := _version(raw)) not in (None, FORMAT):
        says = "{file} has format {version}; this audit reads {ours}: use the audit of that version"
        raise Unreadable(says, file, version, FORMAT)
    if raw[-SEAL_BYTES:] != SEAL % zlib.crc32(raw[:-SEAL_BYTES]):
        if more:
            raise Unreadable("{file}:1 is damaged: its checksum is wrong", file)
        return None, 0
    try:
        header = _header(raw)
    except msgspec.MsgspecError as error:
        raise Unreadable("{file}:1 is no header that this audit knows: {error}", file, error) from error
    if (header.service, header.segment) != (service, file.name.removesuffix(packed.SUFFIX)):
        refuse("{file} says that it is {segment} of {service}", file, header.segment, header.service)
    if not is_time(header.time):
        refuse("{file} says that it was begun at {time}", file, header.time)
    return header, len(raw)


def _version(raw: bytes) -> int | None:
    """Which format a header says that it has; None where it says nothing."""
    try:
        return int(msgspec.json.decode(raw)["format"])
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return None


def synced_of(file: Path) -> int:
    """How many bytes of a segment are surely on the disk (0: nothing is known). Raises Unreadable."""
    mark = file.with_suffix(".mark")
    try:
        found = MARK.fullmatch(mark.read_bytes())
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise Unreadable("{file} cannot be read ({why}): read it as who runs the shop", mark, error.strerror) from error
    return int(found[1]) if found and int(found[2], 16) == zlib.crc32(found[1]) else 0
