"""What every store promises, whatever it is made of. A case does not say on which one it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest
from store_builders import (
    GATO,
    HeldDisk,
    confirmada,
    disk_on,
    life,
    pagado,
    publicado,
    recarga,
    registrada,
    reservado,
    solicitada,
    usuario,
    vendida,
    writer,
)

from broker.messages import AltaAplicada, CompraRechazada, SaldoReservado, TokenReservado, TransaccionRegistrada
from services.compras.domain import DOMAIN as COMPRAS
from services.shared.decision import Domain
from services.shared.journal.store import JsonStore
from services.shared.store import Fenced, Store
from services.tokens.domain import DOMAIN as TOKENS
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS


class Stores(Protocol):
    """One implementation of the port, on one place to keep things in."""

    def open(self, domain: Domain[Any]) -> AbstractAsyncContextManager[Store[Any]]:
        """A store that takes messages; at the block's end its process is gone."""

    def hold(self, store: Store[Any]) -> tuple[asyncio.Event, asyncio.Event]:
        """Nothing becomes durable from now on: (set when something waits for that, set it to go on)."""


class JsonStores:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, domain: Domain[Any]) -> AbstractAsyncContextManager[Store[Any]]:
        return writer(self._folder / domain.name, domain, kind=HeldDisk)

    def hold(self, store: Store[Any]) -> tuple[asyncio.Event, asyncio.Event]:
        assert isinstance(store, JsonStore) and isinstance(store.disk, HeldDisk)
        store.disk.hold()
        return store.disk.waiting, store.disk.go


