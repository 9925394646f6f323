"""The audit's reading: the books of a folder, or of a shop whose folders are elsewhere, and what that shop answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypedDict, Unpack

import aiohttp
from yarl import URL

from loadgen.audit import books
from loadgen.audit.audit import Books, audit
from loadgen.audit.backup import from_backup
from loadgen.audit.clients import client_journal
from loadgen.audit.model import SERVICES
from loadgen.audit.text import NotAShop, Text, Unreadable
from loadgen.audit.verdict import Verdict
from loadgen.drill.as_buyers import Buyers
from loadgen.drill.one_by_one import PAGE, one_by_one
from loadgen.drill.quiet import NO_ANSWER, SHOWN, told, unrest
from loadgen.load.client import rows
from ops.cluster import Cluster
from ops.folder import kind_of
from ops.running import KIND, LocalError, Running

# The seed of a shop that nobody gave another one.
SEEDS: Final = Path(__file__).parents[2] / "services"
# A shop in which somebody has just bought is quiet soon; in one that sells all the time the books never stand still.
TRIES: Final = 5
AGAIN_SECONDS: Final = 1.0

Shown: TypeAlias = dict[str, list[Any]]
DeadLetters: TypeAlias = dict[str, int]


async def reconcile_settled(data: Path, clients: Sequence[Path] = (), seeds: Path | None = None) -> Verdict:
    """`reconcile`, of a shop that nobody has made quiet before. Raises Unreadable."""

    def audited(not_quiet: str | None) -> Awaitable[Verdict]:
        return reconcile(data, clients, seeds, whole=False, not_quiet=not_quiet)

    try:
        urls = Running.read(data).urls
    except LocalError:
        why = Text("no shop runs on these books, and what has no end may be in its queues: start it, and ask again")
        return await _fairly(await audited(None), lambda: audited(why))
    return await judged(urls, audited)


async def judged(urls: Mapping[str, str], audited: Callable[[str | None], Awaitable[Verdict]]) -> Verdict:
    """What has no end is lost in a shop at rest only, which has asked for it again; in another it may be on its way.
    Raises Unreadable, aiohttp.ClientError."""
    verdict = await settled(urls, lambda: audited(None))
    if verdict.holds:
        return verdict
    why = await unrest(urls["compras"])
    return await _fairly(verdict, lambda: settled(urls, lambda: audited(why)))


async def _fairly(verdict: Verdict, again: Callable[[], Awaitable[Verdict]]) -> Verdict:
    """What is broken whether the shop is at rest or not is said as it was."""
    if verdict.holds:
        return verdict
    other = await again()
    return verdict if other.counts == verdict.counts else other


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


def _in_database(data: Path) -> bool:
    """Raises Unreadable."""
    try:
        return kind_of(data) == "postgresql"
    except LocalError as error:
        why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else None
        if why is None:
            raise Unreadable("{why}", error) from error
        raise Unreadable("{file} cannot be read ({why}): read it as who runs the shop", data / KIND, why) from error


class Known(TypedDict, total=False):
    """What is known of a shop beside its books."""

    # Nobody bought there but these clients, and it is of this version.
    alone: bool
    # Why what has no end may be on its way.
    not_quiet: str | None


async def reconcile(
    data: Path,
    clients: Sequence[Path] = (),
    seeds: Path | None = None,
    *,
    whole: bool = True,
    **known: Unpack[Known],
) -> Verdict:
    """Audit the books in a folder, with all that a shop that runs there answers. Raises Unreadable, and if it is to be
    `whole` aiohttp.ClientError: a service is away."""
    running = live = dead_letters = None
    with contextlib.suppress(LocalError):
        running = Running.read(data)
    if _in_database(data):
        if running is None:
            raise Unreadable(
                "the books of {data} are in its PostgreSQL, which does not run: start it with --postgres", data
            )
        return await reconcile_running(running.urls, running.books_token, clients, seeds, whole=whole, **known)
    if running is not None:
        live, dead_letters = await answers(running.urls, whole=whole)
    read = {name: books.from_folder(data, name) for name in SERVICES}
    return await _audited(read, clients, seeds, (live, dead_letters), **known)


async def reconcile_backup(file: Path, clients: Sequence[Path] = (), seeds: Path | None = None) -> Verdict:
    """Audit the books in a backup, as of a moment in which their shop went on. Raises Unreadable."""
    return await _audited(from_backup(file), clients, seeds, (None, None), cut=True)


async def reconcile_running(
    urls: Mapping[str, str],
    books_token: str,
    clients: Sequence[Path] = (),
    seeds: Path | None = None,
    *,
    whole: bool = True,
    balanced: bool = False,
    **known: Unpack[Known],
) -> Verdict:
    """Audit a shop whose folders are not here; `balanced`: several processes may answer at one address; the rest as in
    `reconcile`. Raises Unreadable, aiohttp.ClientError."""
    read = {}
    for name in SERVICES:
        try:
            read[name] = await books.from_service(urls[name], books_token, name)
        except aiohttp.ClientError as error:
            if whole:
                raise
            says = "the book of {service} is read where it answers, and it does not ({error}): see `zoco doctor`"
            raise Unreadable(says, name, error) from error
    return await _audited(read, clients, seeds, await answers(urls, whole=whole, balanced=balanced), **known)


def reconcile_cluster(
    cluster: Cluster, clients: Sequence[Path] = (), seeds: Path | None = None, *, whole: bool = True
) -> Verdict:
    """Audit a shop in a cluster, `whole` if it was made quiet. Raises KubeError, Unreadable, aiohttp.ClientError."""
    with contextlib.ExitStack() as forwards:
        urls: dict[str, str] = {name: forwards.enter_context(cluster.forwarded(name)) for name in SERVICES}
        token = cluster.books_token()
        asked = partial(reconcile_running, urls, token, clients, seeds, whole=whole, balanced=True)
        if whole:
            return asyncio.run(settled(urls, asked))
        return asyncio.run(judged(urls, lambda why: asked(not_quiet=why)))


async def _audited(
    read: Mapping[str, books.Journal],
    clients: Sequence[Path],
    seeds: Path | None,
    shown: tuple[Shown | None, DeadLetters | None],
    *,
    cut: bool = False,
    **known: Unpack[Known],
) -> Verdict:
    live, dead_letters = shown
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
        **known,
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


async def answers(
    urls: Mapping[str, str], *, whole: bool = True, balanced: bool = False
) -> tuple[Shown, DeadLetters | None]:
    """What the services show, as arrays, and the messages in each dead-letter queue (None: nobody says it).

    `urls` has one for each service. Raises NotAShop, and aiohttp.ClientError if it is to be `whole`: else who is away
    shows nothing.
    """
    away = () if whole else NO_ANSWER
    shown: Shown = {}
    state = None
    async with aiohttp.ClientSession() as http:
        for name, url in urls.items():
            with contextlib.suppress(*away):
                shown[name] = await _shown(http, URL(f"{url}/{name}") % {"limite": PAGE})
        with contextlib.suppress(*away):
            state = await told(http, f"{urls['compras']}/estado", SHOWN)
        beside = await one_by_one(http, urls, shown, balanced=balanced)
        await Buyers(http, urls["compras"], shown).ask(beside)
    depths = state["colas"] if state else None
    dead = {name: depth.get("messages") for name, depth in (depths or {}).items() if name not in SERVICES}
    return shown | beside, None if depths is None else dead


async def _shown(http: aiohttp.ClientSession, url: URL) -> list[Any]:
    try:
        return [row async for row in rows(http, url)]
    except ValueError as error:
        raise NotAShop("what answers at {url} is no service of Zoco's: see `zoco doctor`", url) from error


async def _ends(urls: Mapping[str, str]) -> dict[str, Any]:
    """Up to which record each book goes; of a service that is not ready, too. None: nobody says it. Raises NotAShop."""
    ends: dict[str, Any] = dict.fromkeys(urls)
    async with aiohttp.ClientSession() as http:
        for name, url in urls.items():
            with contextlib.suppress(*NO_ANSWER):
                ends[name] = (await told(http, f"{url}/readyz", {"role", "records"}) or {}).get("records")
    return ends
