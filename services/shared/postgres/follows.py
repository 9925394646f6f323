"""What is unfinished, and what others have recorded, for whoever follows: the front door."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from services.shared.decision import Domain
from services.shared.postgres.link import Connection
from services.shared.postgres.reads import LATEST, Reads, read_record, records_behind
from services.shared.store import Change, Fenced
from services.shared.turns import Turns

Row = TypeVar("Row", bound=msgspec.Struct)
DATED: Final = "SELECT hora FROM diario WHERE seq = $1"


class Follows(Reads[Row]):
    """All records in their order, whoever made them; those of this process without reading them again."""

    def __init__(self, url: str, domain: Domain[Row]) -> None:
        super().__init__(url, domain)
        self._rows: dict[str, Row] = {}
        self._kinds: Counter[type[Any]] = Counter()
        self._watchers: list[Callable[[Change[Row]], None]] = []
        # What was decided here, by its record's number, until what is before it is known, too: date, key, change.
        self._own: dict[int, tuple[str, str, Change[Row]]] = {}
        self._following = asyncio.Lock()
        # This process with its connection for writing, in `voces` and among the advisory locks. 0, 1 and 2 are others.
        self.instance = 0
        # A COMMIT of it is under way.
        self._commits = False

    def watch(self, heard: Callable[[Change[Row]], None]) -> None:
        self._watchers.append(heard)

    @property
    def unfinished(self) -> int:
        return len(self._rows)

    def unfinished_of(self, kind: type[msgspec.Struct]) -> int:
        return self._kinds[kind]

    async def rows_of(self, keys: Iterable[str]) -> dict[str, Row]:
        asked = list(keys)
        known = {key: row for key in asked if (row := self._rows.get(key)) is not None}
        others = [key for key in asked if key not in known]
        return {**known, **(await super().rows_of(others) if others else {})}

    async def unfinished_rows(self) -> Mapping[str, Row]:
        return dict(self._rows)

    async def _load(self, connection: Connection) -> None:
        """What is unfinished, as of one moment; from there on others' records are taken in."""
        rows: dict[str, Row] = {}
        turns = Turns()
        query = "SELECT clave, clase, datos FROM filas WHERE NOT terminada AND datos IS NOT NULL ORDER BY orden"
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            self.seq, self.time = await connection.fetchrow(LATEST) or (0, "")
            if self.domain.followed:
                async for key, kind, data in connection.cursor(query, prefetch=500):
                    rows[key] = self.table.row(kind, data, None, ())
                    await turns.pause()
        self._rows, self._kinds = rows, Counter(map(type, rows.values()))

    async def _may_read(self, connection: Connection) -> None:
        """Raises Fenced when what was taken in is not there: with no standby yet, it could be seen, and a failover took
        it back."""
        await super()._may_read(connection)
        seq, hora = self.seq, self.time
        if self.domain.followed and seq and await connection.fetchval(DATED, seq) != hora:
            raise Fenced(f"record {seq} of {self.domain.name}, which was read here, is gone, or another one")

    async def latest(self) -> int:
        found = await self._ask(lambda connection: connection.fetchrow(LATEST))
        seq: int = found[0] if found else 0
        # A record of this process is read, perhaps, before it knows that it is there.
        if not self.domain.followed and seq > self.seq and not self._commits:
            self.seq, self.time = found
        return seq

    async def follow(self) -> None:
        """Take in what was recorded, here and by others, up to now."""
        if not self.domain.followed:
            await self.latest()
            return
        async with self._following:
            turns = Turns()
            while True:
                self._take_own()
                if not (found := await self._ask(lambda one: records_behind(one, self.seq))):
                    return
                for seq, _, hora, record, instance in found:
                    if seq > self.seq and not self._take_own():
                        if self._commits and instance == self.instance:
                            # It will be told of it in a moment.
                            return
                        self._take(read_record(record), seq, hora)
                    await turns.pause()

    def _take_own(self) -> bool:
        """Whether there was anything that was decided here, and is the next."""
        taken = False
        while (own := self._own.pop(self.seq + 1, None)) is not None:
            self.seq, self.time = self.seq + 1, own[0]
            self._apply(*own[1:])
            taken = True
        return taken

    def _take(self, record: dict[str, Any], seq: int, hora: str) -> None:
        key, change = record["row"], record["change"]
        row = self._rows.get(key)
        if change is not None:
            row = self._codec.changed(row, change)
        subject, kind = record["id"].rsplit(":", 1)
        self.heights.read(record.get("from", ""), record.get("heard", ""))
        self.seq, self.time = seq, hora
        self._apply(key, Change(kind, subject, row, elsewhere=True))

    def _apply(self, key: str, change: Change[Row]) -> None:
        if change.row is not None and self.domain.followed:
            self._kinds[type(self._rows.get(key))] -= 1
            if self.domain.finished(change.row):
                self._rows.pop(key, None)
            else:
                self._rows[key] = change.row
                self._kinds[type(change.row)] += 1
        for heard in self._watchers:
            heard(change)