@pytest.fixture(params=[JsonStores], ids=["json"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    built: Stores = request.param(tmp_path)
    return built


@pytest.fixture
async def tokens(stores: Stores) -> AsyncIterator[Store[Any]]:
    """A store of tokens in which 101 is for sale at 50."""
    async with stores.open(TOKENS) as store:
        await store.once([publicado()])
        yield store


async def test_messages_are_decided_in_the_order_of_the_batch(tokens: Store[Any]) -> None:
    answers = await tokens.once([solicitada(1), solicitada(2), pagado(solicitada(1)), solicitada(3)])

    assert [[type(message) for message in answer.messages] for answer in answers] == [
        [TokenReservado],
        [],
        [type(confirmada(solicitada(1))), CompraRechazada],
        [CompraRechazada],
    ]
    assert tokens.row(str(GATO)).reserva.usuario_id == 1


async def test_messages_are_decided_in_the_order_of_the_batches(tokens: Store[Any]) -> None:
    for number in (2, 1, 3):
        await tokens.once([solicitada(number)])

    assert tokens.row(str(GATO)).reserva.usuario_id == 2
    assert [espera.usuario_id for espera in tokens.row(str(GATO)).cola] == [1, 3]


async def test_there_is_one_answer_for_each_message_and_none_for_none(tokens: Store[Any]) -> None:
    assert list(await tokens.once([])) == []
    assert len(await tokens.once([solicitada(1), solicitada(1), solicitada(2)])) == 3


async def test_a_message_that_comes_again_changes_nothing(stores: Stores) -> None:
    async with stores.open(USUARIOS) as store:
        await store.once([usuario(saldo=100), recarga(1, monto=7)])
        (again,) = await store.once([recarga(1, monto=7)])

        assert again.repeated and again.failure is None
        assert store.row("1").saldo == 107


async def test_a_message_that_comes_again_is_answered_as_it_was(stores: Stores) -> None:
    async with stores.open(USUARIOS) as store:
        (first,) = await store.once([usuario(saldo=100)])
        (again,) = await store.once([usuario(saldo=100)])

        assert first.messages == again.messages
        assert isinstance(first.messages[0], AltaAplicada) and not first.repeated


async def test_a_message_that_comes_again_is_answered_with_the_last_word_about_its_purchase(
    tokens: Store[Any],
) -> None:
    await tokens.once([solicitada(1), solicitada(2)])
    await tokens.once([pagado(solicitada(1))])

    won, lost = await tokens.once([solicitada(1), solicitada(2)])

    assert won.messages == (confirmada(solicitada(1)),)
    assert lost.messages == (vendida(solicitada(2)),)


async def test_who_waits_and_asks_again_is_told_nothing_yet(tokens: Store[Any]) -> None:
    await tokens.once([solicitada(1), solicitada(2)])

    (again,) = await tokens.once([solicitada(2)])

    assert again.repeated and again.messages == ()
    assert len(tokens.row(str(GATO)).cola) == 1


async def test_a_message_repeated_within_one_batch_is_decided_once(stores: Stores) -> None:
    async with stores.open(USUARIOS) as store:
        first, again = (await store.once([usuario(), recarga(1, monto=7), recarga(1, monto=7)]))[1:]

        assert (first.repeated, again.repeated) == (False, True)
        assert first.messages == again.messages
        assert store.row("1").saldo == 107


async def test_a_message_repeated_within_one_batch_hears_the_last_word_in_that_batch(tokens: Store[Any]) -> None:
    batch = [solicitada(1), solicitada(2), pagado(solicitada(1)), solicitada(2), solicitada(1)]

    *_, lost, won = await tokens.once(batch)

    assert lost.messages == (vendida(solicitada(2)),)
    assert won.messages == (confirmada(solicitada(1)),)


async def test_a_decision_without_words_leaves_nothing_to_repeat(stores: Stores) -> None:
    compra = solicitada(1)
    async with stores.open(COMPRAS) as store:
        (asked,) = await store.once([compra])
        assert asked.messages == (compra,)
        await store.once([reservado(compra)])

        (apart,) = await store.once([compra])
        (within,) = (await store.once([pagado(compra), compra]))[1:]

        assert apart.repeated and apart.messages == ()
        assert within.repeated and within.messages == ()


async def test_a_message_that_fails_costs_only_itself(tokens: Store[Any]) -> None:
    before, failed, after = await tokens.once([solicitada(1), pagado(solicitada(9)), solicitada(2)])

    assert before.failure is None and after.failure is None
    assert failed.messages == () and not failed.repeated
    assert failed.failure is not None and "AssertionError" in failed.failure and "holds" in failed.failure
    assert len(tokens.row(str(GATO)).cola) == 1


async def test_a_message_that_failed_is_decided_when_it_comes_again(tokens: Store[Any]) -> None:
    (failed,) = await tokens.once([pagado(solicitada(1))])
    assert failed.failure

    _, paid = await tokens.once([solicitada(1), pagado(solicitada(1))])

    assert paid.messages == (confirmada(solicitada(1)),)


async def test_a_message_that_the_service_does_not_hear_fails(tokens: Store[Any]) -> None:
    (failed,) = await tokens.once([registrada(solicitada(1))])

    assert failed.failure is not None


async def test_nothing_is_seen_before_it_is_durable(stores: Stores) -> None:
    async with stores.open(TOKENS) as store:
        await store.once([publicado()])
        waiting, go = stores.hold(store)
        writing = asyncio.ensure_future(store.once([solicitada(1), publicado(102)]))
        await waiting.wait()

        assert store.row(str(GATO)).reserva is None
        assert store.row("102") is None
        assert not writing.done()

        go.set()
        await writing
        assert store.row(str(GATO)).reserva is not None
        assert store.row("102") is not None


async def test_what_was_not_durable_when_the_process_died_was_never_answered(stores: Stores) -> None:
    async with stores.open(USUARIOS) as store:
        await store.once([usuario(saldo=100)])
        waiting, _ = stores.hold(store)
        writing = asyncio.ensure_future(store.once([recarga(1)]))
        await waiting.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    async with stores.open(USUARIOS) as store:
        (answer,) = await store.once([recarga(1)])
        assert len(answer.messages) == 1
        assert store.row("1").saldo == 101


async def test_a_restart_gives_the_same_rows_and_the_same_answers(stores: Stores) -> None:
    batch = [publicado(), solicitada(1), solicitada(2), pagado(solicitada(1)), publicado(102)]
    async with stores.open(TOKENS) as store:
        await store.once(batch)
        rows = [store.row(key) for key in ("101", "102", "103")]
        answers = await store.once(batch)

    for _ in range(2):
        async with stores.open(TOKENS) as store:
            assert [store.row(key) for key in ("101", "102", "103")] == rows
            assert await store.once(batch) == answers
            assert all(answer.repeated for answer in answers)


async def test_a_line_of_buyers_keeps_its_order_over_a_restart(stores: Stores) -> None:
    asking = [solicitada(number) for number in range(1, 40)]
    async with stores.open(TOKENS) as store:
        await store.once([publicado(), *asking[:20]])
    async with stores.open(TOKENS) as store:
        await store.once(asking[20:])
    async with stores.open(TOKENS) as store:
        assert [espera.usuario_id for espera in store.row("101").cola] == list(range(2, 40))


async def test_a_finished_purchase_is_read_as_it_ended_before_and_after_a_restart(stores: Stores) -> None:
    compra = solicitada(1)
    async with stores.open(COMPRAS) as store:
        await store.once(life(compra, 1))
        row = store.row(compra.compra_id)
        assert row.estado == "registrada" and row.transaccion_id == 1

    async with stores.open(COMPRAS) as store:
        assert store.row(compra.compra_id) == row
        await store.once([confirmada(compra).received("2026-01-01T00:00:00.000Z")])
        late = store.row(compra.compra_id)
        assert late.estado == "registrada" and len(late.historia) == len(row.historia) + 1

    async with stores.open(COMPRAS) as store:
        assert store.row(compra.compra_id) == late


async def test_nobody_knows_a_row_that_never_was(stores: Stores) -> None:
    async with stores.open(USUARIOS) as store:
        assert store.row("1") is None
        (answer,) = await store.once([reservado(solicitada(1))])
        assert answer.messages and not isinstance(answer.messages[0], SaldoReservado)
        assert store.row("1") is None


async def test_records_of_sales_are_numbered_without_gaps_over_restarts(stores: Stores) -> None:
    numbers = []
    for start in (1, 3, 5):
        async with stores.open(TRANSACCIONES) as store:
            batch = [confirmada(solicitada(start)), confirmada(solicitada(start)), confirmada(solicitada(start + 1))]
            for answer in await store.once(batch):
                assert isinstance(answer.messages[0], TransaccionRegistrada)
                numbers.append(answer.messages[0].transaccion_id)

    assert numbers == [1, 1, 2, 3, 3, 4, 5, 5, 6]


async def test_only_one_process_takes_messages(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS):
        with disk_on(tmp_path) as other:
            store = JsonStore(other, USUARIOS, lambda: "")
            store.load()
            assert not await store.lead()
            with pytest.raises(Fenced):
                await store.once([usuario()])
