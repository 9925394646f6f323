"""What a store is asked for, in pieces that keep nobody waiting, whatever lies behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, TypeVar

import msgspec
import structlog

from broker.messages import Message
from services.shared.journal import untold
from services.shared.journal.position import TOLD, told
from services.shared.journal.public_list import BETWEEN, END
from services.shared.journal.rows import Recorded
from services.shared.store import MAX_LINES, Damaged
from services.shared.turns import Turns

log = structlog.get_logger()
Row = TypeVar("Row", bound=msgspec.Struct)
# Looked at in one go: a millisecond or two.
STRETCH: Final = 16_384
# Lines of the public list, likewise.
STRETCH_LINES: Final = 500


class Reads(Recorded[Row]):
    """`RowReader`, of what is in memory and in the journal."""

    async def row(self, key: str) -> Row | None:
        return self.find(key)

    async def rows_of(self, keys: Iterable[str]) -> dict[str, Row]:
        found: dict[str, Row] = {}
        turns = Turns()
        for key in keys:
            with suppress(Damaged):
                if (row := self.find(key)) is not None:
                    found[key] = row
            await turns.pause()
        return found

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
        for start in range(after, len(self.list_index), STRETCH):
            for number in self.list_index.lines(after=start, upto=start + STRETCH, where=wanted):
                found.append((number, self.word(self.list_index.place(number))))
                if len(found) == limit:
                    return found
                await turns.pause()
            await turns.pause()
        return found

    async def records(self, after: int, size_bytes: int) -> list[bytes]:
        return self.some_records(after, size_bytes)

    health = None

    @property
    def lags(self) -> bool:
        return not self.leads

    # Of one process that decides at a time, the next one says what the one before has not told.
    _publish: Callable[[Sequence[Message]], Awaitable[None]] | None = None
    _all_told = False

    @cached_property
    def _speaks(self) -> asyncio.Event:
        return asyncio.Event()

    def speaks(self, publish: Callable[[Sequence[Message]], Awaitable[None]]) -> None:
        self._publish = publish
        self._speaks.set()

    async def tell(self) -> None:
        """Once this process decides: say what whoever led before died without telling."""
        end, count = self.seq, 0
        await self._speaks.wait()
        assert self._publish is not None
        async for words in untold.untold(self, end):
            await self._publish(words)
            count += len(words)
        self._all_told = True
        if count:
            log.info("said what was decided and not told before", words=count)

    async def told_upto(self) -> int:
        return untold.told_upto(self, self.seq)

    def told(self, messages: Sequence[Message]) -> None:
        if messages and self._all_told:
            with suppress(OSError):
                self.disk.note(TOLD, told(messages[-1].heights))

    async def alone(self) -> None: ...

    async def durable(self) -> None: ...

    async def moment(self) -> None: ...

    async def latest(self) -> int:
        return self.seq
