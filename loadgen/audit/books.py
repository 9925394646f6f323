"""Reading the books from outside: the services' journals, by folder or over HTTP, and what a client was told.

Nothing here is shared with the services: an audit that used their code would share their mistakes.
"""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Final

import aiohttp
import msgspec
from msgspec import UNSET, UnsetType

SERVICES: Final = ("compras", "tokens", "usuarios", "transacciones")
SEGMENT: Final = re.compile(r"journal-\d{8}-\d{6}\.jsonl")
FORMAT: Final = 1
# For a whole journal: a million purchases are some 3 GB.
JOURNAL_SECONDS: Final = 900
PIECE_BYTES: Final = 1024 * 1024
SEAL_BYTES: Final = len(b',"crc":"00000000"}\n')
# A place in a journal is one number: which file, and which line of it.
LINE_BITS: Final = 32


class Unreadable(Exception):
    """The books cannot be read. One sentence: what, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a journal: the lines of a file behind the first `skip`, up to the byte `end` (None: the last whole)."""

    name: str
    file: Path | IO[bytes]
    skip: int
    end: int | None


class Paso(msgspec.Struct, gc=False):
    """One state that a purchase has been in."""

    estado: str


class Reserva(msgspec.Struct, gc=False):
    """Who holds a token."""

    compra_id: str


class Change(msgspec.Struct, gc=False):
    """What the audit reads of a row's fields with a new value, whichever service's row it is."""

    estado: str | UnsetType = UNSET
    historia: list[Paso] | UnsetType = UNSET
    motivo: str | UnsetType | None = UNSET
    precio: int | UnsetType | None = UNSET
    transaccion_id: int | UnsetType | None = UNSET
    nombre: str | UnsetType | None = UNSET
    imagen: str | UnsetType = UNSET
    vendido: bool | UnsetType = UNSET
    reserva: Reserva | UnsetType | None = UNSET
    saldo: int | UnsetType = UNSET


class Word(msgspec.Struct, gc=False, rename="camel"):
    """What the audit reads of a message's body."""

    type: str
    fecha: str
    compra_id: str | None = None
    alta_id: str | None = None
    usuario_id: int = 0
    token_id: int = 0
    precio_maximo: int | None = None
    precio: int | None = None
    motivo: str | None = None
    transaccion_id: int | None = None
    saldo: int | None = None
    monto: int | None = None


class Record(msgspec.Struct, gc=False):
    """One record of a journal: see docs/journal.md."""

    id: str
    row: str
    change: Change | None
    words: list[Word]


_record: Final = msgspec.json.Decoder(Record).decode


class Journal:
    """One service's records, in order. They are read anew each time, a line at a time."""

    def __init__(self, pieces: list[Piece]) -> None:
        self._pieces = pieces

    def records(self) -> Iterator[tuple[int, Record]]:
        """Each record and its place. Raises Unreadable."""
        for number, piece in enumerate(self._pieces):
            place = number << LINE_BITS
            for line, raw in _lines(piece):
                body = raw[:-SEAL_BYTES]
                if raw[-SEAL_BYTES:] != b',"crc":"%08x"}\n' % zlib.crc32(body):
                    raise Unreadable(f"{piece.name}, line {line} is damaged: its checksum is wrong")
                try:
                    record = _record(raw)
                except msgspec.MsgspecError as error:
                    where = f"{piece.name}, line {line}"
                    raise Unreadable(f"{where} is no record that this audit knows: {error}") from error
                yield place | line, record

    def where(self, place: int) -> str:
        """File and line of a place."""
        return f"{self._pieces[place >> LINE_BITS].name}:{place & ((1 << LINE_BITS) - 1)}"


def from_folder(data: Path, service: str) -> Journal:
    """The journal of a service below this data folder. Raises Unreadable."""
    folder = data / service
    names = sorted(path.name for path in folder.glob("journal-*.jsonl") if SEGMENT.fullmatch(path.name))
    if not names:
        raise Unreadable(f"there is no journal in {folder}: name the data folder with --data")
    return Journal([Piece(str(folder / name), folder / name, 1, end) for name, end in _chain(folder, names)])


