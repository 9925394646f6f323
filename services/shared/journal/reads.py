"""What a store is asked for, in pieces that keep nobody waiting, whatever lies behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from services.shared.journal.public_list import BETWEEN, END
from services.shared.journal.rows import Recorded
from services.shared.store import MAX_LINES
from services.shared.turns import Turns

Row = TypeVar("Row", bound=msgspec.Struct)
# Looked at in one go: a millisecond or two.
STRETCH: Final = 16_384
# Lines of the public list, likewise.
STRETCH_LINES: Final = 500


class Reads(Recorded[Row]):
    """`RowReader`, of what is in memory and in the journal."""

    async def row(self, key: str) -> Row | None:
        return self.find(key)

    async def unfinished_rows(self) -> Mapping[str, Row]:
        return dict(self.rows)

    async def public_list(self, limit: int = MAX_LINES, after: int = 0) -> tuple[bytes, int | None]:
        if not after and len(self.public_rows) <= limit:
            return self.public_rows.body(), None
        found: list[bytes] = []
        turns = Turns()
        while some := self.public_rows.behind(after, min(STRETCH_LINES, limit - len(found))):
            found += [line for _, line in some]
            after = some[-1][0]
            await turns.pause()
        more = self.public_rows.behind(after, 1)
        return b"[" + BETWEEN.join(found) + END, after if more else None

    async def listed(
        self, limit: int, *, after: int = 0, where: Mapping[str, int | None]
    ) -> list[tuple[int, Mapping[str, Any]]]:
        wanted = [where.get(name) for name in (self.domain.listing.fields if self.domain.listing else ())]
        found: list[tuple[int, Mapping[str, Any]]] = []
        turns = Turns()
        for start in range(after, len(self.book), STRETCH):
            for number in self.book.lines(after=start, upto=start + STRETCH, where=wanted):
                found.append((number, self.word(self.book.place(number))))
                if len(found) == limit:
                    return found
                await turns.pause()
            await turns.pause()
        return found

    async def records(self, after: int, size_bytes: int) -> list[bytes]:
        return self.some_records(after, size_bytes)
