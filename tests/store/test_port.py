"""What every store promises, whatever it is made of. A case does not say on which one it runs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from memory_store import Kept, MemoryStore
from postgres_server import new_database, url_in
from store_builders import (
    FECHA,
    GATO,
    Clock,
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

from broker.heights import Height, sender
from broker.messages import AltaAplicada, CompraRechazada, SaldoReservado, TokenReservado, TransaccionRegistrada
from ops.postgres import Database
from services.compras.domain import DOMAIN as COMPRAS
from services.compras.domain import Alta, Compra
from services.shared.decision import Domain
from services.shared.heights import BookHeights, Doubted
from services.shared.journal.store import JsonStore
from services.shared.postgres.store import PostgresStore
from services.shared.store import Change, Damaged, Fenced, Store
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


class MemoryStores:
    def __init__(self, folder: Path) -> None:
        self._kept: dict[str, Kept] = {}

    @asynccontextmanager
    async def open(self, domain: Domain[Any]) -> AsyncIterator[Store[Any]]:
        store = MemoryStore(domain, Clock(), self._kept.setdefault(domain.name, Kept()))
        await store.open()
        await store.until_leading("http://here")
        yield store
        await store.close()

    def hold(self, store: Store[Any]) -> tuple[asyncio.Event, asyncio.Event]:
        assert isinstance(store, MemoryStore)
        kept = store._kept
        kept.go.clear()
        kept.waiting.clear()
        return kept.waiting, kept.go


class HeldStore(PostgresStore[Any]):
    """Its COMMITs wait for `go` once it is cleared, as they would for a standby."""

    def __init__(self, url: str, domain: Domain[Any]) -> None:
        super().__init__(url, domain)
        self.go, self.waiting = asyncio.Event(), asyncio.Event()
        self.go.set()

    async def _commit(self, connection: Any) -> None:
        self.waiting.set()
        await self.go.wait()
        await super()._commit(connection)


class PostgresStores:
    def __init__(self, server: Database, database: str) -> None:
        self._server, self._database = server, database

    @asynccontextmanager
    async def open(self, domain: Domain[Any]) -> AsyncIterator[Store[Any]]:
        store = HeldStore(url_in(self._server, domain.name, self._database), domain)
        await store.open()
        await store.until_leading("http://here")
        try:
            yield store
        finally:
            await store.close()

    def hold(self, store: Store[Any]) -> tuple[asyncio.Event, asyncio.Event]:
        assert isinstance(store, HeldStore)
        store.go.clear()
        store.waiting.clear()
        return store.waiting, store.go


@pytest.fixture(params=["json", "memory", "postgres"])
def kept_in(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Where a store keeps its books."""
    return request.getfixturevalue("postgres") if request.param == "postgres" else (request.param, tmp_path)


@pytest.fixture
async def stores(kept_in: Any) -> Stores:
    match kept_in:
        case "json", folder:
            return JsonStores(folder)
        case "memory", folder:
            return MemoryStores(folder)
    return PostgresStores(kept_in, await new_database(kept_in))


@pytest.fixture
async def tokens(stores: Stores) -> AsyncIterator[Store[Any]]:
    """A store of tokens in which 101 is for sale at 50."""
    async with stores.open(TOKENS) as store:
        await store.process_batch([publicado()])
        yield store


async def test_messages_are_decided_in_the_order_of_the_batch(tokens: Store[Any]) -> None:
    answers = await tokens.process_batch([solicitada(1), solicitada(2), pagado(solicitada(1)), solicitada(3)])

    assert [[type(message) for message in answer.messages] for answer in answers] == [
        [TokenReservado],
        [],
        [type(confirmada(solicitada(1))), CompraRechazada],
        [CompraRechazada],
    ]
    assert (await tokens.row(str(GATO))).reserva.usuario_id == 1


async def test_messages_are_decided_in_the_order_of_the_batches(tokens: Store[Any]) -> None:
    for number in (2, 1, 3):
        await tokens.process_batch([solicitada(number)])

    assert (await tokens.row(str(GATO))).reserva.usuario_id == 2
    assert [espera.usuario_id for espera in (await tokens.row(str(GATO))).cola] == [1, 3]


