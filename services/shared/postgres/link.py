"""A connection to PostgreSQL that comes again when it was lost, and what its errors mean."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import structlog

from broker.keepalive import keep_alive
from services.shared.settings import WrongSetting
from services.shared.store import StoreBroken

log = structlog.get_logger()
# asyncpg brings no types.
Connection: TypeAlias = Any
CONNECT_SECONDS: Final = 3.0
# What each connection asks of the server. No limit on a statement: a COMMIT that is cancelled while it waits for its
# standby is there all the same, for everybody to see. A dead machine's locks are free after 15 s; those of a process
# that stands still in a transaction, and for which all others wait, after 10.
SESSION: Final = {
    "default_transaction_isolation": "read committed",
    "synchronous_commit": "on",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "client_min_messages": "warning",
    "idle_in_transaction_session_timeout": "10s",
    "client_connection_check_interval": "2s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "15s",
    "jit": "off",
    # Each statement asks for few rows, by their keys, whatever the tables have grown to since they were looked at.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
SERVER: Final = "SELECT concat_ws(' ', inet_server_addr(), inet_server_port(), pg_postmaster_start_time())"
# A record of the log that says nothing: a COMMIT behind it waits for its standby. Else it had nothing to wait for.
WAIT_FOR_STANDBY: Final = "SELECT pg_logical_emit_message(true, 'zoco', '')"
# Nothing that waiting helps: a person has to mend a role, a password, a database, or who made the tables.
WRONG: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ClientConfigurationError,
)
# What a new connection may mend, now or later: it was lost, the server starts or ends, another one leads now, two
# batches met. What was under way is done again, whole.
PASSING: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.TargetServerAttributeNotMatched,
    OSError,
    TimeoutError,
)
# What warns, in whatever language, that a transaction waited for its standby and was cancelled: it is there, and nobody
# knows whether the standby has it.
NOT_REPLICATED: Final = "SyncRepWaitForLSN"


class Link:
    """One connection. `get` makes it, or makes it anew."""

    def __init__(self, url: str, service: str, purpose: str, made: Callable[[Connection], Awaitable[None]]) -> None:
        self._url, self._made = url, made
        self._name = f"zoco {service} {purpose} {socket.gethostname()} {os.getpid()}"[:63]
        self._connection: Connection | None = None
        self._new: Connection | None = None
        self._making: asyncio.Future[Connection] | None = None
        self._failures = 0
        # Which server it is, as of its start, and since when.
        self.server, self.since = "", 0.0
        # A commit was said to be here only.
        self.alone = False

    async def get(self) -> Connection:
        """Raises WrongSetting, StoreBroken, or one of PASSING. Whoever does not wait for it any more leaves it to the
        next: a server on which it waits for a standby does not notice that nobody wants it."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        if self._making is None or self._making.done():
            self._making = asyncio.ensure_future(self._make())
            self._making.add_done_callback(lambda making: making.cancelled() or making.exception())
        return await asyncio.shield(self._making)

    async def _make(self) -> Connection:
        self._failures += 1
        self.alone = False
        try:
            connection = self._new = await connect(self._url, self._name, self._failures - 1)
            connection.add_log_listener(self._heard)
            # Before anything that may wait: a server that stands still meanwhile is left, too, when it was replaced.
            self.server = await connection.fetchval(SERVER, timeout=CONNECT_SECONDS)
            self.since = time.monotonic()
            await self._made(connection)
            self.expect_standby()
        except BaseException as error:
            self.drop()
            raise error if passes(error) else broken(error) from None
        self._failures, self._new = 0, None
        self._connection = connection
        return connection

    def _heard(self, _: object, message: Any) -> None:
        if message.server_source_function == NOT_REPLICATED:
            self.alone = True

    def expect_standby(self) -> None:
        """Of what its COMMITs have waited for. Raises ConnectionError: then drop it, and ask again."""
        if self.alone:
            raise ConnectionError("PostgreSQL gave up waiting for its standby: what can be seen may be lost with it")

    def drop(self) -> None:
        """Whatever it is at, it ends: on the server, too, unless it commits just now."""
        for connection in (self._connection, self._new):
            if connection is not None:
                connection.terminate()
        self._connection, self._new, self.server = None, None, ""

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if self._making is not None:
            self._making.cancel()
        if connection is not None:
            with contextlib.suppress(*PASSING, asyncpg.PostgresError):
                await connection.close(timeout=1)


def leave_replaced(links: Sequence[Link]) -> None:
    """A server that stands still, and was replaced, keeps its connections: what it was asked is asked of who leads now,
    whom the newest of these connections has found."""
    newest = max(links, key=lambda link: link.since)
    for link in links:
        if newest.server and link.server and link.server != newest.server:
            log.warning("PostgreSQL is led from elsewhere: what was asked is asked there", now=newest.server)
            link.drop()


class Kept(asyncpg.Connection):  # type: ignore[misc]
    """One that notices when nobody is there any more."""

    def __init__(self, protocol: Any, transport: Any, *more: Any) -> None:
        super().__init__(protocol, transport, *more)
        keep_alive(transport.get_extra_info("socket"))


def _turned(url: str, failures: int) -> str:
    """Of several hosts another one is the first each time: one that takes the connection and then is silent takes all
    the time that there is."""
    parts = urlsplit(url)
    role, at_sign, named = parts.netloc.rpartition("@")
    hosts = named.split(",")
    if not (first := failures % len(hosts)):
        return url
    return parts._replace(netloc=role + at_sign + ",".join(hosts[first:] + hosts[:first])).geturl()


async def connect(url: str, name: str, failures: int = 0) -> Connection:
    """To whichever of the hosts can be written to, `failures` after it was last possible. Raises WrongSetting, or one
    of PASSING."""
    try:
        return await asyncpg.connect(
            _turned(url, failures),
            timeout=CONNECT_SECONDS,
            server_settings={**SESSION, "application_name": name},
            target_session_attrs="read-write",
            connection_class=Kept,
        )
    except WRONG as error:
        raise WrongSetting(f"ZOCO_STORE: PostgreSQL refuses this: {said(error)}") from None
    except asyncpg.ProtocolViolationError as error:
        raise WrongSetting(
            f"ZOCO_STORE: a pooler is in between, and refuses what is asked for ({said(error)}): name PostgreSQL itself"
        ) from None
    except asyncpg.TargetServerAttributeNotMatched:
        raise ConnectionError(
            "PostgreSQL can only be read where ZOCO_STORE says: a standby, or default_transaction_read_only"
        ) from None
    except ValueError:
        # Before anything was sent. What it says may have a password in it.
        raise WrongSetting(
            "ZOCO_STORE is wrong: it has to be as postgresql://role:password@host:port/database, with %-escapes in it"
        ) from None


def said(error: BaseException) -> str:
    """An error in one line, for a log and for whoever waits."""
    text = " ".join(str(error).split())
    return text or type(error).__name__


def full(error: BaseException) -> bool:
    return isinstance(error, asyncpg.DiskFullError)


def passes(error: BaseException) -> bool:
    """Whether a new connection may mend it. asyncpg says in the same way that what we ask makes no sense."""
    return isinstance(error, PASSING) and (not isinstance(error, asyncpg.InterfaceError) or "closed" in str(error))


def broken(error: BaseException) -> BaseException:
    """What is raised for an error that no new connection mends."""
    ours = isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError)
    return StoreBroken(f"PostgreSQL: {said(error)}") if ours else error
