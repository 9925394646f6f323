"""The tables are there, and are this version's: made at the first start, by one process at a time."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import asyncpg

from services.shared.postgres.link import Connection
from services.shared.settings import WrongSetting

# Which version of the tables this code reads and writes.
VERSION: Final = 1
SCHEMA: Final = Path(__file__).with_name("schema.sql")
# Of the advisory locks (voices.py has the others): whoever makes the tables. None that a process keeps.
MAKING: Final = 2
# What tables may lack that an earlier program made. It goes on with them beside this one, so that VERSION stays.
LACKING: Final = "SELECT to_regclass('filas_publicas') IS NULL"
ADDED: Final = """
    ALTER TABLE filas ADD COLUMN publica boolean GENERATED ALWAYS AS (visto IS NOT NULL) STORED;
    CREATE INDEX filas_publicas ON filas ((clave::bigint)) WHERE publica;
    DROP INDEX filas_vistas;
"""
LOCK_MAKING: Final = "SELECT pg_advisory_xact_lock(current_schema()::regnamespace::oid::int, $1)"


async def make_tables(connection: Connection, service: str) -> None:
    """Raises WrongSetting: a person has to mend it."""
    schema = await connection.fetchval("SELECT current_schema()")
    if schema != service:
        role = await connection.fetchval("SELECT current_user")
        raise WrongSetting(
            f"ZOCO_STORE: the role {role} has {f'the schema {schema}' if schema else 'no schema'}: {service} needs "
            f"its own: use the role {service}, and run services/shared/postgres/roles.sql in the database"
        )
    try:
        async with connection.transaction():
            await connection.execute(LOCK_MAKING, MAKING)
            if await connection.fetchval("SELECT to_regclass('libro')") is None:
                await connection.execute(SCHEMA.read_text(encoding="utf-8"))
                await connection.execute(
                    "INSERT INTO libro (esquema, identidad, generacion) VALUES ($1, $2, 1)",
                    VERSION,
                    secrets.token_hex(4),
                )
            version = await connection.fetchval("SELECT esquema FROM libro")
            if version == VERSION and await connection.fetchval(LACKING):
                await connection.execute(ADDED)
    except asyncpg.InsufficientPrivilegeError as error:
        raise WrongSetting(
            f"ZOCO_STORE: the role may not make its tables ({error}): run services/shared/postgres/roles.sql"
        ) from None
    if version != VERSION:
        raise WrongSetting(
            f"the tables of {service} are of version {version}, and this program's are of version {VERSION}: "
            "start the version of Zoco that made them"
        )


async def expect_session(connection: Connection, other: Connection | None) -> None:
    """Raises WrongSetting when a pooler lies between, which gives each transaction another connection: locks that a
    process holds would be somebody else's."""
    if other is None or other.is_closed():
        return
    pid = "SELECT pg_backend_pid()"
    if await connection.fetchval(pid) == await other.fetchval(pid):
        raise WrongSetting(
            "ZOCO_STORE: a pooler in transaction mode is in between, and sessions are needed: name PostgreSQL itself, "
            "or set the pooler to pool_mode = session"
        )
