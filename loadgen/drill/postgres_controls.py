"""Negative controls of a shop on PostgreSQL: what `controls.py` puts in the place of its store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from typing_extensions import override

from broker.messages import Message
from services.shared.postgres.deciding import Outcome, Read
from services.shared.postgres.link import Connection
from services.shared.postgres.store import PostgresStore
from services.shared.postgres.tables import LOCK_MAKING, MAKING, SCHEMA

# So long there is between reading and writing: two processes are always about the same row.
HELD_SECONDS: Final = 0.05
LOCK: Final = "\n        FOR UPDATE OF f"


class NoRowLock(PostgresStore[Any]):
    """Rows are read, and not locked. Shows with several processes of a service, without any fault: two decide about one
    row, and the later one overwrites what the earlier one did. Breaks 3 or 6 (tokens), 1 (usuarios), and 8."""

    @override
    async def _may_write(self, connection: Connection) -> None:
        await super()._may_write(connection)
        schema = SCHEMA.read_text(encoding="utf-8")
        start = schema.index("CREATE FUNCTION leer(")
        function = schema[start : schema.index("END $$;", start)] + "END $$;"
        assert LOCK in function
        async with connection.transaction():
            # Two that change it at once would be an error of the catalogue's.
            await connection.execute(LOCK_MAKING, MAKING)
            await connection.execute(function.replace("CREATE", "CREATE OR REPLACE", 1).replace(LOCK, ""))

    @override
    async def _read(self, connection: Connection, keys: list[str], subjects: list[str]) -> Read[Any]:
        read = await super()._read(connection, keys, subjects)
        await asyncio.sleep(HELD_SECONDS)
        return read


class NoMemory(PostgresStore[Any]):
    """A message seen before is decided again, by whichever process gets it. Shows when a service is killed: what it had
    not acked comes again. Breaks 9: one effect per message id."""

    @override
    async def _read(self, connection: Connection, keys: list[str], subjects: list[str]) -> Read[Any]:
        read = await super()._read(connection, keys, subjects)
        read.seen.clear()
        return read


class NoWalOnRepeat(PostgresStore[Any]):
    """Whoever only repeats, or only has a new connection, waits for nobody. Shows when those who wait for a standby
    that is away lose their connection: what they committed can be seen, is repeated and told, and then the standby
    takes over without it. Breaks 4: who was told that it is accepted never hears of it again."""

    @override
    async def _may_write(self, connection: Connection) -> None:
        # It says that it lives, and would wait for that.
        await connection.execute("SET synchronous_commit = local")
        await super()._may_write(connection)
        await connection.execute("SET synchronous_commit = on")

    @override
    async def _behind_standby(self, connection: Connection) -> None:
        """Says so."""

    @override
    async def _decide(self, connection: Connection, batch: Sequence[Message]) -> Outcome[Any]:
        outcome = await super()._decide(connection, batch)
        if not outcome.pending.records:
            # It has locked rows, and would wait for that alone.
            await connection.execute("SET LOCAL synchronous_commit = local")
        return outcome


class NoStandby(PostgresStore[Any]):
    """No commit waits for a standby: the shop's PostgreSQL names none (`zoco_without.py`). Shows when one takes over
    that was away: it has nothing of what was accepted meanwhile. Breaks 4."""
