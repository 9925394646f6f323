"""What the front door takes in, on a real store and loop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from store_builders import recarga, solicitada, writer

from services.compras.domain import DOMAIN as COMPRAS
from services.compras.requests import FrontDoor
from services.shared.http.problems import Problem
from services.shared.journal.store import JsonStore
from services.shared.processor import Processor


class NoBroker:
    """Nothing comes, and whatever is said is taken."""

    async def receive(self, limit: int) -> Any:
        await asyncio.Event().wait()

    async def publish(self, messages: object) -> None: ...

    async def settle(self, batch: object, reasons: object) -> None: ...


def door_on(store: JsonStore[Any], backlog_limit: int) -> tuple[FrontDoor, Processor]:
    nobody: Any = SimpleNamespace(decided=lambda *_: None, poisoned=lambda _: None, published=lambda _: None)
    loop = Processor(store, NoBroker(), nobody)
    writing = asyncio.Event()
    writing.set()
    settings = SimpleNamespace(
        backlog_limit=backlog_limit, nudge_seconds=1.0, knock_down=None,
        usuarios_url="", tokens_url="", transacciones_url="",
    )  # fmt: skip
    runtime: Any = SimpleNamespace(
        store=store, settings=settings, bus=None, processor=loop, writing=writing,
        metrics=SimpleNamespace(registry=CollectorRegistry()),
    )  # fmt: skip
    return FrontDoor(runtime), loop


async def test_entries_that_wait_for_a_user_take_no_purchases_place(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        door, loop = door_on(store, backlog_limit=2)
        working = asyncio.ensure_future(loop.run())
        for number in range(4):
            await door.accept(recarga(number))
        await door.accept(solicitada(1))
        await door.accept(solicitada(2))
        with pytest.raises(Problem, match="2 purchases are on their way") as refused:
            await door.accept(solicitada(3))
        assert refused.value.status == 503
        working.cancel()
        await asyncio.wait([working])
