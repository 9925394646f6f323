"""Each check of the promises can fail: good books with one thing wrong in them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import sim_promises
from sim_broker import Broken
from sim_promises import PROMISES, Book, Books, Record
from sim_world import World


@pytest.fixture(scope="module")
def good() -> Books:
    """The books of the first world that has all there is to spoil."""
    for seed in range(100):
        kept: list[Books] = []
        world = World(seed)
        world.kinds.clear()
        world.rates = dict.fromkeys(world.rates, 0)
        world.max_cola = 10_000
        try:
            world.run()
            kept.append(sim_promises.books_of(world))
        finally:
            world.loop.close()
        books = kept[0]
        reasons = {word["motivo"] for word in books.tokens.words("compra.rechazada")}
        repeated = len({(told.user, told.key) for told in books.told}) < len(books.told)
        if {"saldo-insuficiente", "token-vendido"} <= reasons and repeated and len(sales(books)) > 1:
            return books
    raise AssertionError("no world has it all")


def sales(books: Books) -> list[dict[str, Any]]:
    return books.tokens.words("compra.confirmada")


def record_of(book: Book, word: dict[str, Any]) -> Record:
    return next(record for record in book.records if any(said is word for said in record.words))


def money_made(books: Books) -> None:
    books.usuarios.records[-1].after["saldo"] += 1


def balance_below_zero(books: Books) -> None:
    pay = books.usuarios.words("saldo.reservado")[0]
    record = record_of(books.usuarios, pay)
    pay["precio"] += record.after["saldo"] + 1
    record.after["saldo"] = -1


def sold_twice(books: Books) -> None:
    sales(books)[0]["tokenId"] = sales(books)[1]["tokenId"]


def lost(books: Books) -> None:
    books.compras.rows[sales(books)[0]["compraId"]]["estado"] = "confirmada"


def accepted_and_in_no_book(books: Books) -> None:
    asked = books.compras.words("compra.solicitada")
    told = next(told for told in books.told if told.status in (200, 202))
    record = record_of(books.compras, next(word for word in asked if word["compraId"] == told.answer["id"]))
    record.words.clear()


def number_left_out(books: Books) -> None:
    books.transacciones.words("transaccion.registrada")[-1]["transaccionId"] += 1


def record_missing(books: Books) -> None:
    books.transacciones.records.pop()


def paid_and_not_sold(books: Books) -> None:
    word = sales(books)[0]
    record_of(books.tokens, word).words.remove(word)


def sold_for_another_price(books: Books) -> None:
    sales(books)[0]["precio"] += 1


def held_for_ever(books: Books) -> None:
    token = next(row for row in books.tokens.rows.values() if not row["vendido"])
    token["reserva"] = {"compra_id": "x"}


def effect_without_message(books: Books) -> None:
    books.usuarios.records[-1].subject = "0" * 36
    books.usuarios.records[-1].type = "token.reservado"


def acted_twice(books: Books) -> None:
    books.transacciones.records.append(copy.deepcopy(books.transacciones.records[-1]))


def two_answers_for_a_key(books: Books) -> None:
    told = [told for told in reversed(books.told) if told.status in (200, 202)]
    again = next(
        one for one in told if any(one is not other and one.answer["id"] == other.answer["id"] for other in told)
    )
    again.answer["fecha"] = "2020-01-01T00:00:00Z"


def told_what_never_was(books: Books) -> None:
    told = next(told for told in books.told if told.status in (200, 202))
    told.answer["estado"] = "perdida"


def refused_for_another_reason(books: Books) -> None:
    refusals = books.tokens.words("compra.rechazada")
    next(word for word in refusals if word["motivo"] == "token-vendido")["motivo"] = "precio-mayor"


def jumped_the_line(books: Books) -> None:
    refusal = next(word for word in books.tokens.words("compra.rechazada") if word["motivo"] == "token-vendido")
    asked = next(r for r in books.tokens.records if (r.subject, r.type) == (refusal["compraId"], "compra.solicitada"))
    asked.seq = 0


def older_entry_shown(books: Books) -> None:
    books.tokens.rows[min(books.tokens.rows)]["nombre"] = "old"


SPOILT: dict[Callable[[Books], None], str] = {
    money_made: "1",
    balance_below_zero: "2",
    sold_twice: "3",
    lost: "4",
    accepted_and_in_no_book: "4",
    number_left_out: "5",
    record_missing: "5",
    paid_and_not_sold: "6",
    sold_for_another_price: "6",
    held_for_ever: "6",
    effect_without_message: "7",
    acted_twice: "9",
    two_answers_for_a_key: "10",
    told_what_never_was: "12",
    refused_for_another_reason: "13",
    jumped_the_line: "13",
    older_entry_shown: "entries",
}


def test_good_books_hold(good: Books) -> None:
    for promise in PROMISES:
        promise(good)


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_a_spoilt_book_breaks_its_promise(spoil: Callable[[Books], None], good: Books) -> None:
    books = copy.deepcopy(good)
    spoil(books)
    broken = set()
    for promise in PROMISES:
        try:
            promise(books)
        except Broken as error:
            broken.add(error.promise)
        except (KeyError, StopIteration):
            continue
    assert SPOILT[spoil] in broken


def test_a_replay_that_differs_is_noticed() -> None:
    world = World(1)
    try:
        world.run()
        sim_promises.check(world)
        writer = world.writer("usuarios")
        assert writer is not None
        writer.store.rows.popitem()
        with pytest.raises(Broken, match="promise 8"):
            sim_promises.check(world)
    finally:
        world.loop.close()
