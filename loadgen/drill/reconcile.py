"""The audit's reading: the books of a folder, or of a shop whose folders are elsewhere, and what that shop answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
from yarl import URL

from loadgen.audit import books
from loadgen.audit.audit import Books, audit
from loadgen.audit.backup import from_backup
from loadgen.audit.clients import client_journal
from loadgen.audit.model import SERVICES
from loadgen.audit.text import NotAShop, Unreadable
from loadgen.audit.verdict import Verdict
from loadgen.load.client import rows
from ops.cluster import Cluster
from ops.folder import kind_of
from ops.running import LocalError, Running

# The seed of a shop that nobody gave another one.
SEEDS: Final = Path(__file__).parents[2] / "services"
PAGE: Final = 1_000
# A shop in which somebody has just bought is quiet soon; in one that sells all the time the books never stand still.
TRIES: Final = 5
AGAIN_SECONDS: Final = 1.0


async def reconcile_settled(data: Path, clients: Sequence[Path] = (), seeds: Path | None = None) -> Verdict:
    """`reconcile`, of a shop that nobody has made quiet before. Raises Unreadable."""
    try:
        urls = Running.read(data).urls
    except LocalError:
        return await reconcile(data, clients, seeds)
    return await settled(urls, lambda: reconcile(data, clients, seeds))


async def settled(urls: Mapping[str, str], audited: Callable[[], Awaitable[Verdict]]) -> Verdict:
    """An audit during which no book went on: where one did, those that are read later have what the earlier ones lack,
    and that is no fault of the shop's. Raises Unreadable, aiohttp.ClientError."""
    before = await _ends(urls)
    for _ in range(TRIES):
        verdict = await audited()
        after = await _ends(urls)
        if verdict.holds or before == after:
            return verdict
        before = after
        await asyncio.sleep(AGAIN_SECONDS)
    raise Unreadable(
        "the shop sold while its books were read, one after another: audit it when nobody buys, or a backup of it "
        "(`zoco backup FILE`, `zoco audit FILE`)"
    )


async def reconcile(
    data: Path, clients: Sequence[Path] = (), seeds: Path | None = None, *, alone: bool = False
) -> Verdict:
    """Audit the books in a folder, with all that a shop that runs there answers; `alone`: nobody bought there but these
    clients, and it is of this version. Raises Unreadable."""
    running = live = dead_letters = None
    with contextlib.suppress(LocalError):
        running = Running.read(data)
    if kind_of(data) == "postgresql":
        if running is None:
            raise Unreadable(
                "the books of {data} are in its PostgreSQL, which does not run: start it with --postgres", data
            )
        return await reconcile_running(running.urls, running.books_token, clients, seeds, alone=alone)
    if running is not None:
        live, dead_letters = await answers(running.urls)
    read = {name: books.from_folder(data, name) for name in SERVICES}
    return await _audited(read, clients, seeds, live, dead_letters, alone=alone)


async def reconcile_backup(file: Path, clients: Sequence[Path] = (), seeds: Path | None = None) -> Verdict:
    """Audit the books in a backup, as of a moment in which their shop went on. Raises Unreadable."""
    return await _audited(from_backup(file), clients, seeds, None, None, cut=True)


async def reconcile_running(
    urls: Mapping[str, str],
    books_token: str,
    clients: Sequence[Path] = (),
    seeds: Path | None = None,
    *,
    alone: bool = False,
) -> Verdict:
    """Audit a shop whose folders are not here; `alone` as in `reconcile`. Raises Unreadable, aiohttp.ClientError."""
    read = {name: await books.from_service(urls[name], books_token, name) for name in SERVICES}
    return await _audited(read, clients, seeds, *await answers(urls), alone=alone)


def reconcile_cluster(cluster: Cluster, clients: Sequence[Path] = (), seeds: Path | None = None) -> Verdict:
    """Audit a shop in a cluster. Raises KubeError, Unreadable, aiohttp.ClientError."""
    with contextlib.ExitStack() as forwards:
        urls: dict[str, str] = {name: forwards.enter_context(cluster.forwarded(name)) for name in SERVICES}
        token = cluster.books_token()
        return asyncio.run(settled(urls, lambda: reconcile_running(urls, token, clients, seeds)))


async def _audited(
    read: Mapping[str, books.Journal],
    clients: Sequence[Path],
    seeds: Path | None,
    live: dict[str, list[Any]] | None,
    dead_letters: dict[str, int] | None,
    *,
    cut: bool = False,
    alone: bool = False,
) -> Verdict:
    everything = Books(
        compras=read["compras"],
        tokens=read["tokens"],
        usuarios=read["usuarios"],
        transacciones=read["transacciones"],
        clients=[client_journal(file) for file in clients],
        dead_letters=dead_letters,
        live=live,
        seeds=seeded(seeds) if seeds else None,
        cut=cut,
        alone=alone,
    )
    return await asyncio.to_thread(audit, everything)


def seeded(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The seed's files in this folder, or each in the folder of its service. Raises NotAShop, Unreadable."""
    return {name: _seed(folder, name) for name in ("usuarios", "tokens")}


def _seed(folder: Path, name: str) -> list[dict[str, Any]]:
    file = folder / f"{name}.json"
    try:
        file = file if file.exists() else folder / name / f"{name}.json"
        rows = json.loads(file.read_bytes())
    except PermissionError as error:
        raise Unreadable("{file} cannot be read ({why}): read it as who wrote it", file, error.strerror) from error
    except (OSError, ValueError) as error:
        raise NotAShop("{file} is no seed ({error}): name the folder of the seed's files", file, error) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "id" in row for row in rows):
        raise NotAShop("{file} is no list of rows with ids, and so no seed: name the folder of the seed's files", file)
    return rows


async def answers(urls: Mapping[str, str]) -> tuple[dict[str, list[Any]], dict[str, int] | None]:
    """What the services show, as arrays, and the messages in each dead-letter queue (None: the broker is away).

    `urls` has one for each service. Raises aiohttp.ClientError.
    """
    async with aiohttp.ClientSession() as http:
        shown = {
            name: [row async for row in rows(http, URL(f"{urls[name]}/{name}") % {"limite": PAGE})] for name in urls
        }
        depths = (await _json(http, f"{urls['compras']}/estado"))["colas"]
    dead = {name: depth["messages"] for name, depth in (depths or {}).items() if name not in SERVICES}
    return shown, None if depths is None else dead


async def _ends(urls: Mapping[str, str]) -> dict[str, Any]:
    """Up to which record each book goes; of a service that is not ready, too."""
    async with aiohttp.ClientSession() as http:
        ends = {}
        for name, url in urls.items():
            async with http.get(f"{url}/readyz") as answer:
                ends[name] = (await answer.json(content_type=None)).get("records")
    return ends


async def _json(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(url) as answer:
        answer.raise_for_status()
        return await answer.json(content_type=None)
