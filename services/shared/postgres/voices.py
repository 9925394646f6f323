"""Words of processes that died: each says up to where it has said its own, and who finds one dead says the rest.

What came by HTTP is asked for by no broker again, and whoever accepted it may never come back; what was to be said of
others, as of who waits in a line, no message asks for while the queues are never empty. A process is alive while its
connection for writing holds the advisory lock of its number: so it is dead only once its last COMMIT has ended.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import structlog

from broker.amqp.bus import BusError
from broker.heights import sender
from broker.messages import Message, from_word
from services.shared.postgres.link import PASSING, WAIT_FOR_STANDBY, Connection, Link, said
from services.shared.postgres.reads import read_record
from services.shared.seed import is_seed

if TYPE_CHECKING:
    from services.shared.postgres.deciding import Decides

log = structlog.get_logger()
ROUND_SECONDS: Final = 1.0
# The advisory lock of whoever asks again for what does not get on. That of a process is its number.
ALONE: Final = 1
LOCK: Final = "SELECT pg_try_advisory_lock(current_schema()::regnamespace::oid::int, $1)"
UNLOCK: Final = "SELECT pg_advisory_unlock(current_schema()::regnamespace::oid::int, $1)"
OTHERS: Final = """
    SELECT bool_or(NOT pg_try_advisory_lock(current_schema()::regnamespace::oid::int, instancia::int))
    FROM voces WHERE instancia <> $1
"""
# The last record before the first whose words may not be said.
TOLD: Final = """
    SELECT coalesce(
        (SELECT min(d.seq) - 1 FROM voces v JOIN diario d ON d.instancia = v.instancia AND d.seq > v.dicho),
        (SELECT seq FROM diario ORDER BY seq DESC LIMIT 1),
        0)
"""
# So many records of a dead process are read at a time.
SOME: Final = 200


def new_instance() -> int:
    return secrets.randbelow(2**31 - 3) + 3


class Voices:
    """Of one process, beside its store."""

    def __init__(self, store: Decides[Any], link: Link) -> None:
        self.publish: Callable[[Sequence[Message]], Awaitable[None]] | None = None
        self.link = link
        self._store = store
        # The last record of this process that has words, and the last whose words the broker has.
        self._decided = 0
        self._told = 0

    async def live(self, connection: Connection, instance: int) -> None:
        """A process with a new connection for writing: as long as that lasts, it lives."""
        assert await connection.fetchval(LOCK, instance), "another process has the same number"
        await connection.execute(
            "INSERT INTO voces SELECT $1, coalesce((SELECT seq FROM diario ORDER BY seq DESC LIMIT 1), 0)", instance
        )

    async def others(self) -> bool:
        """Whether another process of the service lives. Nobody speaks for those that died while this one has its link.
        Raises one of PASSING."""
        return bool(await (await self.link.get()).fetchval(OTHERS, self._store.instance))

    async def told_upto(self) -> int:
        """Of all processes, once none of them lives. Raises one of PASSING."""
        upto: int = await (await self.link.get()).fetchval(TOLD)
        return upto

    def decided(self, base: int, words: Sequence[Sequence[Message]]) -> None:
        self._decided = max([self._decided, *(seq for seq, some in enumerate(words, base) if some)])

    def told(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if (said_by := sender(message.heights)) is not None and said_by[0] == self._store.domain.name:
                self._told = max(self._told, said_by[1].seq)

    @property
    def _said(self) -> int:
        return self._store.seq if self._told >= self._decided else self._told

    async def run(self) -> None:
        while True:
            try:
                connection = await self.link.get()
                await connection.execute(
                    "UPDATE voces SET dicho = $2 WHERE instancia = $1 AND dicho < $2", self._store.instance, self._said
                )
                others = await connection.fetch("SELECT * FROM voces WHERE instancia <> $1", self._store.instance)
                for instance, dicho in others:
                    if self.publish is not None and await connection.fetchval(LOCK, instance):
                        await self._speak_for(connection, instance, dicho)
            except (*PASSING, BusError) as error:
                if self.link.alone:
                    self.link.drop()
                log.info("the words of processes that died wait", reason=said(error))
            await asyncio.sleep(ROUND_SECONDS)

    async def _speak_for(self, connection: Connection, instance: int, dicho: int) -> None:
        """Its lock is held here."""
        try:
            await connection.execute(WAIT_FOR_STANDBY)
            self.link.expect_standby()
            count, known = 0, self._store.heights.known()
            while records := await connection.fetch(
                "SELECT seq, registro FROM diario WHERE seq > $1 AND instancia = $2 ORDER BY seq LIMIT $3",
                dicho,
                instance,
                SOME,
            ):
                words: list[Message] = []
                for seq, record in records:
                    heights = self._store.heights.said(seq, known)
                    said_there = map(from_word, read_record(record)["words"])
                    words += [word.said(heights) for word in said_there if not is_seed(word.subject)]
                assert self.publish is not None
                await self.publish(words)
                dicho, count = records[-1][0], count + len(words)
            await connection.execute("DELETE FROM voces WHERE instancia = $1", instance)
            if count:
                log.info("said what a process that died had not", words=count, instance=instance)
        finally:
            if not connection.is_closed():
                await connection.fetchval(UNLOCK, instance)

    async def alone(self) -> None:
        """Return once no other process of the service asks again. If the lock is lost later, two do: no harm."""
        while True:
            try:
                if await (await self.link.get()).fetchval(LOCK, ALONE):
                    return
            except PASSING as error:
                log.info("whether another process asks again is not known", reason=said(error))
            except asyncpg.PostgresError as error:
                log.warning("whether another process asks again cannot be known", reason=said(error))
            await asyncio.sleep(ROUND_SECONDS)
