"""`PUT /libro`: the records of a backup take the place of this service's book, which goes on as its next generation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Final

from msgspec import MsgspecError, Struct
from msgspec.json import decode

from broker.heights import heard, sender
from broker.services import Service
from services.shared.heights import BookHeights
from services.shared.http.problems import Problem
from services.shared.runtime import Runtime
from services.shared.store import Damaged

# The first line is short. A record is as long as a line of 10,000 who are refused at once.
HEAD_BYTES: Final = 16 * 1024
LINE_BYTES: Final = 64 * 1024 * 1024


class Head(Struct):
    """The first line of what is put: as which book it goes on, with what it is to have heard of the others."""

    heights: str
    formerly: list[str] = []


async def lines_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Whole lines with their ends, as they come. Raises Damaged when one has no end, or none in sight."""
    rest = b""
    async for piece in pieces:
        whole, end, rest = (rest + piece).rpartition(b"\n")
        if end:
            yield (whole + end).splitlines(keepends=True)
        if len(rest) > LINE_BYTES:
            break
    if rest:
        raise Damaged("it ends inside a line")


async def put_back(runtime: Runtime[Any], pieces: AsyncIterator[bytes]) -> dict[str, Any]:
    """All of it, or nothing: then the process ends, and reads it. Raises Problem."""
    lines = lines_of(pieces)
    try:
        first: list[bytes] = await anext(lines, [])
        heights = heights_of(runtime.name, first.pop(0) if first else b"", runtime.store.heights)
        count = 0

        async def records() -> AsyncIterator[list[bytes]]:
            nonlocal count
            count += len(first)
            yield first
            async for some in lines:
                count += len(some)
                yield some

        before = runtime.store.seq
        await runtime.store.put_back(heights, records())
    except Damaged as error:
        says = f"this is no book of {runtime.name} as it was backed up: {error}; nothing was changed"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, says) from error
    except OSError as error:
        says = f"{runtime.name}'s disk does not take this book ({error.strerror}); nothing was changed"
        raise Problem(HTTPStatus.INSUFFICIENT_STORAGE, says) from error
    return {"libro": heights.book, "generacion": heights.generation, "registros": count, "antes": before}


def heights_of(service: Service, line: bytes, mine: BookHeights) -> BookHeights:
    """What the first line says, for a service that has this book now. Raises Damaged, Problem."""
    try:
        head = decode(line[:HEAD_BYTES], type=Head)
    except MsgspecError as error:
        raise Damaged(f"its first line does not say which book it is ({error})") from error
    said = sender(head.heights)
    if said is None or said[0] != service:
        raise Damaged(f"its first line says that it is {head.heights!r}")
    at = said[1]
    if at.book == mine.book and at.generation <= mine.generation:
        says = (
            f"this book is of generation {mine.generation} already: it goes on as a later one, not as {at.generation}"
        )
        raise Problem(HTTPStatus.CONFLICT, says)
    heights = BookHeights(service, at.book, at.generation)
    heights.heard = dict(heard(head.heights))
    heights.formerly = [*head.formerly, *([mine.book] if mine.book not in {at.book, *head.formerly} else [])]
    return heights