async def test_there_is_one_answer_for_each_message_and_none_for_none(tokens: Store[Any]) -> None:
    assert list(await tokens.process_batch([])) == []
    assert len(await tokens.process_batch([solicitada(1), solicitada(1), solicitada(2)])) == 3


async def test_a_message_that_comes_again_changes_nothing(stores: Stores) -> None:
    async with stores.open(USUARIOS) as store:
        await store.process_batch([usuario(saldo=100), recarga(1, monto=7)])
        (again,) = await store.process_batch([recarga(1, monto=7)])

        assert again.repeated and again.failure is None
        assert (await store.row("1")).saldo == 107


async def test_a_message_that_comes_again_is_answered_as_it_was(stores: Stores) -> None:
    async with stores.open(USUARIOS) as store:
        (first,) = await store.process_batch([usuario(saldo=100)])
        (again,) = await store.process_batch([usuario(saldo=100)])

        assert first.messages == again.messages
        assert isinstance(first.messages[0], AltaAplicada) and not first.repeated


async def test_a_message_that_comes_again_is_answered_with_the_last_word_about_its_purchase(
    tokens: Store[Any],
) -> None:
    await tokens.process_batch([solicitada(1), solicitada(2)])
    await tokens.process_batch([pagado(solicitada(1))])

    won, lost = await tokens.process_batch([solicitada(1), solicitada(2)])

    assert won.messages == (confirmada(solicitada(1)),)
    assert lost.messages == (vendida(solicitada(2)),)


async def test_who_waits_and_asks_again_is_told_nothing_yet(tokens: Store[Any]) -> None:
    await tokens.process_batch([solicitada(1), solicitada(2)])

    (again,) = await tokens.process_batch([solicitada(2)])

    assert again.repeated and again.messages == ()
    assert len((await tokens.row(str(GATO))).cola) == 1


async def test_a_message_repeated_within_one_batch_is_decided_once(stores: Stores) -> None:
    async with stores.open(USUARIOS) as store:
        first, again = (await store.process_batch([usuario(), recarga(1, monto=7), recarga(1, monto=7)]))[1:]

        assert (first.repeated, again.repeated) == (False, True)
        assert first.messages == again.messages
        assert (await store.row("1")).saldo == 107


async def test_a_message_repeated_within_one_batch_hears_the_last_word_in_that_batch(tokens: Store[Any]) -> None:
    batch = [solicitada(1), solicitada(2), pagado(solicitada(1)), solicitada(2), solicitada(1)]

    *_, lost, won = await tokens.process_batch(batch)

    assert lost.messages == (vendida(solicitada(2)),)
    assert won.messages == (confirmada(solicitada(1)),)


async def test_a_decision_without_words_leaves_nothing_to_repeat(stores: Stores) -> None:
    compra = solicitada(1)
    async with stores.open(COMPRAS) as store:
        (asked,) = await store.process_batch([compra])
        assert asked.messages == (compra,)
        await store.process_batch([reservado(compra)])

        (apart,) = await store.process_batch([compra])
        (within,) = (await store.process_batch([pagado(compra), compra]))[1:]

        assert apart.repeated and apart.messages == ()
        assert within.repeated and within.messages == ()


async def test_a_message_that_fails_costs_only_itself(tokens: Store[Any]) -> None:
    before, failed, after = await tokens.process_batch([solicitada(1), pagado(solicitada(9)), solicitada(2)])

    assert before.failure is None and after.failure is None
    assert failed.messages == () and not failed.repeated
    assert failed.failure is not None and "AssertionError" in failed.failure and "holds" in failed.failure
    assert len((await tokens.row(str(GATO))).cola) == 1


async def test_a_message_that_failed_is_decided_when_it_comes_again(tokens: Store[Any]) -> None:
    (failed,) = await tokens.process_batch([pagado(solicitada(1))])
    assert failed.failure

    _, paid = await tokens.process_batch([solicitada(1), pagado(solicitada(1))])

    assert paid.messages == (confirmada(solicitada(1)),)


async def test_a_message_that_the_service_does_not_hear_fails(tokens: Store[Any]) -> None:
    (failed,) = await tokens.process_batch([registrada(solicitada(1))])

    assert failed.failure is not None


