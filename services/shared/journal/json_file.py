"""The readable view: the service's rows beside its journal, in the seed's own format, seconds old at the most."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import aiofiles
import msgspec
import pydantic_core
from msgspec import Struct

from services.shared.journal.public_list import BETWEEN, END
from services.shared.journal.store import JsonStore

Row = TypeVar("Row", bound=Struct)
# So much of the journal is read for new lines at a time: the others wait for some milliseconds meanwhile.
CHUNK_BYTES: Final = 256 * 1024


class View(Protocol):
    async def write(self) -> None:
        """Bring the file up to date. Raises OSError."""


class ShelfView:
    """All that the public sees of the rows. The file is written anew, and a reader sees the old one or the new one."""

    def __init__(self, store: JsonStore[Any], file: Path) -> None:
        self._store, self._file = store, file
        self._written = -1

    async def write(self) -> None:
        if self._written == self._store.seq:
            return
        seq, body = self._store.seq, self._store.shelf.body()
        new = self._file.with_name(f".{self._file.name}.new")
        async with aiofiles.open(new, "wb") as file:
            await file.write(body)
        os.replace(new, self._file)  # noqa: PTH105
        self._written = seq


class BookView(Generic[Row]):
    """A book that only grows. New lines are written over the closing bracket, in one write, whatever its length."""

    def __init__(
        self, store: JsonStore[Row], file: Path, public: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> None:
        self._store, self._file, self._public = store, file, public
        # How many lines the file has, and the record that the last of them is in.
        self._lines, self._seq = -1, 0

    def lines(self, numbers: list[int]) -> list[bytes]:
        """These lines of the book, as the public sees them."""
        book, word = self._store.book, self._store.word
        return [msgspec.json.encode(self._public(word(book.place(number)))) for number in numbers]

    async def write(self) -> None:
        if self._lines < 0:
            self._lines = await self._resume()
            self._seq = self._store.seq_at(self._store.book.place(self._lines)) if self._lines else 0
        while records := self._store.some_records(self._seq, CHUNK_BYTES):
            words = (word for record in records for word in msgspec.json.decode(record)["words"])
            added = [msgspec.json.encode(self._public(word)) for word in words if self._store.in_book(word)]
            if added:
                async with aiofiles.open(self._file, "r+b") as file:
                    await file.seek(-len(END), os.SEEK_END)
                    await file.write((BETWEEN if self._lines else b"") + BETWEEN.join(added) + END)
            self._lines, self._seq = self._lines + len(added), self._seq + len(records)

    async def _resume(self) -> int:
        """How many lines the file has; a file that a crash left unfinished is begun anew."""
        if self._file.exists():
            async with aiofiles.open(self._file, "rb") as file:
                size = await file.seek(0, os.SEEK_END)
                await file.seek(max(0, size - 4096))
                tail = await file.read()
            try:
                last = pydantic_core.from_json(b"[" + tail[tail.rindex(b"{") :])[0]["id"] if b"{" in tail else 0
                if tail.endswith(END) and 0 < last <= len(self._store.book):
                    return int(last)
            except (ValueError, KeyError, TypeError):
                pass
        async with aiofiles.open(self._file, "wb") as file:
            await file.write(b"[" + END)
        return 0


def array(items: Any) -> bytes:
    """JSON values as an array, one to a line."""
    return b"[" + BETWEEN.join(items) + END
