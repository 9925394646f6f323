"""What the front door takes in, on a real store and loop."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from store_builders import all_records, disk_on, publicado, recarga, solicitada, writer

from broker.messages import CompraSolicitada, compra_id
from services.compras.acceptance import Acceptance
from services.compras.domain import DOMAIN as COMPRAS
from services.shared.http.problems import Problem
from services.shared.journal.store import JsonStore
from services.shared.processor import Processor
from services.shared.room import Room, Space
from services.tokens.domain import publicar


class NoBroker:
    """Nothing comes, and whatever is said is taken."""

    async def receive(self, limit: int) -> Any:
        await asyncio.Event().wait()

    async def publish(self, messages: object) -> None: ...

    async def settle(self, batch: object, reasons: object) -> None: ...


def door_on(store: JsonStore[Any], backlog_limit: int) -> tuple[Acceptance, Processor]:
    nobody: Any = SimpleNamespace(decided=lambda *_: None, poisoned=lambda _: None, published=lambda _: None)
    loop = Processor(store, NoBroker(), nobody)
    writing = asyncio.Event()
    writing.set()
    settings = SimpleNamespace(
        backlog_limit=backlog_limit, nudge_seconds=1.0, knock_down=None,
        usuarios_url="", tokens_url="", transacciones_url="",
    )  # fmt: skip
    runtime: Any = SimpleNamespace(
        store=store, settings=settings, bus=None, processor=loop, writing=writing, doubt=None,
        metrics=SimpleNamespace(registry=CollectorRegistry()),
    )  # fmt: skip
    return Acceptance(runtime), loop


TRUE, WRONG, LATER = "2026-03-01T10:00:00.000Z", "2099-01-01T00:00:00.000Z", "2026-03-01T11:00:00.000Z"


@pytest.mark.parametrize("restart", [False, True])
async def test_what_a_wrong_clock_dated_stays_and_what_comes_after_it_is_true_again_and_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: bool
) -> None:
    """The clock is at 2099 for one purchase and two prices."""
    now = [TRUE]
    monkeypatch.setattr("services.compras.acceptance.utc_now", lambda: now[0])
    fechas, prices = [], []

    async def enter(store: JsonStore[Any], number: int) -> None:
        door, loop = door_on(store, backlog_limit=100)
        working = asyncio.ensure_future(loop.run())
        compra = CompraSolicitada(compra_id=compra_id(number, "k"), usuario_id=number, token_id=101, fecha=door.fecha())
        fechas.append((await door.accept(compra)).fecha)
        for precio in (number * 10, number * 10 + 1):
            asked = {"alta_id": f"a:{precio}", "fecha": door.fecha_alta("/tokens/101"), "orden": door.orden()}
            prices.append(publicado(precio=precio).model_copy(update=asked))
            await door.accept(prices[-1])
        working.cancel()
        await asyncio.wait([working])

    steps = [(1, TRUE), (2, WRONG), (3, LATER)]
    for part in [[step] for step in steps] if restart else [steps]:
        with disk_on(tmp_path) as disk:
            store = JsonStore(disk, COMPRAS, lambda: now[0])
            store.load()
            now[0] = part[0][1]
            assert await store.lead()
            for number, now[0] in part:
                await enter(store, number)
            times = [json.loads(raw)["time"] for raw in all_records(store)]
    assert fechas == [TRUE, WRONG, LATER]
    assert [time[:4] for time in times] == ["2026"] * 3 + ["2099"] * 3 + ["2026"] * 3
    assert [entry.fecha[:4] for entry in prices] == ["2026"] * 2 + ["2099"] * 2 + ["2026"] * 2
    for order in itertools.permutations(prices):
        token = None
        for entry in order:
            token = publicar(token, entry).row
        assert token.precio == 31


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


async def test_on_a_disk_that_is_nearly_full_purchases_stop_first_and_come_back_by_themselves(tmp_path: Path) -> None:
    now, space = [100.0], [Space(99, 1000)]
    async with writer(tmp_path, COMPRAS) as store:
        store.room = Room(lambda: space[0], lambda: 0, now=lambda: now[0])
        store.room.reserve = 0.1
        door, loop = door_on(store, backlog_limit=100)
        working = asyncio.ensure_future(loop.run())
        with pytest.raises(Problem, match="the disk is nearly full") as refused:
            await door.accept(solicitada(1))
        assert refused.value.status == 503 and refused.value.headers == {"Retry-After": "60"}
        assert "ZOCO_DISK_RESERVE" in refused.value.detail and "Idempotency-Key" in refused.value.detail
        assert store.seq == 0
        # Whoever runs the shop can still work in it, and what is on its way goes on.
        await door.accept(recarga(1))
        (answer,) = await store.process_batch([solicitada(2)])
        assert answer.failure is None
        # Who asks again is told what is there.
        assert (await door.accept(solicitada(2))).estado == "solicitada"

        space[0] = Space(100, 1000)
        with pytest.raises(Problem, match="the disk is nearly full"):
            await door.accept(solicitada(1))
        now[0] += 1
        assert (await door.accept(solicitada(1))).estado == "solicitada"
        working.cancel()
        await asyncio.wait([working])
