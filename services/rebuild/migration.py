"""From files into tables, and back: a service's whole book, word for word, and it goes on as the same one.

`python -m services.rebuild.migration tokens` with ZOCO_DATA and ZOCO_STORE, while nothing else of the service runs. It
is one transaction, or one segment that gets its name last: killed at any moment it has done nothing, and is started
again. JSON lines say how far it is; `zoco migrate` reads them.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import asyncpg
import structlog
from msgspec.json import encode

from broker.services import SERVICES
from services.shared.clock import utc_now
from services.shared.decision import Domain
from services.shared.exits import EX_CONFIG
from services.shared.heights import BookHeights
from services.shared.journal.disk import LocalDisk
from services.shared.journal.segments import segment_names
from services.shared.journal.store import JsonStore
from services.shared.postgres.store import PostgresStore
from services.shared.settings import ROOT, WrongSetting, read_settings
from services.shared.store import Away, Damaged, Store, StoreBroken

PIECE_BYTES: Final = 1024 * 1024


class NotMigrated(Exception):
    """Nothing was changed. Says why, and what to do."""


async def migrate(domain: Domain[Any], folder: Path, url: str, *, back: bool, standbys: int = 0) -> int:
    """How many records were taken over; those that are there already are not again. Raises NotMigrated, Damaged,
    WrongSetting, OSError, Away, StoreBroken, asyncpg's errors."""
    files = JsonStore(disk := LocalDisk(folder), domain, utc_now)
    tables: PostgresStore[Any] = PostgresStore(url, domain, standbys=standbys)
    try:
        files.load()
        if not back and not segment_names(disk):
            raise NotMigrated(f"there is no book in {folder}: is its volume mounted?")
        if not await files.lead():
            why = "its disk is full" if files.full else "a process writes in it: stop it first"
            raise NotMigrated(f"{folder} cannot be taken over: {why}")
        await tables.open()
        if not tables.opened:
            raise NotMigrated(f"PostgreSQL does not answer ({tables.trouble}): start it, then do this again")
        if await tables.others():
            raise NotMigrated(f"a process decides in PostgreSQL: stop all of {domain.name} first")
        return await (_moved(tables, files) if back else _moved(files, tables))
    finally:
        await tables.close()
        disk.close()


async def _moved(source: Store[Any], target: Store[Any]) -> int:
    here, there = source.heights, target.heights
    if (there.book, there.generation) == (here.book, here.generation) and target.seq == source.seq:
        return 0
    later = there.book == here.book and there.generation > here.generation
    if later or target.seq > (source.seq if there.book == here.book else 0):
        raise NotMigrated(
            f"what is to take the book of {here.service} has one already, with {target.seq} records ({there.book}): "
            "take an empty folder or database; or this was done before, and the shop went on there"
        )
    heights = BookHeights(here.service, here.book, here.generation)
    heights.heard, heights.formerly = dict(here.heard), list(here.formerly)
    await target.put_back(heights, _records(source), await source.told_upto())
    return source.seq


async def _records(source: Store[Any]) -> AsyncIterator[Sequence[bytes]]:
    after = 0
    while some := await source.records(after, PIECE_BYTES):
        yield some
        after += len(some)
        say(registros=after, de=source.seq)


def say(**line: Any) -> None:
    sys.stdout.buffer.write(encode(line) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("--back", action="store_true", help="from tables into files")
    asked = parser.parse_args()
    # What is written to stdout is read by a program.
    quiet = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=quiet, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        settings = read_settings()
        if settings.store is None:
            raise WrongSetting("ZOCO_STORE is missing: it says which PostgreSQL the book goes to, or is in")
        folder, url = settings.data or ROOT / ".zoco" / asked.service, settings.store.get_secret_value()
        # Its own only: a service's image has no other.
        domain = import_module(f"services.{asked.service}.domain").DOMAIN
        moving = migrate(domain, folder, url, back=asked.back, standbys=settings.store_standbys)
        count = asyncio.run(moving)
    except (NotMigrated, WrongSetting, Damaged, OSError, Away, StoreBroken, asyncpg.PostgresError) as error:
        print(error, file=sys.stderr)
        sys.exit(EX_CONFIG)
    say(hecho=True, registros=count)


if __name__ == "__main__":
    main()
