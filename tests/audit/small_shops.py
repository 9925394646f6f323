"""Small shops of a test's own, told by what happens in them, and their books before the audit: edited or not."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from audit_shop import CLIENT, Shop
from edited_books import SERVICES, Edited

from broker.messages import Message, decode, encode
from loadgen.audit.audit import Books, audit
from loadgen.audit.books import Journal, Piece, from_folder
from loadgen.audit.clients import client_journal
from loadgen.audit.verdict import Verdict

Tell: TypeAlias = Callable[[Shop], Awaitable[None]]


class Telling(Shop):
    """Its messages say whose records they are, as they do on the wire."""

    def _take(self, service: str, count: int) -> list[Message]:
        queue = self.waiting[service]
        batch, queue[:] = queue[:count], queue[count:]
        return [decode(message.type, encode(message), self._now(service), message.heights) for message in batch]


def told(folder: Path, tell: Tell, kind: type[Shop] = Shop) -> Path:
    """The books of a shop in which this happened, when all is quiet."""

    async def from_begin_to_end() -> None:
        shop = kind(folder, Random(1))
        await shop.begin()
        await tell(shop)
        await shop.end()

    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(from_begin_to_end())
    return folder


def verdict_of(folder: Path, **more: Any) -> Verdict:
    """Of its books and its client. Raises Unreadable."""
    books: dict[str, Any] = {name: from_folder(folder, name) for name in SERVICES}
    return audit(Books(**books, clients=[client_journal(folder / CLIENT)], **more))


def verdict_after(folder: Path, edit: Callable[[Edited], None], **more: Any) -> Verdict:
    """Of the same books with something else in them."""
    books = Edited(folder)
    edit(books)
    place = Path(tempfile.mkdtemp(dir=folder, prefix="edited-"))
    books.write(place)
    return verdict_of(place, **more)


def records_alone(folder: Path, service: str) -> Journal:
    """As a service shows its book over HTTP, and as a backup has it: without headers."""
    journal = from_folder(folder, service)
    file = folder / f"{service}.records"
    with file.open("wb") as whole:
        for number, piece in enumerate(journal._pieces):
            for _, raw in journal._lines(number, piece):
                whole.write(raw)
    return Journal(service, [Piece(f"http://{service}/diario", file, 0, file.stat().st_size, 0)])