async def from_service(url: str, operator_token: str) -> Journal:
    """The journal of a service that runs: it shows it to its operator. Raises Unreadable, aiohttp.ClientError."""
    where = f"{url}/diario"
    file = io.BytesIO()
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=JOURNAL_SECONDS)) as http,
        http.get(where, headers={"Authorization": f"Bearer {operator_token}"}) as answer,
    ):
        if answer.status != HTTPStatus.OK:
            raise Unreadable(f"{where} answered {answer.status}: give the operator's token of this shop")
        last = b"\n"
        async for last in answer.content.iter_chunked(PIECE_BYTES):
            file.write(last)
    if not last.endswith(b"\n"):
        raise Unreadable(f"{where} ended inside a record: ask again")
    return Journal([Piece(where, file, 0, None)])


def _lines(piece: Piece) -> Iterator[tuple[int, bytes]]:
    """The piece's lines, numbered as in its file. Raises Unreadable."""
    position = 0
    with piece.file.open("rb") if isinstance(piece.file, Path) else nullcontext(piece.file) as file:
        file.seek(0)
        for number, raw in enumerate(file, 1):
            if not raw.endswith(b"\n") or (piece.end is not None and position + len(raw) > piece.end):
                break
            position += len(raw)
            if number > piece.skip:
                yield number, raw
    if piece.end is not None and position != piece.end:
        raise Unreadable(f"{piece.name} ends inside a record at byte {position}: it is damaged")


def _chain(folder: Path, names: list[str]) -> list[tuple[str, int | None]]:
    """Which segments are the journal, and where each ends: what a fenced writer added later does not count."""
    chain: list[tuple[str, int | None]] = []
    wanted: str | None = None
    end: int | None = None
    for name in reversed(names):
        if wanted is not None and name != wanted:
            continue
        with (folder / name).open("rb") as file:
            first = file.readline()
        try:
            header = json.loads(first)
        except ValueError:
            if wanted is None:
                continue
            raise Unreadable(f"{folder / name} has no header, and the journal goes on behind it") from None
        if header.get("format") != FORMAT:
            raise Unreadable(f"{folder / name} has format {header.get('format')}; this audit reads {FORMAT}")
        chain.append((name, end))
        wanted, end = header["previous"], header["end"]
        if wanted is None:
            return chain[::-1]
    raise Unreadable(f"{folder} lacks {wanted or 'a segment with a header'}")


@dataclass(frozen=True, slots=True)
class Told:
    """One request of the client: what it asked, under which key, and what it was told (None: no answer came)."""

    file: Path
    line: int
    key: str
    usuario_id: int
    token_id: int
    precio_maximo: int | None
    status: int | None
    answer: dict[str, Any] | None

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


def client_journal(file: Path) -> Iterator[Told]:
    """What a client wrote down before and after each request; bad requests are left out. Raises Unreadable."""
    try:
        raw = file.open("rb")
    except OSError as error:
        raise Unreadable(f"{file} cannot be read ({error.strerror}): name it with --client") from error
    asked: dict[int, tuple[int, dict[str, Any]]] = {}
    with raw:
        for number, line in enumerate(raw, 1):
            if not line.endswith(b"\n"):
                raise Unreadable(f"{file}, line {number} is cut off: the client died while it wrote; cut that line off")
            try:
                note = msgspec.json.decode(line)
                if note.get("asks"):
                    asked[note["n"]] = (number, note)
                elif "status" in note and note["n"] in asked:
                    yield _told(file, *asked.pop(note["n"]), note)
            except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
                raise Unreadable(f"{file}, line {number} cannot be read: {error}") from error
    for number, note in asked.values():
        yield _told(file, number, note, {})


def _told(file: Path, line: int, note: dict[str, Any], answer: dict[str, Any]) -> Told:
    asks = note["asks"]
    return Told(
        file,
        line,
        note["key"],
        asks["usuarioId"],
        asks["tokenId"],
        asks.get("precioMaximo"),
        answer.get("status"),
        answer.get("answer"),
    )
