"""Which code does what each rule of the model says: a rule without any is a promise that only the model keeps.

A place is `module:name`, or `sql:function` of schema.sql, and the words that have to stand there in this order, with …
where there may be more between them.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Final

from services.shared.postgres.tables import SCHEMA

DECIDING: Final = "services.shared.postgres.deciding:Decides"
COMMITTING: Final = "services.shared.postgres.committing:Commits"
BATCH: Final = "services.shared.postgres.batch:Batch"
STORE: Final = "services.shared.postgres.store:PostgresStore"
VOICES: Final = "services.shared.postgres.voices:Voices"
PROCESSOR: Final = "services.shared.processor:Processor"
RESENDER: Final = "services.compras.resend:Resender"
LOCK: Final = "PERFORM pg_advisory_xact_lock(current_schema()::regnamespace::oid::int, 0)"

CODE: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "row lock": (("sql:leer", "JOIN filas f … FOR UPDATE OF f"),),
    "rows in order": (("sql:leer", "ORDER BY f.clave FOR UPDATE OF f"),),
    "absent rows in order": (("sql:escribir", 'INSERT INTO filas … ORDER BY k.clave COLLATE "C" ON CONFLICT'),),
    "do nothing": (("sql:escribir", "ON CONFLICT DO NOTHING; GET DIAGNOSTICS"),),
    "count": (
        ("sql:escribir", "GET DIAGNOSTICS hechas = ROW_COUNT; IF hechas <> nuevas THEN RETURN ROW (0::bigint"),
        (f"{DECIDING}._decide", "if not outcome.base: raise Again"),
        (f"{COMMITTING}.process_batch", "except Again: continue"),
    ),
    "empty row": ((f"{BATCH}.columns", "{key: None for key, row in self.rows.items() if row is None and not"),),
    "recuerdo": ((f"{BATCH}.decide", "& BIT[message.type]: … return Answer( … repeated=True)"),),
    "silence": ((f"{BATCH}.decide", "return Answer((word,) if word is not None else (), repeated=True)"),),
    "second statement": (
        ("sql:leer", "LANGUAGE plpgsql VOLATILE … FOR UPDATE OF f; RETURN QUERY SELECT 'r' … JOIN recuerdo r"),
    ),
    "advisory lock": (("sql:escribir", f"{LOCK} … INSERT INTO diario"),),
    # One of a transaction's own: it is free once that is over.
    "held to the commit": (("sql:escribir", "pg_advisory_xact_lock"), (f"{COMMITTING}._decided", "BEGIN … _commit")),
    "base under the lock": (("sql:escribir", f"{LOCK} … SELECT coalesce(max(d.seq), 0) + 1"),),
    "one place for it": (("sql:escribir", f"INSERT INTO filas … UPDATE filas … {LOCK}"),),
    "WAL record": ((f"{DECIDING}._decide", "elif batch: await self._behind_standby(connection)"),),
    "synchronous": (("services.shared.postgres.link:SESSION", "'synchronous_commit': 'on'"),),
    "no timeout": (
        ("services.shared.postgres.link:SESSION", "'statement_timeout': '0'"),
        (f"{COMMITTING}._commit", "if self._writing.alone: raise StoreBroken"),
    ),
    "unknown is done again": ((f"{COMMITTING}.process_batch", "while True: … except PASSING as error: … _wait_for"),),
    "commit first": (
        (f"{COMMITTING}._decided", "await self._commit(connection) … return outcome.answers"),
        (f"{PROCESSOR}._decide_batch", "await self._store.process_batch( … return decided"),
        (f"{PROCESSOR}._publish", "await self._decided.get() … publish(messages)"),
    ),
    "ack last": ((f"{PROCESSOR}._publish", "await self._transport.publish( … await self._transport.settle("),),
    "accept by writing": (
        ("services.compras.acceptance:Acceptance.accept", "row = None if (several := self._store.leads and"),
    ),
    "voces": ((f"{VOICES}.run", "await self._speak_for("),),
    "voces wait": ((f"{VOICES}._speak_for", "WAIT_FOR_STANDBY … expect_standby() … publish("),),
    "dicho last": ((f"{VOICES}._speak_for", "publish( … DELETE FROM voces"),),
    "writing lock": (
        (f"{COMMITTING}.__init__", '"writes", self._may_write'),
        (f"{STORE}._may_write", "await self._voices.live(connection,"),
        (f"{VOICES}.live", "(LOCK, instance)"),
    ),
    "asking waits": (
        (f"{RESENDER}._ask", "self._store.heights.said( … await self._store.durable() … publish("),
        (f"{STORE}.durable", "_behind_standby( … expect_standby()"),
    ),
    "resender": ((f"{RESENDER}.run", "await self._again(due, oldest)"),),
    "rows forgotten": ((f"{STORE}._prepared", "self._kept.clear()"),),
    # Those of a new connection: see READ_EARLY.
    "readers wait": ((f"{STORE}._prepared", "await self._behind_standby(connection)"),),
}
# What the code does for new connections only: by one that lives, a COMMIT whose wait was cancelled is shown.
READ_EARLY: Final = "readers wait"


def text_of(place: str) -> str:
    """What stands there, each gap a space. Raises KeyError, ImportError, AttributeError: there is no such place."""
    module, _, name = place.partition(":")
    if module == "sql":
        found: object = _functions()[name]
    else:
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        found = inspect.getsource(found) if callable(found) else repr(found)
    return " ".join(str(found).split())


def says(place: str, words: str) -> bool:
    text = text_of(place)
    return re.search(".*".join(map(re.escape, words.split(" … "))), text) is not None


def _functions() -> dict[str, str]:
    found = re.finditer(r"^CREATE FUNCTION (\w+)\(.*?\$\$.*?\$\$;", SCHEMA.read_text(encoding="utf-8"), re.M | re.S)
    return {one[1]: one[0] for one in found}
