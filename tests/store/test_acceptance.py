"""What the front door takes in, on a real store and loop."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from store_builders import (
    HeldDisk,
    NoBroker,
    all_records,
    disk_on,
    publicado,
    recarga,
    solicitada,
    usuario,
    vendida,
    writer,
)

from broker.messages import CompraSolicitada, compra_id, encode
from services.compras.acceptance import Acceptance
from services.compras.domain import DOMAIN as COMPRAS
from services.shared.http.problems import Problem
from services.shared.journal.store import JsonStore
from services.shared.processor import Processor
from services.shared.room import Room, Space
from services.tokens.domain import publicar


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
            asked = {
                "alta_id": f"a:{precio}",
                "fecha": (await door.fecha_alta("/tokens/101"))[0],
                "orden": await door.orden(),
            }
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


ENTRIES = {
    "a user": usuario().model_copy(update={"alta_id": "k"}),
    "another user": usuario(2).model_copy(update={"alta_id": "k"}),
    "a user with more": usuario(saldo=101).model_copy(update={"alta_id": "k"}),
    "a top-up": recarga(1).model_copy(update={"alta_id": "k"}),
    "another's top-up": recarga(1, usuario=2).model_copy(update={"alta_id": "k"}),
    "a token": publicado().model_copy(update={"alta_id": "k"}),
    "the first of a list": publicado().model_copy(update={"alta_id": "k", "catalogo": "0" * 64}),
    "the first of another list": publicado().model_copy(update={"alta_id": "k", "catalogo": "1" * 64}),
}
PAIRS = list(itertools.permutations(ENTRIES, 2))


@pytest.mark.parametrize("meet", ["in one batch", "in two batches", "after a 503", "after a restart"])
@pytest.mark.parametrize(("one", "other"), PAIRS, ids=map(" and ".join, PAIRS))
async def test_of_two_entries_under_one_key_the_first_happens_and_the_other_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str, meet: str
) -> None:
    first = ENTRIES[one]

    async def ask(door: Acceptance, *names: str) -> list[Any]:
        """Each in a request of its own, all at once."""
        asked = [door.accept(ENTRIES[name].model_copy()) for name in names]
        return await asyncio.gather(*asked, return_exceptions=True)

    async with working_door(tmp_path) as (door, store):
        if meet == "after a 503":
            monkeypatch.setattr("services.compras.acceptance.PATIENCE_SECONDS", 0.0)
            store.disk.hold()
            (told,) = await ask(door, one)
            assert told.status == 503 and "the disk does not keep up" in told.detail
            monkeypatch.undo()
            store.disk.go.set()
        elif meet != "in one batch":
            await ask(door, one)
        if meet != "after a restart":
            one_of_two(store, await ask(door, one, other), first)
    async with working_door(tmp_path) as (door, store):
        one_of_two(store, await ask(door, other, one), first)


def one_of_two(store: JsonStore[Any], told: Any, first: Any) -> None:
    """The book and the answers have only the first; the other was told so."""
    (happened,) = [answer for answer in told if not isinstance(answer, BaseException)]
    (refused,) = [answer for answer in told if isinstance(answer, Problem)]
    assert json.loads(happened.mensaje) == json.loads(encode(first))
    assert refused.status == 422 and "nothing was done" in refused.detail
    (record,) = map(json.loads, all_records(store))
    assert record["id"] == first.id and store.find("k") == happened


@asynccontextmanager
async def working_door(folder: Path) -> AsyncIterator[tuple[Acceptance, JsonStore[Any]]]:
    async with writer(folder, COMPRAS, kind=HeldDisk) as store:
        door, loop = door_on(store, backlog_limit=100)
        working = [asyncio.ensure_future(loop.run()), asyncio.ensure_future(door.send_away())]
        yield door, store
        for task in working:
            task.cancel()
        await asyncio.wait(working)


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


async def test_one_address_does_not_fill_the_backlog(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        door, loop = door_on(store, backlog_limit=20)
        working = asyncio.ensure_future(loop.run())
        store.watch(door.heard)
        for number in range(18):
            await door.accept(solicitada(number + 1), "stranger")
        with pytest.raises(Problem, match="18 purchases of this address") as refused:
            await door.accept(solicitada(30), "stranger")
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "5")
        # The same again is no new one; entries are the operator's; there is room for others.
        await door.accept(solicitada(1), "stranger")
        await door.accept(recarga(1), "stranger")
        await door.accept(solicitada(31), "honest")
        # What has ended, or was never stored, counts no more.
        for number in (1, 2):
            await store.process_batch([vendida(solicitada(number))])
        await door.accept(solicitada(32), "stranger")
        for number in range(3, 19):
            await store.process_batch([vendida(solicitada(number))])
        for number in (31, 32):
            await store.process_batch([vendida(solicitada(number))])
        assert not door._held and not door._whose
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
