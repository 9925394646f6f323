"""A book that is written again: a new first segment is the whole journal from the moment that it has its name.

Until then nothing is changed, whatever dies. What was there before stays in the folder, beside the chain of headers, as
a fenced writer's segments do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Protocol

from broker.messages import Message
from services.shared.heights import BookHeights
from services.shared.journal import segments as journal
from services.shared.journal.disk import Disk
from services.shared.journal.packed import SUFFIX
from services.shared.store import Fenced

# How a first segment is called until it is whole, before its epoch.
UNFINISHED: Final = "rebuilt-"


class Book(Protocol):
    """A store that has read nothing."""

    disk: Disk
    heights: BookHeights

    async def begin(self, name: str, file: str | None = None) -> None: ...

    async def process_batch(self, batch: Sequence[Message]) -> Sequence[Any]: ...


async def write_again(book: Book, heights: BookHeights, batches: AsyncIterator[Sequence[Message]]) -> None:
    """See Store.begin_again: `book` decides it all, in the folder of the one whose place it takes."""
    disk, epoch = book.disk, journal.latest_epoch(book.disk) + 1
    name = journal.segment_name(epoch, 1)
    unfinished = UNFINISHED + name.removeprefix("journal-")
    for left in disk.names():
        if left.startswith(UNFINISHED):
            disk.remove(left)
    disk.create(unfinished)
    book.heights = heights
    await book.begin(name, unfinished)
    async for batch in batches:
        await book.process_batch(batch)
        await asyncio.sleep(0)
    disk.release(unfinished)
    disk.release(mark := journal.mark_name(unfinished))
    if disk.exists(mark):
        disk.remove(mark)
    try:
        if disk.exists(name + SUFFIX):
            raise FileExistsError
        disk.publish(unfinished, name)
    except FileExistsError:
        raise Fenced(f"another process has begun epoch {epoch} of this journal") from None