async def test_nothing_is_seen_before_it_is_durable(stores: Stores) -> None:
    async with stores.open(TOKENS) as store:
        await store.process_batch([publicado()])
        waiting, go = stores.hold(store)
        writing = asyncio.ensure_future(store.process_batch([solicitada(1), publicado(102)]))
        await waiting.wait()

        assert (await store.row(str(GATO))).reserva is None
        assert await store.row("102") is None
        assert not writing.done()

        go.set()
        await writing
        assert (await store.row(str(GATO))).reserva is not None
        assert await store.row("102") is not None


async def test_what_was_not_durable_when_the_process_died_was_never_answered(stores: Stores) -> None:
    async with stores.open(USUARIOS) as store:
        await store.process_batch([usuario(saldo=100)])
        waiting, _ = stores.hold(store)
        writing = asyncio.ensure_future(store.process_batch([recarga(1)]))
        await waiting.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    async with stores.open(USUARIOS) as store:
        (answer,) = await store.process_batch([recarga(1)])
        assert len(answer.messages) == 1
        assert (await store.row("1")).saldo == 101


async def test_a_restart_gives_the_same_rows_and_the_same_answers(stores: Stores) -> None:
    batch = [publicado(), solicitada(1), solicitada(2), pagado(solicitada(1)), publicado(102)]
    async with stores.open(TOKENS) as store:
        await store.process_batch(batch)
        rows = [await store.row(key) for key in ("101", "102", "103")]
        answers = await store.process_batch(batch)

    for _ in range(2):
        async with stores.open(TOKENS) as store:
            assert [await store.row(key) for key in ("101", "102", "103")] == rows
            assert await store.process_batch(batch) == answers
            assert all(answer.repeated for answer in answers)


async def test_a_line_of_buyers_keeps_its_order_over_a_restart(stores: Stores) -> None:
    asking = [solicitada(number) for number in range(1, 40)]
    async with stores.open(TOKENS) as store:
        await store.process_batch([publicado(), *asking[:20]])
    async with stores.open(TOKENS) as store:
        await store.process_batch(asking[20:])
    async with stores.open(TOKENS) as store:
        assert [espera.usuario_id for espera in (await store.row("101")).cola] == list(range(2, 40))


async def test_a_finished_purchase_is_read_as_it_ended_before_and_after_a_restart(stores: Stores) -> None:
    compra = solicitada(1)
    async with stores.open(COMPRAS) as store:
        await store.process_batch(life(compra, 1))
        row = await store.row(compra.compra_id)
        assert row.estado == "registrada" and row.transaccion_id == 1

    async with stores.open(COMPRAS) as store:
        assert await store.row(compra.compra_id) == row
        await store.process_batch([confirmada(compra).received("2026-01-01T00:00:00.000Z")])
        late = await store.row(compra.compra_id)
        assert late.estado == "registrada" and len(late.historia) == len(row.historia) + 1

    async with stores.open(COMPRAS) as store:
        assert await store.row(compra.compra_id) == late


async def test_nobody_knows_a_row_that_never_was(stores: Stores) -> None:
    async with stores.open(USUARIOS) as store:
        assert await store.row("1") is None
        (answer,) = await store.process_batch([reservado(solicitada(1))])
        assert answer.messages and not isinstance(answer.messages[0], SaldoReservado)
        assert await store.row("1") is None
        for key in ("\0", "1\0", "1'", "%s", "ñ", "1" * 10_000):
            assert await store.row(key) is None


async def test_records_of_sales_are_numbered_without_gaps_over_restarts(stores: Stores) -> None:
    numbers = []
    for start in (1, 3, 5):
        async with stores.open(TRANSACCIONES) as store:
            batch = [confirmada(solicitada(start)), confirmada(solicitada(start)), confirmada(solicitada(start + 1))]
            for answer in await store.process_batch(batch):
                assert isinstance(answer.messages[0], TransaccionRegistrada)
                numbers.append(answer.messages[0].transaccion_id)

    assert numbers == [1, 1, 2, 3, 3, 4, 5, 5, 6]


