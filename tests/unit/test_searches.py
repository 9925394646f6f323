"""Lists that have to be searched: for one at a time, for nobody who has gone, and no longer than anybody waits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from services.compras.api import compras
from services.compras.domain import DOMAIN as COMPRAS
from services.compras.streams import Events
from services.shared.http.one_by_one import OneByOne
from services.shared.postgres.store import PostgresStore
from services.shared.store import Away
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.transacciones.main import transacciones

PATIENCE_SECONDS = 1.0


class Listed:
    """A store in which a search takes until it is told to end, and finds nothing."""

    def __init__(self) -> None:
        self.searching, self.most, self.begun = 0, 0, 0
        self.go = asyncio.Event()

    async def listed(self, *_: Any, **__: Any) -> list[Any]:
        self.begun += 1
        self.searching += 1
        self.most = max(self.most, self.searching)
        await self.go.wait()
        self.searching -= 1
        return []

    async def rows_of(self, keys: Any) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("ask", [compras, transacciones])
async def test_one_list_is_searched_at_a_time_and_for_nobody_who_has_gone(ask: Any) -> None:
    store, hung_up = Listed(), asyncio.Event()
    state = SimpleNamespace(runtime=SimpleNamespace(store=store), searches=OneByOne())

    async def receive() -> dict[str, Any]:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "client": ("there", 1), "app": SimpleNamespace(state=state)}
    asked = [
        asyncio.create_task(ask(Request(scope, receive), **more, usuarioId=7, desde=0, limite=10))
        for more in [{} if ask is compras else {"tokenId": None}] * 10
    ]
    for _ in range(20):
        await asyncio.sleep(0)
    assert store.begun == 1
    hung_up.set()
    assert {type(one) for one in await asyncio.gather(*asked, return_exceptions=True)} == {ClientDisconnect}
    store.go.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert (store.begun, store.most) == (1, 1)


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a database that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql://zoco:secret@127.0.0.1:{server.getsockname()[1]}/zoco"


async def all_away(store: PostgresStore[Any], asked: Iterable[Awaitable[Any]]) -> None:
    """Each is told so as soon as the first: they wait together."""
    began = asyncio.get_running_loop().time()
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(one) for one in told} == {Away}, told
    assert asyncio.get_running_loop().time() - began < 2 * PATIENCE_SECONDS
    await store.close()


@pytest.mark.parametrize("ask", [compras, transacciones])
async def test_searches_of_a_silent_database_end_together(
    ask: Any, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.shared.postgres.reads.PATIENCE_SECONDS", PATIENCE_SECONDS)
    store: PostgresStore[Any] = PostgresStore(silent, COMPRAS if ask is compras else TRANSACCIONES)
    state = SimpleNamespace(runtime=SimpleNamespace(store=store), searches=OneByOne())

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(3600)
        return {}

    def asked(number: int) -> Awaitable[Any]:
        app = SimpleNamespace(state=state)
        scope = {"type": "http", "method": "GET", "client": (f"127.0.0.{number}", 1), "app": app}
        more = {} if ask is compras else {"tokenId": None}
        found: Awaitable[Any] = ask(Request(scope, receive), **more, usuarioId=7, desde=0, limite=10)
        return found

    await all_away(store, map(asked, range(5)))


async def test_whoever_catches_up_from_a_silent_database_is_told_so_together(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.shared.postgres.reads.PATIENCE_SECONDS", PATIENCE_SECONDS)
    store: PostgresStore[Any] = PostgresStore(silent, COMPRAS)
    store.seq = 10_000
    events = Events(store)

    async def listens(after: int) -> None:
        async for _ in events.all(after, f"address {after}"):
            pass

    await all_away(store, map(listens, range(0, 5_000, 1_000)))
