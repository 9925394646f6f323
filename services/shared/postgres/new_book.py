"""A book in the place of another: decided again, or of a backup's records. In one transaction: whole, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from broker.messages import Message, from_word, subject_of
from services.shared.decision import Domain
from services.shared.heights import BookHeights
from services.shared.postgres.batch import NOTHING, Batch
from services.shared.postgres.deciding import ESCRIBIR, Decides, Outcome
from services.shared.postgres.link import Connection
from services.shared.postgres.voices import new_instance
from services.shared.records import has_checksum
from services.shared.store import Damaged

Row = TypeVar("Row", bound=msgspec.Struct)


async def clear(connection: Connection, heights: BookHeights) -> None:
    """Begin: nothing is in the tables, and nobody else writes in them; who reads, sees what was there. Who has read the
    old book finds another one then."""
    # What is put in comes from elsewhere, and may take its time.
    await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    # In the order in which a batch comes by them: none waits for us while we wait for it.
    await connection.execute("LOCK TABLE filas, esperas, libro, recuerdo, diario, lista, voces IN EXCLUSIVE MODE")
    for table in ("filas", "esperas", "recuerdo", "diario", "lista", "voces"):
        await connection.execute(f"DELETE FROM {table}")
    await connection.execute(
        "UPDATE libro SET identidad = $1, generacion = $2, antes = $3, oido = $4",
        heights.book,
        heights.generation,
        heights.formerly,
        heights.known(),
    )


class NewBook(Decides[Row]):
    """Who writes in that transaction."""

    def __init__(self, domain: Domain[Row], heights: BookHeights) -> None:
        super().__init__("", domain)
        self.heights = heights

    async def decide(self, connection: Connection, batch: Sequence[Message]) -> None:
        """Raises Doubted."""
        self.rewriting = self.heights.generation
        self._committed(await self._decide(connection, batch))

    async def said_by_the_dead(self, connection: Connection, told: int) -> None:
        """What is put from here on counts as decided by a process that died, and had told it up to this record."""
        self.instance = new_instance()
        await connection.execute("INSERT INTO voces VALUES ($1, $2)", self.instance, told)

    async def put(self, connection: Connection, some: Sequence[bytes]) -> None:
        """Records as they were written, behind those that are there. Raises Damaged."""
        records = [_checked(raw, self.seq + number) for number, raw in enumerate(some, 1)]
        subjects = dict.fromkeys(record["id"].rsplit(":", 1)[0] for record in records)
        subjects |= dict.fromkeys(subject_of(word) for record in records for word in record["words"])
        read = await self._read(connection, list(dict.fromkeys(record["row"] for record in records)), list(subjects))
        pending: Batch[Row] = Batch(
            self.domain, self.table, self._codec, read.known, read.seen, {}, lambda heights: False
        )
        for record, raw in zip(records, some, strict=True):
            subject, kind = record["id"].rsplit(":", 1)
            key, change = record["row"], record["change"]
            row = pending.rows[key] if key in pending.rows else read.known.get(key, NOTHING).row
            if change is not None:
                row = self._codec.changed(row, change)
            words = [from_word(word) for word in record["words"]]
            pending.add(subject, kind, key, row, words, raw[raw.index(b',"id":') : raw.rindex(b',"crc":')])
        dated = [record["batch"] for record in records], [record["time"] for record in records]
        columns = (*read.book, *pending.columns(), *dated)
        outcome = Outcome([], pending, self.heights.heard, self.seq)
        outcome.base, outcome.hora, _ = await connection.fetchrow(ESCRIBIR, self.instance, *columns)
        self._committed(outcome)


def _checked(raw: bytes, seq: int) -> dict[str, Any]:
    """Raises Damaged."""
    try:
        record: dict[str, Any] = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        record = {}
    if not has_checksum(raw) or record.get("seq") != seq:
        raise Damaged(f"what came behind record {seq - 1} is not record {seq} as it was written")
    return record