async def test_a_list_has_what_was_said_in_order_by_its_fields_and_in_parts(stores: Stores) -> None:
    asked = [solicitada(1), solicitada(2, token=102), solicitada(2, key="other"), solicitada(3)]
    async with stores.open(COMPRAS) as store:
        await store.process_batch([asked[0], asked[0], reservado(asked[0]), *asked[1:]])
        await store.process_batch(life(solicitada(4), 1))

        async def ids(limit: int, after: int = 0, **where: int | None) -> list[tuple[int, str]]:
            return [(number, line["compraId"]) for number, line in await store.listed(limit, after=after, where=where)]

        every = [*enumerate([compra.compra_id for compra in (*asked, solicitada(4))], 1)]
        assert await ids(10) == every and await ids(2) == every[:2] and await ids(2, 3) == every[3:5]
        assert await ids(10, 5) == [] and await ids(10, 99) == []
        assert await ids(10, usuario_id=2, token_id=None) == every[1:3]
        assert await ids(10, usuario_id=2, token_id=GATO) == [every[2]]
        assert await ids(10, token_id=102) == [every[1]] and await ids(10, usuario_id=9) == []


async def test_the_public_sees_each_row_as_it_is_now_and_none_that_is_not_shown(stores: Stores) -> None:
    async with stores.open(USUARIOS) as store:
        await store.process_batch(
            [usuario(7, saldo=5), usuario(1, saldo=100), recarga(1, monto=7), recarga(2, usuario=9)]
        )

        shown = json.loads((await store.public_list())[0])
        assert [(row["id"], row["saldo"]) for row in shown] == [(7, 5), (1, 107)]
        for limit, after, ids, last in ((1, 0, [1], 1), (1, 1, [7], None), (2, 1, [7], None), (9, 7, [], None)):
            body, more = await store.public_list(limit, after)
            assert ([row["id"] for row in json.loads(body)], more) == (ids, last)

    async with stores.open(USUARIOS) as store:
        assert json.loads((await store.public_list())[0]) == shown


async def test_the_records_are_read_from_any_on_and_in_parts_of_a_size(stores: Stores) -> None:
    async with stores.open(TOKENS) as store:
        assert await store.records(0, 1000) == [] and store.seq == 0
        await store.process_batch([publicado(), solicitada(1), solicitada(1), pagado(solicitada(9))])
        await store.process_batch([solicitada(2)])

        assert store.seq == 3
        read = [json.loads(raw) for raw in await store.records(0, 1 << 20)]
        assert [(record["seq"], record["batch"], record["row"]) for record in read] == [
            (1, 1, "101"),
            (2, 1, "101"),
            (3, 3, "101"),
        ]
        assert read[1]["words"][0]["type"] == "token.reservado" and read[2]["words"] == []
        assert [json.loads(raw)["seq"] for raw in await store.records(1, 1)] == [2]
        assert await store.records(3, 1000) == [] and await store.records(9, 1000) == []
        assert store.time == read[2]["time"]


async def test_the_unfinished_rows_are_those_that_have_not_ended_oldest_first(stores: Stores) -> None:
    first, second, third = solicitada(1), solicitada(2), solicitada(3)
    async with stores.open(COMPRAS) as store:
        await store.process_batch([first, second, third])
        assert store.unfinished == 3
        await store.process_batch(life(second, 1)[1:])

        rows = await store.unfinished_rows()
        assert [*rows] == [first.compra_id, third.compra_id] and store.unfinished == 2
        assert rows[first.compra_id] == await store.row(first.compra_id)

    async with stores.open(COMPRAS) as store:
        assert await store.unfinished_rows() == rows


async def test_the_unfinished_of_a_class_are_counted_through_a_restart(stores: Stores) -> None:
    bought = [solicitada(number) for number in (1, 2, 3)]
    async with stores.open(COMPRAS) as store:
        await store.process_batch([*bought, *(recarga(number) for number in range(5))])
        await store.process_batch(life(bought[1], 1)[1:])
        await store.process_batch([AltaAplicada(alta_id="r:2", fecha=FECHA)])
        assert (store.unfinished_of(Compra), store.unfinished_of(Alta)) == (2, 4)
    async with stores.open(COMPRAS) as store:
        assert (store.unfinished_of(Compra), store.unfinished_of(Alta), store.unfinished) == (2, 4, 6)


