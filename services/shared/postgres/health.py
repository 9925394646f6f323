"""How the database is: each process of the front door asks now and then, and one of them has it as metrics, for all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import asyncpg
import structlog
from prometheus_client import CollectorRegistry, Gauge

from services.shared.postgres.link import PASSING, Connection, Link, said
from services.shared.postgres.voices import LOCK

log = structlog.get_logger()
ROUND_SECONDS: Final = 10.0
# Of the advisory locks, that of who has the metrics: no process has this number.
SHOWS: Final = -1
# By the columns of `salud` (roles.sql), and one that everybody may see.
GAUGES: Final = {
    "foto_segundos": ("snapshot_seconds", "Seconds that the oldest transaction has kept dead rows from being cleared"),
    "xmin_edad": ("xmin_age", "Transactions since the oldest backend_xmin"),
    "replicas": ("standbys", "Standbys that stream, and for which a COMMIT may wait"),
    "replicas_pedidas": ("standbys_wanted", "Standbys for which each COMMIT waits (synchronous_standby_names)"),
    "wal_bytes": ("wal_bytes", "Bytes of the log that are on the disk"),
    "ranuras_bytes": ("slots_wal_bytes", "Bytes of the log that replication slots keep"),
    "ranuras_libres": ("slots_idle", "Replication slots that nobody follows by: whoever did is away"),
    "bytes": ("bytes", "Bytes of all tables and indexes"),
    "conexiones": ("connections", "Connections that are used"),
    "conexiones_max": ("connections_max", "Connections that there may be (max_connections)"),
}
SALUD: Final = """
    SELECT *, (SELECT count(*) FROM pg_replication_slots WHERE NOT active) AS ranuras_libres FROM salud()
"""


class Health:
    """As one process knows it. Only one has the metrics: they would count as many times as there are processes."""

    def __init__(self, url: str, registry: CollectorRegistry) -> None:
        self.link = Link(url, "compras", "health", self._any)
        self._registry = registry
        self._gauges = {
            column: Gauge(f"zoco_database_{name}", says, registry=None) for column, (name, says) in GAUGES.items()
        }
        self._shown = False
        # As of the last round; None while nobody could tell, and nothing where nobody can before it is mended.
        self.told: Mapping[str, float] | None = None

    async def _any(self, connection: Connection) -> None:
        """Whatever it is, also one that waits for its standby: that is to be told. With it the lock is gone."""
        connection.add_termination_listener(lambda _: self.show(None))

    async def run(self) -> None:
        while True:
            try:
                connection = await self.link.get()
                self.told = dict(await connection.fetchrow(SALUD))
                shows = self._shown or await connection.fetchval(LOCK, SHOWS)
                self.show(self.told if shows else None)
            except PASSING as error:
                self.told = None
                self.show(None)
                log.info("how the database is, is not known", reason=said(error))
            except asyncpg.PostgresError as error:
                self.told = {}
                self.show(None)
                why = "run services/shared/postgres/roles.sql, as somebody with pg_monitor"
                log.warning("how the database is, cannot be known", reason=said(error), cure=why)
                return
            await asyncio.sleep(ROUND_SECONDS)

    def show(self, found: Mapping[str, Any] | None) -> None:
        for column, gauge in self._gauges.items():
            if found is not None:
                gauge.set(found[column])
            if (found is not None) != self._shown:
                (self._registry.unregister if found is None else self._registry.register)(gauge)
        self._shown = found is not None
