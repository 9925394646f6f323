"""The audit's reading: the books of a folder, or of a shop whose folders are elsewhere, and what that shop answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from loadgen.audit import books
from loadgen.audit.audit import Books, audit
from loadgen.audit.verdict import Verdict
from services.kube import Cluster
from services.local import LocalError, Running


async def reconcile(data: Path, client: Path | None) -> Verdict:
    """Audit the books in a folder, with all that a shop that runs there answers. Raises Unreadable."""
    live = dead_letters = None
    with contextlib.suppress(LocalError):
        live, dead_letters = await answers(Running.read(data).urls)
    journals = {name: books.from_folder(data, name) for name in books.SERVICES}
    return await _audited(journals, client, live, dead_letters)


async def reconcile_running(urls: Mapping[str, str], operator_token: str, client: Path | None) -> Verdict:
    """Audit a shop whose folders are not here. Raises Unreadable, aiohttp.ClientError."""
    journals = {name: await books.from_service(urls[name], operator_token) for name in books.SERVICES}
    return await _audited(journals, client, *await answers(urls))


def reconcile_cluster(cluster: Cluster, client: Path | None) -> Verdict:
    """Audit a shop in a cluster. Raises KubeError, Unreadable, aiohttp.ClientError."""
    with contextlib.ExitStack() as forwards:
        urls: dict[str, str] = {name: forwards.enter_context(cluster.forwarded(name)) for name in books.SERVICES}
        return asyncio.run(reconcile_running(urls, cluster.operator_token(), client))


async def _audited(
    journals: Mapping[str, books.Journal],
    client: Path | None,
    live: dict[str, list[dict[str, Any]]] | None,
    dead_letters: dict[str, int] | None,
) -> Verdict:
    told = books.client_journal(client) if client else None
    return await asyncio.to_thread(audit, Books(**journals, clients=told, dead_letters=dead_letters, live=live))


async def answers(urls: Mapping[str, str]) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int] | None]:
    """What the services show, as arrays, and the messages in each dead-letter queue (None: the broker is away).

    `urls` has one for each service. Raises aiohttp.ClientError.
    """
    async with aiohttp.ClientSession() as http:
        shown = {name: await _json(http, f"{urls[name]}/{name}") for name in ("usuarios", "tokens")}
        shown["transacciones"] = await _whole_book(http, urls["transacciones"])
        depths = (await _json(http, f"{urls['compras']}/estado"))["colas"]
    dead = {name: depth["messages"] for name, depth in (depths or {}).items() if name not in books.SERVICES}
    return shown, None if depths is None else dead


async def _json(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(url) as answer:
        answer.raise_for_status()
        return await answer.json(content_type=None)


async def _whole_book(http: aiohttp.ClientSession, url: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    while page := await _json(http, f"{url}/transacciones?limite=10000&desde={records[-1]['id'] if records else 0}"):
        records += page
    return records