async def test_who_watches_hears_each_record_once_it_is_durable_and_no_repeat(stores: Stores) -> None:
    async with stores.open(USUARIOS) as store:
        heard: list[Change[Any]] = []
        store.watch(heard.append)
        waiting, go = stores.hold(store)
        writing = asyncio.ensure_future(store.process_batch([usuario(saldo=1), usuario(saldo=1), recarga(1, monto=2)]))
        await waiting.wait()
        assert heard == []

        go.set()
        await writing
        assert [(change.type, change.subject) for change in heard] == [
            ("usuario.registrado", "semilla:1"),
            ("saldo.recargado", "r:1"),
        ]
        assert heard[-1].row == await store.row("1")


async def test_only_one_process_takes_messages(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS):
        with disk_on(tmp_path) as other:
            store = JsonStore(other, USUARIOS, lambda: "")
            store.load()
            assert not await store.lead()
            with pytest.raises(Fenced):
                await store.process_batch([usuario()])


async def test_each_word_says_whose_book_said_it_and_at_which_record_also_when_it_is_repeated(stores: Stores) -> None:
    compra = solicitada()
    async with stores.open(TOKENS) as store:
        book = store.heights.book
        _, first = await store.process_batch([publicado(), compra])
        (again,) = await store.process_batch([compra])
    async with stores.open(TOKENS) as store:
        assert store.heights.book == book
        (later,) = await store.process_batch([compra])
    said = [sender(answer.messages[0].heights) for answer in (first, again, later)]
    assert said[0] and said[0][1][:3] == (book, 1, 2) and said == said[:1] * 3 and again.repeated and later.repeated


async def test_what_is_heard_of_other_books_is_kept_and_said_on(stores: Stores) -> None:
    async with stores.open(TOKENS) as store:
        await store.process_batch([publicado()])
        heard = "compras/00000001/1/7 usuarios/00000002/1/3"
        (answer,) = await store.process_batch([solicitada().received("", heard)])
        own, _, others = answer.messages[0].heights.partition(" ")
        assert own.startswith(f"tokens/{store.heights.book}/1/2") and others == heard
    async with stores.open(TOKENS) as store:
        # Late words say less.
        late = "compras/00000001/1/5 usuarios/00000002/1/2"
        await store.process_batch([solicitada(2).received("", late)])
        assert store.heights.known() == heard
        assert json.loads((await store.records(1, 1))[0])["from"] == "compras/00000001/1/7"


@pytest.mark.parametrize(
    ("heights", "says"),
    [
        (
            "compras/00000001/1/9 tokens/{book}/1/3",
            "ends at record 2 of generation 1, and compras has heard of record 3",
        ),
        ("compras/00000001/1/9 tokens/{book}/2/1", "record 1 of generation 2"),
        ("compras/00000001/1/9 tokens/0badb00c/1/1", "is another"),
        ("compras/0badb00c/1/9", "another than the one known here (00000001)"),
        ("usuarios/00000002/1/9 compras/0badb00c/1/1", "usuarios speaks for a book of compras (0badb00c)"),
    ],
)
async def test_a_book_that_is_not_what_others_know_of_it_decides_nothing(
    stores: Stores, heights: str, says: str
) -> None:
    async with stores.open(TOKENS) as store:
        await store.process_batch([publicado(), solicitada().received("", "compras/00000001/1/7")])
        batch = [solicitada(2), solicitada(3).received("", heights.format(book=store.heights.book))]
        with pytest.raises(Doubted, match=re.escape(says)):
            await store.process_batch(batch)
        assert store.seq == 2
        # Nothing of it is left behind: the book goes on with what is no reason to doubt.
        (answer,) = await store.process_batch([solicitada(2)])
        assert answer.failure is None and not answer.repeated


@pytest.mark.parametrize(
    "heights", ["", "compras/00000001/1/7 tokens/{book}/1/2", "nonsense", "compras/1/1/1 tokens/x"]
)
async def test_what_says_no_more_than_is_known_is_no_reason_to_doubt(stores: Stores, heights: str) -> None:
    async with stores.open(TOKENS) as store:
        await store.process_batch([publicado(), solicitada().received("", "compras/00000001/1/7")])
        (answer,) = await store.process_batch([solicitada(2).received("", heights.format(book=store.heights.book))])
        assert answer.failure is None and store.seq == 3


