"""Reading the books from outside: the services' journals, by folder or over HTTP, and what a client was told.

Nothing here is shared with the services: an audit that used their code would share their mistakes.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp

SERVICES: Final = ("compras", "tokens", "usuarios", "transacciones")
SEGMENT: Final = re.compile(r"journal-\d{8}-\d{6}\.jsonl")
FORMAT: Final = 1
# For a whole journal: a million records are some 500 MB.
JOURNAL_SECONDS: Final = 300


class Unreadable(Exception):
    """The books cannot be read. One sentence: what, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a journal, and where it stands."""

    where: str
    seq: int
    # What was decided: the purchase or the entry, and the type of the message.
    about: str
    type: str
    row: str
    change: dict[str, Any] | None
    words: list[dict[str, Any]]


def from_folder(data: Path, service: str) -> Iterator[Record]:
    """The records of a service below this data folder, in order. Raises Unreadable."""
    folder = data / service
    names = sorted(path.name for path in folder.glob("journal-*.jsonl") if SEGMENT.fullmatch(path.name))
    if not names:
        raise Unreadable(f"there is no journal in {folder}: name the data folder with --data")
    for name, end in _chain(folder, names):
        with (folder / name).open("rb") as file:
            raw = file.read() if end is None else file.read(end)
        last = raw.rfind(b"\n") + 1
        if end is not None and last != end:
            raise Unreadable(f"{folder / name} ends inside a record at byte {last}: it is damaged")
        yield from _records(raw[:last].splitlines(), f"{folder / name}", skip=1)


async def from_service(url: str, operator_token: str) -> list[Record]:
    """The records of a service that runs: it shows them to its operator. Raises Unreadable, aiohttp.ClientError."""
    where = f"{url}/diario"
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=JOURNAL_SECONDS)) as http,
        http.get(where, headers={"Authorization": f"Bearer {operator_token}"}) as answer,
    ):
        if answer.status != HTTPStatus.OK:
            raise Unreadable(f"{where} answered {answer.status}: give the operator's token of this shop")
        raw = await answer.read()
    if raw and not raw.endswith(b"\n"):
        raise Unreadable(f"{where} ended inside a record: ask again")
    return list(_records(raw.splitlines(), where, skip=0))


def _records(lines: list[bytes], where: str, skip: int) -> Iterator[Record]:
    for number, raw in enumerate(lines, 1):
        if number <= skip:
            continue
        body, mark, seal = raw.rpartition(b',"crc":"')
        if not mark or seal != b'%08x"}' % zlib.crc32(body):
            raise Unreadable(f"{where}, line {number} is damaged: its checksum is wrong")
        record = json.loads(raw)
        about, kind = record["id"].rsplit(":", 1)
        yield Record(f"{where}:{number}", record["seq"], about, kind, record["row"], record["change"], record["words"])


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

    where: str
    key: str
    usuario_id: int
    token_id: int
    precio_maximo: int | None
    status: int | None
    answer: dict[str, Any] | None


def client_journal(file: Path) -> list[Told]:
    """What a client wrote down before and after each request. Raises Unreadable."""
    asked: dict[int, tuple[str, dict[str, Any]]] = {}
    told: dict[int, dict[str, Any]] = {}
    for number, raw in enumerate(file.read_bytes().split(b"\n")[:-1], 1):
        try:
            line = json.loads(raw)
            if "asks" in line and line["asks"] is None:
                continue
            if "asks" in line:
                asked[line["n"]] = (f"{file}:{number}", line)
            else:
                told[line["n"]] = line
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"{file}, line {number} cannot be read: {error}") from error
    return [
        Told(
            where,
            line["key"],
            line["asks"]["usuarioId"],
            line["asks"]["tokenId"],
            line["asks"].get("precioMaximo"),
            told.get(number, {}).get("status"),
            told.get(number, {}).get("answer"),
        )
        for number, (where, line) in asked.items()
    ]
