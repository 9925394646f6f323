"""`zoco doctor` of a shop with a PostgreSQL of its own: which one it is, whether it is as safe as it was made, and has
room."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ops.findings import Finding
from ops.findings import bad as _bad
from ops.findings import well as _well
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
ASKED: Final = """
    SELECT conexiones AS used, conexiones_max AS most, bytes, replicas, replicas_pedidas, foto_segundos, ranuras_bytes,
           (SELECT coalesce(sum(checksum_failures), 0) FROM pg_stat_database) AS damaged,
           current_setting('fsync') AS fsync,
           current_setting('full_page_writes') AS full_page_writes,
           current_setting('synchronous_commit') AS synchronous_commit
    FROM compras.salud()
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
        told = dict(await connection.fetchrow(ASKED)) | {"oldest": await connection.fetchrow(OLDEST)}
    finally:
        await connection.close()
    return _wrong(told) or [_fine(told)]


def _fine(told: Mapping[str, Any]) -> Finding:
    says = "{used} of {most} connections, {size} MiB"
    return _well("database", says, told["used"], told["most"], told["bytes"] >> 20)


def _wrong(told: Mapping[str, Any]) -> list[Finding]:
    found = []
    if told["used"] >= NEARLY_ALL * told["most"]:
        says = "{used} of its {most} connections are used: a process that starts may get none. End who else has some"
        found.append(_bad("database", says, told["used"], told["most"]))
    if told["replicas"] < told["replicas_pedidas"]:
        says = "a standby is missing ({there} of {wanted}), and all wait for it: `zoco up` starts its own again"
        found.append(_bad("database", says, told["replicas"], told["replicas_pedidas"]))
    if told["foto_segundos"] > OLD_SECONDS:
        says = "a transaction is open for {seconds:.0f} s, and the tables grow: end process {pid} of {role} ({name})"
        pid, role, name = told["oldest"] or (0, "", "")
        found.append(_bad("database", says, told["foto_segundos"], pid, role, name))
    if told["ranuras_bytes"] > KEPT_BYTES:
        says = "{size} MiB of its log are kept for somebody who is away: bring back what follows it, or drop its slot"
        found.append(_bad("database", says, told["ranuras_bytes"] >> 20))
    if told["damaged"]:
        says = "{count} pages were damaged on the disk: stop the shop, and put back a backup"
        found.append(_bad("database", says, told["damaged"]))
    for name, safe in SAFE.items():
        if told[name] != safe:
            says = "{setting} is {value}: what was bought may be lost when the power fails. `zoco up` sets it right"
            found.append(_bad("database", says, name, told[name]))
    return found