async def test_what_a_book_said_before_it_was_rebuilt_is_not_decided_anew(stores: Stores) -> None:
    async with stores.open(TOKENS) as store:
        await store.process_batch([publicado(), solicitada().received("", "compras/00000001/2/7")])
        late, again = solicitada(2).received("", "compras/00000001/1/9"), solicitada()
        dropped, repeated = await store.process_batch([late, again.received("", "compras/00000001/1/2")])
        assert (dropped.messages, dropped.failure, store.seq) == ((), None, 2)
        assert repeated.repeated and repeated.messages
        store.heights.replaced.add("0badb00c")
        (dropped,) = await store.process_batch([solicitada(3).received("", "compras/0badb00c/1/9")])
        assert (dropped.messages, store.seq) == ((), 2)


@pytest.mark.parametrize("books", [("0000000a", "ffffffff"), ("ffffffff", "0000000a")])
async def test_a_book_that_took_anothers_place_is_the_known_one_after_a_restart_too(
    stores: Stores, books: tuple[str, str]
) -> None:
    before, now = books
    async with stores.open(TOKENS) as store:
        await store.process_batch([publicado(), solicitada().received("", f"compras/{before}/1/7")])
        store.heights.replaced.add(before)
        await store.process_batch([solicitada(2).received("", f"compras/{now}/2/3")])
        assert store.heights.known() == f"compras/{now}/2/3"
    async with stores.open(TOKENS) as store:
        assert store.heights.known() == f"compras/{now}/2/3"
        await store.process_batch([solicitada(3).received("", f"compras/{now}/2/4")])


async def given(*records: bytes) -> AsyncIterator[list[bytes]]:
    for raw in records:
        yield [raw]


async def test_a_book_that_is_put_back_is_as_it_was_and_goes_on_as_a_later_generation(stores: Stores) -> None:
    async with stores.open(TOKENS) as tokens:
        await tokens.process_batch([publicado()])
        await tokens.process_batch([publicado(102)])
        held = await tokens.process_batch([solicitada(1)])
        backup, row, list_then = await tokens.records(0, 1 << 20), await tokens.row("101"), await tokens.public_list()
        await tokens.process_batch([solicitada(2), pagado(solicitada(1)), solicitada(3)])
        later = BookHeights("tokens", tokens.heights.book, 2)
        later.heard = {"compras": Height("aaaaaaaa", 2, 5)}
        await tokens.put_back(later, given(*backup))
    async with stores.open(TOKENS) as tokens:
        assert tokens.seq == 3 and await tokens.records(0, 1 << 20) == backup
        assert (await tokens.row("101"), await tokens.public_list()) == (row, list_then)
        assert tokens.heights.said(3) == f"tokens/{later.book}/2/3 compras/aaaaaaaa/2/5"
        (again,) = await tokens.process_batch([solicitada(1)])
        assert again.repeated and [word.id for word in again.messages] == [word.id for word in held[0].messages]
        # What compras said before its own book was put back is not believed.
        (old,) = await tokens.process_batch([solicitada(2).received("", "compras/aaaaaaaa/1/9")])
        (new,) = await tokens.process_batch([solicitada(3, token=102).received("", "compras/aaaaaaaa/2/6")])
        assert not old.messages and [type(word) for word in new.messages] == [TokenReservado]
    async with stores.open(TOKENS) as tokens:
        assert tokens.seq == 4


async def test_a_book_that_is_not_whole_is_not_put_back(stores: Stores) -> None:
    async with stores.open(TOKENS) as tokens:
        await tokens.process_batch([publicado(), publicado(102)])
        first, second = await tokens.records(0, 1 << 20)
        later = BookHeights("tokens", tokens.heights.book, 2)
        with pytest.raises(Damaged):
            await tokens.put_back(later, given(first, second.replace(b"102", b"103", 1)))
    async with stores.open(TOKENS) as tokens:
        assert (tokens.seq, tokens.heights.generation) == (2, 1)
