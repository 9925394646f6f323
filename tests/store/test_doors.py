"""Several front doors on one PostgreSQL: what is accepted is accepted once, and only when a standby has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from postgres_server import new_database, url_in, waits_for_standby, without_standby
from prometheus_client import CollectorRegistry
from store_builders import NOBODY, NoBroker, life, solicitada

from broker.heights import sender
from broker.messages import Message
from broker.services import SERVICES, Service
from ops.postgres import Database
from services.compras.acceptance import Acceptance
from services.compras.domain import DOMAIN, Compra
from services.compras.resend import Resender
from services.shared.http.problems import Problem
from services.shared.postgres.store import PostgresStore
from services.shared.processor import Processor
from services.shared.store import Fenced


class Door:
    """What takes in purchases, as each process of compras has it."""

    def __init__(self, store: PostgresStore[Any], backlog_limit: int) -> None:
        self.store, self.processor = store, Processor(store, NoBroker(), NOBODY)
        writing = asyncio.Event()
        writing.set()
        self.registry = CollectorRegistry()
        runtime: Any = SimpleNamespace(
            store=store, settings=SimpleNamespace(backlog_limit=backlog_limit), processor=self.processor,
            writing=writing, doubt=None, metrics=SimpleNamespace(registry=self.registry),
        )  # fmt: skip
        acceptance = Acceptance(runtime)
        self.accept = acceptance.accept
        self.held, self.whose = acceptance._held, acceptance._whose
        store.watch(acceptance.heard)

    @property
    def accepted(self) -> float:
        return self.registry.get_sample_value("zoco_purchases_accepted_total") or 0

    @property
    def finished(self) -> tuple[float, float]:
        """As counted, and as timed."""
        ended = self.registry.get_sample_value("zoco_purchases_finished_total", {"result": "registrada"})
        return ended or 0, self.registry.get_sample_value("zoco_purchase_seconds_count") or 0


Doors = Callable[..., Awaitable[list[Door]]]


@pytest.fixture
async def database(postgres: Database) -> str:
    return await new_database(postgres)


@pytest.fixture
async def doors(postgres: Database, database: str) -> AsyncIterator[Doors]:
    stores: list[PostgresStore[Any]] = []
    tasks: list[asyncio.Task[None]] = []

    async def doors(many: int, backlog_limit: int = 1000) -> list[Door]:
        opened = []
        for _ in range(many):
            stores.append(PostgresStore(url_in(postgres, "compras", database), DOMAIN))
            await stores[-1].open()
            opened.append(Door(stores[-1], backlog_limit))
            # It looks for what the others recorded, and decides.
            tasks.append(asyncio.ensure_future(stores[-1].tend()))
            tasks.append(asyncio.ensure_future(opened[-1].processor.run()))
        return opened

    yield doors
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for store in stores:
        await store.close()


def asked(second: int, token: int = 101) -> Any:
    """The same request, as another door dates it."""
    return solicitada(1, token=token).model_copy(update={"fecha": f"2026-03-01T10:00:{second:02d}.000Z"})


async def test_four_doors_that_are_asked_for_one_key_at_once_make_one_purchase_and_give_one_answer(
    doors: Doors,
) -> None:
    four = await doors(4)
    answers = await asyncio.gather(*(door.accept(asked(turn)) for turn in range(10) for door in four))
    assert len({(row.id, row.fecha) for row in answers if isinstance(row, Compra)}) == 1 and len(answers) == 40
    assert sum(door.accepted for door in four) == 1 and await four[0].store.latest() == 1
    others = await asyncio.gather(*(door.accept(asked(1, token=102)) for door in four), return_exceptions=True)
    assert [other.status if isinstance(other, Problem) else other for other in others] == [422] * 4
    assert await four[0].store.latest() == 1


async def test_of_two_requests_with_one_key_at_four_doors_at_once_one_is_accepted_and_the_other_nowhere(
    doors: Doors,
) -> None:
    four = await doors(4)
    requests = [(door, token) for turn in range(5) for door in four for token in (101, 102)]
    answers = await asyncio.gather(
        *(door.accept(asked(number, token)) for number, (door, token) in enumerate(requests)), return_exceptions=True
    )
    said = {101: set[Any](), 102: set[Any]()}
    for (_, token), answer in zip(requests, answers, strict=True):
        said[token].add(answer.token_id if isinstance(answer, Compra) else getattr(answer, "status", answer))
    assert list(said.values()) in ([{101}, {422}], [{422}, {102}])
    assert sum(door.accepted for door in four) == 1 and await four[0].store.latest() == 1


async def test_what_is_with_no_standby_yet_is_accepted_by_no_door(
    doors: Doors, postgres: Database, database: str
) -> None:
    """It can be seen, once whoever waited for the standby has lost the connection; and a failover may take it back."""
    one, other = await doors(2)
    await asyncio.gather(one.accept(solicitada(2)), other.accept(solicitada(3)))
    seen = "SELECT 1 FROM compras.filas WHERE clave = $1"
    async with without_standby(postgres), postgres.connected(database) as owner, asyncio.timeout(30):
        first = asyncio.ensure_future(one.accept(asked(1)))
        # Not whoever notes what was said, and waits, too.
        pid = await waits_for_standby(owner, database, "zoco compras writes%")
        await owner.execute("SELECT pg_terminate_backend($1)", pid)
        while not await owner.fetchval(seen, asked(1).subject):
            await asyncio.sleep(0.02)
        again = asyncio.ensure_future(other.accept(asked(2)))
        await asyncio.wait({first, again}, timeout=2)
        assert not first.done() and not again.done()
    assert (await first).fecha == (await again).fecha == asked(1).fecha


async def test_what_was_accepted_is_answered_where_there_is_no_room_for_more(doors: Doors) -> None:
    one, other = await doors(2, backlog_limit=1)
    await one.accept(asked(1))
    async with asyncio.timeout(20):
        while not other.store.unfinished:
            await asyncio.sleep(0.02)
    with pytest.raises(Problem) as full:
        await other.accept(solicitada(2))
    assert full.value.status == 503
    assert (await other.accept(asked(2))).fecha == asked(1).fecha


async def test_what_has_ended_and_is_sent_again_is_not_on_its_way(doors: Doors) -> None:
    (door,) = await doors(1, backlog_limit=2)
    for number in range(1, 6):
        purchase = solicitada(number)
        for message in life(purchase, number):
            await door.processor.submit(message)
        row = await door.accept(purchase, "6.6.6.6")
        assert isinstance(row, Compra) and row.estado == "registrada"
        with pytest.raises(Problem) as other:
            await door.accept(solicitada(number, token=999), "6.6.6.6")
        assert other.value.status == 422
    # Of what is under way each address has its share.
    await door.accept(solicitada(6), "6.6.6.6")
    assert (door.held, door.whose) == ({"6.6.6.6": 1}, {solicitada(6).subject: "6.6.6.6"})


async def test_a_purchase_counts_at_the_door_that_heard_of_its_end_first(doors: Doors) -> None:
    """Each hears of all that was decided, and the sum over all of them is what happened."""
    two = await doors(2)
    for number, door in enumerate((two[0], two[0], two[1]), 1):
        for message in life(solicitada(number), number):
            await door.processor.submit(message)
    async with asyncio.timeout(20):
        while [door.store.seq for door in two] != [12, 12]:
            await asyncio.sleep(0.02)
    assert [door.finished for door in two] == [(2, 2), (1, 1)]


class Asked:
    """The broker, as a resender sees it: nothing is on its way there, and what is asked stands here."""

    def __init__(self) -> None:
        self.questions: list[Message] = []

    async def publish(self, messages: Sequence[Message]) -> None:
        self.questions += messages

    async def oldest(self) -> dict[Service, float]:
        return dict.fromkeys(SERVICES, 0.0)


@pytest.mark.parametrize("ends", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_what_no_standby_has_is_not_asked_for_by_another_door(
    doors: Doors, postgres: Database, database: str, ends: str
) -> None:
    """It can be seen, as nobody waits any more for the COMMIT that wrote it; a failover may take it back, and then the
    others would sell a token for a purchase that is in no book."""
    one, other = await doors(2)
    await other.accept(solicitada(2))
    broker = Asked()
    resender = Resender(other.store, broker, lambda: 0.0)
    async with without_standby(postgres) as owner, asyncio.timeout(30):
        first = asyncio.ensure_future(one.accept(asked(1)))
        pid = await waits_for_standby(owner, database, "zoco compras writes%")
        await owner.execute(f"SELECT {ends}($1)", pid)
        while asked(1).subject not in await other.store.unfinished_rows():
            await asyncio.sleep(0.02)
        asking = asyncio.ensure_future(resender.run())
        for _ in range(2):
            waits = asyncio.ensure_future(waits_for_standby(owner, database, "zoco compras asks%"))
            while not waits.done():
                assert not broker.questions
                await asyncio.sleep(0.02)
            await owner.execute(f"SELECT {ends}($1)", pid := await waits)
            # A new connection waits then.
            while await owner.fetchval("SELECT 1 FROM pg_stat_activity WHERE pid = $1", pid):
                await asyncio.sleep(0.02)
        assert not broker.questions
    async with asyncio.timeout(30):
        while not broker.questions:
            await asyncio.sleep(0.02)
    for task in (asking, first):
        task.cancel()
    await asyncio.gather(asking, first, return_exceptions=True)
    assert {message.subject for message in broker.questions} == {asked(1).subject, solicitada(2).subject}
    # By the book as it stood when it was read: what came since may be with no standby either.
    assert {by[1].seq for message in broker.questions if (by := sender(message.heights))} == {2}


async def test_what_a_failover_took_back_meanwhile_is_not_asked_for(
    doors: Doors, postgres: Database, database: str
) -> None:
    (one,) = await doors(1)
    await one.accept(asked(1))
    async with postgres.connected(database) as owner:
        await owner.execute("DELETE FROM compras.diario")
        mine = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
        await owner.execute(mine, database)
    with pytest.raises(Fenced):
        await asyncio.wait_for(one.store.durable(), 20)
