"""The book of sales."""

from __future__ import annotations

import pytest
from unit_builders import EXAMPLES, LUIS, LUNA, confirmada, fecha, registrada, solicitada

from broker.messages import Message, TransaccionRegistrada
from services.shared.decision import Decision
from services.transacciones.domain import DOMAIN, Libro, decide

compra = solicitada(LUIS, "l", token=LUNA, fecha=fecha(3))


def test_the_first_record_has_the_number_one() -> None:
    assert decide(None, confirmada(compra)) == Decision(Libro(1), (registrada(compra, 1),))
    assert decide(Libro(), confirmada(compra)) == Decision(Libro(1), (registrada(compra, 1),))


def test_the_next_record_has_the_next_number() -> None:
    assert decide(Libro(41), confirmada(compra)) == Decision(Libro(42), (registrada(compra, 42),))


def test_records_are_numbered_one_two_three_in_the_order_in_which_sales_come() -> None:
    libro: Libro | None = None
    words: list[Message] = []
    sales = [solicitada(LUIS, f"{number}", fecha=fecha(100 - number)) for number in range(50)]
    for sale in sales:
        decision = decide(libro, confirmada(sale))
        libro = decision.row
        words += decision.messages
    assert words == [registrada(sale, number) for number, sale in enumerate(sales, start=1)]
    assert libro == Libro(50)


def test_a_record_carries_who_bought_what_and_when_they_asked() -> None:
    (word,) = decide(None, confirmada(compra, 70)).messages
    assert isinstance(word, TransaccionRegistrada)
    assert (word.compra_id, word.usuario_id, word.token_id, word.fecha) == (compra.compra_id, LUIS, LUNA, fecha(3))


def test_a_book_may_grow_past_what_32_bits_can_number() -> None:
    assert decide(Libro(2**32), confirmada(compra)).messages == (registrada(compra, 2**32 + 1),)


@pytest.mark.parametrize("type_name", sorted(EXAMPLES.keys() - {"compra.confirmada"}))
def test_what_transacciones_does_not_hear_is_a_broken_promise(type_name: str) -> None:
    for libro in (None, Libro(1)):
        with pytest.raises(AssertionError, match="does not hear"):
            decide(libro, EXAMPLES[type_name])


def test_there_is_one_book_for_all_sales() -> None:
    assert DOMAIN.name == "transacciones"
    assert DOMAIN.decide is decide
    assert DOMAIN.rows == (Libro,)
    assert DOMAIN.listing is not None and DOMAIN.listing.message is TransaccionRegistrada
    assert DOMAIN.key(confirmada(compra)) == DOMAIN.key(confirmada(solicitada()))
