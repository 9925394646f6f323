"""What comes of a word is heard behind the word: also at compras, which hears of all and asks for all."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_shop import Ask, Shop
from audit_stories import ANA, GATO, LUIS
from edited_books import Edited, Record
from small_shops import told, verdict_after, verdict_of

from broker.messages import SaldoRecargado, compra_id

ENTRY = ("usuario.registrado", "alta.aplicada")


def dated_anew(records: list[Record]) -> None:
    """Each is a batch of its own, at a later second."""
    for number, record in enumerate(records):
        record["time"], record["batch"] = f"{record['time'][:17]}{number:02d}.000Z", number


async def one_token_for_two(shop: Shop) -> None:
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO)
    await shop.buy(Ask(1, 101, "first"))
    await shop.settle()
    await shop.buy(Ask(2, 101, "second"))


async def money_by_an_entry(shop: Shop) -> None:
    await shop.seed("tokens", GATO)
    await shop.user(7, "Eva", 100)
    await shop.settle()
    await shop.buy(Ask(7, 101, shop.key()))


def test_who_is_refused_as_too_late_hears_it_after_the_buyer_has_asked(tmp_path: Path) -> None:
    folder = told(tmp_path / "shop", one_token_for_two)
    assert verdict_of(folder).holds

    def edit(books: Edited) -> None:
        first, second = compra_id(1, "first"), compra_id(2, "second")
        asked = next(record for record in books.compras.records if record["row"] == first)
        for record in [one for one in books.compras.records if one["row"] == second]:
            books.compras.move(record, before=asked)
        dated_anew(books.compras.records)

    verdict = verdict_after(folder, edit)
    (breach,) = verdict.breaches
    assert (breach.promise, breach.book, breach.about) == (7, "compras", compra_id(2, "second"))


def test_a_sale_is_heard_after_the_entry_that_paid_for_it_was_made(tmp_path: Path) -> None:
    folder = told(tmp_path / "shop", money_by_an_entry)
    assert verdict_of(folder).holds

    def edit(books: Edited) -> None:
        entry = [one for one in books.compras.records if one["id"].rpartition(":")[2] in ENTRY]
        assert len(entry) == len(ENTRY)
        for record in entry:
            books.compras.move(record, after=books.compras.records[-1])
        dated_anew(books.compras.records)

    verdict = verdict_after(folder, edit)
    assert {breach.book for breach in verdict.breaches} == {"compras"}
    assert verdict.counts.keys() == {7}


async def one_after_the_other(shop: Shop) -> None:
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO)
    await shop.buy(Ask(1, 101, "key"))
    await shop.settle()
    await shop.user(9, "Eva")
    await shop.settle()
    await shop.buy(Ask(2, 999, "key"))


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize(("service", "row"), [("tokens", "999"), ("usuarios", "9")])
def test_the_order_of_what_was_written_again_is_a_guess(tmp_path: Path, service: str, row: str, again: bool) -> None:
    """Each row was put in order by itself; only what was written once tells what came before what."""
    folder = told(tmp_path / "shop", one_after_the_other)

    def edit(books: Edited) -> None:
        journal = books.book(service)
        (segment,) = journal.segments
        # What came later stands before all else.
        segment.records.sort(key=lambda record: record["row"] != row)
        dated_anew(segment.records)
        for line in (segment.header, *segment.records) if again else ():
            line["generation"] = 2

    assert verdict_after(folder, edit).holds is again


async def an_entry_by_a_seeds_number(shop: Shop) -> None:
    await shop.user(7, "Eva", 500)
    await shop.settle()
    entry = SaldoRecargado(alta_id="semilla:7", fecha=shop._now("compras"), usuario_id=7, monto=1000)
    await shop.stores["compras"].process_batch([entry])
    # Nobody ever hears of it, and it is asked for again in vain.
    shop.settle = shop.deliver_all  # type: ignore[method-assign]


def test_an_operators_entry_under_a_seeds_number_is_missed(tmp_path: Path) -> None:
    verdict = verdict_of(told(tmp_path / "shop", an_entry_by_a_seeds_number))
    assert [(breach.promise, breach.about) for breach in verdict.breaches] == [(4, "semilla:7")]
