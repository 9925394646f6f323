"""`zoco doctor` of a shop on PostgreSQL: which one it is, whether it is as safe as it was made, and has room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic.alias_generators import to_camel

from ops.findings import Finding
from ops.findings import bad as _bad
from ops.findings import well as _well
from ops.i18n import Text
from ops.postgres import opened
from ops.postgres_programs import NoPostgres, find_postgres
from ops.running import POSTGRES, Running, typed

# With so many of its connections used, the next process that starts may get none.
NEARLY_ALL: Final = 0.9
# Ours take milliseconds: all the while dead rows are kept, and the tables grow.
OLD_SECONDS: Final = 600
# Half of what postgres-ha keeps for who is away (its max_slot_wal_keep_size).
KEPT_BYTES: Final = 1 << 29
# Without these what was committed may be gone, or torn, when the power fails.
SAFE: Final = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
# As a front door asks, and tells it at /estado.
HEALTH: Final = """
    SELECT *, (SELECT count(*) FROM pg_replication_slots WHERE NOT active) AS ranuras_libres FROM compras.salud()
"""
SETTINGS: Final = """
    SELECT (SELECT coalesce(sum(checksum_failures), 0) FROM pg_stat_database) AS damaged,
           current_setting('fsync') AS fsync,
           current_setting('full_page_writes') AS full_page_writes,
           current_setting('synchronous_commit') AS synchronous_commit
"""
# Whose the oldest transaction is.
OLDEST: Final = """
    SELECT pid, usename, application_name FROM pg_stat_activity
    WHERE backend_xmin IS NOT NULL ORDER BY xact_start LIMIT 1
"""


def programs(data: Path) -> Finding:
    try:
        found = find_postgres(data / POSTGRES / "data")
    except NoPostgres as error:
        return Finding("PostgreSQL", False, str(error))
    return _well("PostgreSQL", "{server}, version {version}", found.server, found.version)


@dataclass(frozen=True, slots=True)
class Own:
    """What is known of one that `zoco up` started: whose its oldest transaction is (process, role, application)."""

    oldest: Sequence[Any] | None


async def database(running: Running) -> list[Finding]:
    """Nothing for a shop whose books are files."""
    if running.database_url is None:
        return []
    try:
        connection = await opened(running.database_url)
    except ConnectionError as error:
        kill = typed("kill postgres", running.data)
        return [_bad("database", "no connection ({error}): `{kill}` starts it anew", error, kill)]
    try:
        health = {to_camel(name): value for name, value in (await connection.fetchrow(HEALTH)).items()}
        oldest, settings = await connection.fetchrow(OLDEST), await connection.fetchrow(SETTINGS)
    finally:
        await connection.close()
    return [*_short(health, Own(oldest)), *_unsafe(settings)] or [_fine(health)]


def elsewhere(base: Mapping[str, Any] | None) -> list[Finding]:
    """By what a front door tells of its database; nothing where its books are files, or it is of an older version."""
    if base is None or "salud" not in base:
        return []
    if (health := base["salud"]) is not None:
        return _short(health) or [_fine(health)]
    says = "how it is, cannot be known: run services/shared/postgres/roles.sql in it, as somebody with pg_monitor"
    # One that has just come back is asked in the next round. An older version tells nothing of that.
    return [_bad("database", says)] if base["conectada"] and not base.get("saludPosible") else []


def _fine(health: Mapping[str, Any]) -> Finding:
    says = "{used} of {most} connections, {size} MiB"
    return _well("database", says, health["conexiones"], health["conexionesMax"], health["bytes"] >> 20)


def _short(health: Mapping[str, Any], own: Own | None = None) -> list[Finding]:
    """What it lacks, by the names of /estado."""
    found = []
    if (used := health["conexiones"]) >= NEARLY_ALL * (most := health["conexionesMax"]):
        says = "{used} of its {most} connections are used: a process that starts may get none. End who else has some"
        found.append(_bad("database", says, used, most))
    if (there := health["replicas"]) < (wanted := health["replicasPedidas"]):
        cure = Text("`zoco up` starts its own again") if own else Text("bring it back")
        says = "a standby is missing ({there} of {wanted}), and all wait for it: {cure}"
        found.append(_bad("database", says, there, wanted, cure))
    if idle := health["ranurasLibres"]:
        says = (
            "{count} of its slots are idle: who follows by one is away. Bring it back, make it anew, or drop its slot"
        )
        found.append(_bad("database", says, idle))
    if (seconds := health["fotoSegundos"]) > OLD_SECONDS:
        found.append(_open(seconds, own))
    if (kept := health["ranurasBytes"]) > KEPT_BYTES:
        says = "{size} MiB of its log are kept for somebody who is away: bring back what follows it, or drop its slot"
        found.append(_bad("database", says, kept >> 20))
    return found


def _open(seconds: float, own: Own | None) -> Finding:
    if own is None or own.oldest is None:
        says = "a transaction is open for {seconds:.0f} s, and the tables grow: end it (pg_stat_activity has it)"
        return _bad("database", says, seconds)
    pid, role, name = own.oldest
    says = "a transaction is open for {seconds:.0f} s, and the tables grow: end process {pid} of {role} ({name})"
    return _bad("database", says, seconds, pid, role, name)


def _unsafe(settings: Mapping[str, Any]) -> list[Finding]:
    found = []
    if settings["damaged"]:
        says = "{count} pages were damaged on the disk: stop the shop, and put back a backup"
        found.append(_bad("database", says, settings["damaged"]))
    for name, safe in SAFE.items():
        if settings[name] != safe:
            says = "{setting} is {value}: what was bought may be lost when the power fails. `zoco up` sets it right"
            found.append(_bad("database", says, name, settings[name]))
    return found
