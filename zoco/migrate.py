"""The command `zoco migrate`: the four books from files into the PostgreSQL of this folder, or back."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.services import SERVICES
from ops.console import Speaker
from ops.running import DATA, LocalError
from zoco.options import DataOption, JsonOption

if TYPE_CHECKING:
    from pathlib import Path

    from ops.postgres import Database
    from ops.postgres_pair import Pair

out = Speaker()


def migrate(
    data: DataOption = DATA,
    back: Annotated[bool, typer.Option("--back", help="From PostgreSQL into files.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take the books of a shop that is stopped from files into its PostgreSQL, word for word, or back.

    What is on its way stays on its way. Safe to stop at any moment, and to start again. What the books were taken from
    stays where it is.
    """
    import asyncio

    from ops.folder import hold, keep_kind, kind_of
    from ops.postgres import POSTGRES
    from ops.postgres_pair import leading

    now, then = ("postgresql", "files") if back else ("files", "postgresql")
    if kind_of(data) != now:
        if back:
            raise LocalError("the books in {data} are not in PostgreSQL: there is nothing to take back", data)
        raise LocalError("the books in {data} are not files: there is nothing to take over", data)
    lock = hold(data, now)
    try:
        database = leading(data / POSTGRES)
        asyncio.run(database.start())
        try:
            counts = {service: _moved(service, data, database, back=back, quiet=as_json) for service in SERVICES}
        finally:
            asyncio.run(database.stop())
        keep_kind(data, then)  # type: ignore[arg-type]
    finally:
        lock.close()
    if as_json:
        out.json({"records": counts, "back": back})
    elif back:
        out.say("the books are files again: start the shop without --postgres")
    else:
        out.say("the books are in PostgreSQL: start the shop with --postgres")


def _moved(service: str, data: Path, database: Database | Pair, *, back: bool, quiet: bool) -> int:
    """Returns how many records. Raises LocalError."""
    from msgspec.json import decode

    command = [sys.executable, "-m", "services.rebuild.migration", service, *(["--back"] if back else [])]
    settings = {"ZOCO_DATA": str(data / service), "ZOCO_STORE": database.url(service), "ZOCO_LOG": "json"}
    env = {key: value for key, value in os.environ.items() if not key.startswith("ZOCO_")} | settings
    last: dict[str, Any] = {}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            told = decode(line)
            if "registros" not in told:
                continue
            last = told
            if "de" in told and not quiet:
                out.say("{service}: {count:,} of {all:,} records", service, told["registros"], told["de"])
        why = process.stderr.read().decode(errors="replace").strip()
    if process.returncode or "hecho" not in last:
        raise LocalError("the book of {service} was not taken over: {why}", service, why or process.returncode)
    if not quiet:
        out.say("{service}: {count:,} records taken over", service, last["registros"])
    count: int = last["registros"]
    return count
