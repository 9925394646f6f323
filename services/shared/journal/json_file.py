"""The readable view: the service's rows beside its journal, in the seed's own format, seconds old at the most."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import aiofiles
import msgspec
import pydantic_core
import structlog

from services.shared.journal.disk import private
from services.shared.journal.public_list import BETWEEN, END
from services.shared.journal.rows import Recorded
from services.shared.store import Damaged

log = structlog.get_logger()
# So much of the journal is read for new lines at a time: the others wait for some milliseconds meanwhile.
CHUNK_BYTES: Final = 256 * 1024
VIEW_SECONDS: Final = 1.0


class View(Protocol):
    async def write(self) -> None:
        """Bring the file up to date. Raises OSError."""


def view_of(rows: Recorded[Any], file: Path) -> View | None:
    """As the domain says: its list, what the public sees of its rows, or nothing."""
    listing = rows.domain.listing
    if listing is None:
        return PublicListFile(rows, file)
    return ListingFile(rows, file, listing.public) if listing.public else None


async def keep_shown(view: View) -> None:
    """Write it again and again."""
    said = ""
    while True:
        started = time.monotonic()
        try:
            await view.write()
            said = ""
        except (OSError, Damaged) as error:
            if str(error) != said:
                log.warning("the readable view cannot be written", error=str(error))
            said = str(error)
        # A view of many rows is written less often, so that it never takes more than a twentieth of the time.
        await asyncio.sleep(max(VIEW_SECONDS, 20 * (time.monotonic() - started)))


class PublicListFile:
    """All that the public sees of the rows. The file is written anew, and a reader sees the old one or the new one."""

    def __init__(self, rows: Recorded[Any], file: Path) -> None:
        self._rows, self._file = rows, file
        self._written = -1

    async def write(self) -> None:
        if self._written == self._rows.seq:
            return
        seq, body = self._rows.seq, self._rows.public_rows.body()
        new = self._file.with_name(f".{self._file.name}.new")
        async with aiofiles.open(new, "wb", opener=private) as file:
            await file.write(body)
        os.replace(new, self._file)  # noqa: PTH105
        self._written = seq


class ListingFile:
    """A list that only grows. New lines are written over the closing bracket, in one write, whatever its length."""

    def __init__(
        self, rows: Recorded[Any], file: Path, public: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> None:
        self._rows, self._file, self._public = rows, file, public
        # How many lines the file has, and the record that the last of them is in.
        self._lines, self._seq = -1, 0
        # How long it is: what stands behind that is of a write that found no room for all of it.
        self._size = 0

    async def write(self) -> None:
        if self._lines < 0:
            self._lines = await self._resume()
            self._seq = self._rows.seq_at(self._rows.list_index.place(self._lines)) if self._lines else 0
        while records := self._rows.some_records(self._seq, CHUNK_BYTES):
            words = (word for record in records for word in msgspec.json.decode(record)["words"])
            added = [self._shown(word) for word in words if self._rows.line_of(word)]
            if added:
                new = (BETWEEN if self._lines else b"") + BETWEEN.join(added) + END
                async with aiofiles.open(self._file, "r+b") as file:
                    await file.seek(self._size - len(END))
                    await file.write(new)
                    await file.truncate()
                self._size += len(new) - len(END)
            self._lines, self._seq = self._lines + len(added), self._seq + len(records)

    def _shown(self, word: Mapping[str, Any]) -> bytes:
        return msgspec.json.encode(self._public(word))

    def _line(self, number: int) -> bytes:
        """As the book has it. Raises Damaged."""
        return self._shown(self._rows.word(self._rows.list_index.place(number)))

    async def _resume(self) -> int:
        """How many lines the file has; one that a crash left unfinished, or that is of another book, is begun anew."""
        if self._file.exists():
            async with aiofiles.open(self._file, "rb") as file:
                size = await file.seek(0, os.SEEK_END)
                await file.seek(max(0, size - 4096))
                tail = await file.read()
            try:
                last = pydantic_core.from_json(b"[" + tail[tail.rindex(b"{") :])[0]["id"] if b"{" in tail else 0
                if 0 < last <= len(self._rows.list_index) and tail.endswith(self._line(last) + END):
                    self._size = size
                    return int(last)
            except (ValueError, KeyError, TypeError):
                pass
        async with aiofiles.open(self._file, "wb", opener=private) as file:
            await file.write(b"[" + END)
        self._size = len(b"[" + END)
        return 0
