"""Lists that have to be searched: for one at a time, and for nobody who has gone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from services.compras.api import compras
from services.shared.http.shares import OneByOne
from services.transacciones.main import transacciones


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
