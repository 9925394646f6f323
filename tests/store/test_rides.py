"""News that nobody waits for begins no batch of its own: it rides along with what somebody waits for, or comes soon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from store_builders import NoBroker, confirmada, pagado, registrada, reservado, solicitada, writer

from broker.amqp.bus import Delivery
from broker.messages import CONSUMERS, AltaAplicada, CompraRechazada, CompraSolicitada, Message, TransaccionRegistrada
from services.compras.domain import DOMAIN
from services.compras.main import SERVICE
from services.shared.processor import Processor

FAR_SECONDS = 3600.0
SOON_SECONDS = 0.2


class Belt(NoBroker):
    """A queue, and what was acked of it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Delivery] = asyncio.Queue()
        self.acked = asyncio.Semaphore(0)
        # How many each batch had.
        self.decided: list[int] = []

    async def receive(self, limit: int) -> list[Delivery]:
        return [await self.queue.get()]

    async def settle(self, batch: Any, reasons: object) -> None:
        for _ in batch:
            self.acked.release()

    def brings(self, *messages: Message) -> None:
        raw: Any = None
        for message in messages:
            self.queue.put_nowait(Delivery(message, None, False, raw))


@asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[tuple[Processor, Belt, CompraSolicitada]]:
    """The front door's loop, and a purchase that was asked for there."""
    belt = Belt()
    meter: Any = SimpleNamespace(
        decided=lambda batch, _: belt.decided.append(len(batch)), poisoned=lambda _: None, published=lambda _: None
    )
    async with writer(folder, DOMAIN) as store:
        loop = Processor(store, belt, meter, rides=SERVICE.rides, **options)
        work = asyncio.ensure_future(loop.run())
        try:
            compra = solicitada(1)
            await loop.submit(compra)
            yield loop, belt, compra
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


async def acked(belt: Belt, many: int) -> None:
    for _ in range(many):
        await asyncio.wait_for(belt.acked.acquire(), 30)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last call never comes: what is decided here is decided because of something else."""
    monkeypatch.setattr("services.shared.processor.RIDE_SECONDS", FAR_SECONDS)


def test_what_rides_is_all_the_front_door_hears_that_ends_nothing() -> None:
    heard = {message for message, services in CONSUMERS.items() if "compras" in services}
    assert heard - set(SERVICE.rides) == {TransaccionRegistrada, CompraRechazada, AltaAplicada}
    assert set(SERVICE.rides) < heard


@pytest.mark.usefixtures("far")
async def test_it_goes_with_what_somebody_asks_for(tmp_path: Path) -> None:
    async with running(tmp_path) as (loop, belt, compra):
        belt.brings(reservado(compra), pagado(compra))
        while loop._inbox.qsize() < 2:
            await asyncio.sleep(0)
        await loop.submit(solicitada(2))
        await acked(belt, 2)
        assert belt.decided == [1, 3]


@pytest.mark.usefixtures("far")
async def test_it_goes_with_the_end_of_a_purchase_which_waits_for_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, belt, compra):
        belt.brings(reservado(compra), pagado(compra), confirmada(compra), registrada(compra))
        await acked(belt, 4)


@pytest.mark.usefixtures("far")
async def test_what_has_no_room_in_a_batch_goes_with_the_next_which_is_not_waited_for(tmp_path: Path) -> None:
    async with running(tmp_path, batch_limit=2) as (loop, belt, compra):
        belt.brings(reservado(compra), pagado(compra), confirmada(compra))
        while loop._inbox.qsize() < 3:
            await asyncio.sleep(0)
        belt.brings(registrada(compra))
        await acked(belt, 4)


async def test_alone_it_is_decided_at_its_last_call_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.shared.processor.RIDE_SECONDS", SOON_SECONDS)
    async with running(tmp_path) as (loop, belt, compra):
        for news in (reservado(compra), pagado(compra)):
            began = asyncio.get_running_loop().time()
            belt.brings(news)
            await acked(belt, 1)
            assert asyncio.get_running_loop().time() - began >= SOON_SECONDS
        # A last call that nobody needed any more begins no batch, and is none for what comes later.
        belt.brings(confirmada(compra))
        while not loop._inbox.qsize():
            await asyncio.sleep(0)
        await loop.submit(solicitada(2))
        await acked(belt, 1)
        await asyncio.sleep(SOON_SECONDS)
        assert belt.decided == [1, 1, 1, 2]


async def test_who_is_told_to_stop_does_not_wait_for_it_longer_than_its_last_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.shared.processor.RIDE_SECONDS", SOON_SECONDS)
    async with running(tmp_path) as (loop, belt, compra):
        belt.brings(reservado(compra))
        while not loop._inbox.qsize():
            await asyncio.sleep(0)
        await asyncio.wait_for(loop.idle(), 30)
        await acked(belt, 1)
