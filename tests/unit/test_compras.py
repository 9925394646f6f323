"""What a buyer sees of a purchase, and an operator of an entry, in whatever order the news come."""

from __future__ import annotations

from itertools import permutations

import pytest
from msgspec.structs import replace
from unit_builders import (
    FECHA,
    aplicada,
    confirmada,
    fecha,
    impagado,
    pagado,
    rechazada,
    registrada,
    reservado,
    saldo_recargado,
    solicitada,
    token_publicado,
    usuario_registrado,
)

from broker.messages import CompraMessage, CompraSolicitada, Message, Motivo, encode
from services.compras.domain import DOMAIN, Alta, Compra, Paso, decide, finished, pregunta
from services.shared.decision import Decision

compra = solicitada(maximo=60)
PEDIDA = Compra(
    id=compra.compra_id,
    usuario_id=compra.usuario_id,
    token_id=compra.token_id,
    fecha=FECHA,
    precio_maximo=60,
    estado="solicitada",
    historia=(Paso("solicitada", FECHA),),
)
ALTAS = [usuario_registrado(saldo=5), usuario_registrado(), saldo_recargado(), token_publicado()]


def news() -> list[CompraMessage]:
    """All that is ever said of a purchase that succeeds, each received at its own moment."""
    said = [reservado(compra), pagado(compra), confirmada(compra), registrada(compra, 7)]
    return [message.received(fecha(number)) for number, message in enumerate(said, start=1)]


def after(*messages: Message, row: Compra = PEDIDA) -> Compra:
    """The purchase after these, which are not answered."""
    for message in messages:
        decision = decide(row, message)
        assert decision.messages == ()
        assert isinstance(decision.row, Compra)
        row = decision.row
    return row


def estados(row: Compra) -> list[str]:
    return [paso.estado for paso in row.historia]


# A purchase


def test_a_purchase_that_is_accepted_is_told_word_for_word() -> None:
    assert decide(None, compra) == Decision(PEDIDA, (compra,))


def test_a_purchase_without_a_highest_price_is_accepted_too() -> None:
    any_price = solicitada()
    assert decide(None, any_price) == Decision(replace(PEDIDA, precio_maximo=None), (any_price,))


def test_a_purchase_goes_through_its_states_one_by_one() -> None:
    row = PEDIDA
    seen = []
    for message in news():
        row = after(message, row=row)
        seen.append((row.estado, row.precio, row.transaccion_id))
    assert seen == [("reservada", 50, None), ("pagada", 50, None), ("confirmada", 50, None), ("registrada", 50, 7)]
    assert row.motivo is None


def test_the_history_tells_when_the_front_door_heard_of_each_state() -> None:
    assert after(*news()).historia == (
        Paso("solicitada", FECHA),
        Paso("reservada", fecha(1)),
        Paso("pagada", fecha(2)),
        Paso("confirmada", fecha(3)),
        Paso("registrada", fecha(4)),
    )


@pytest.mark.parametrize("order", sorted(permutations(range(4))))
def test_news_in_any_order_come_to_the_same_purchase(order: tuple[int, ...]) -> None:
    said = news()
    assert after(*(said[number] for number in order)) == after(*said)


@pytest.mark.parametrize("order", sorted(permutations(range(4))))
def test_a_purchase_never_goes_back_whatever_comes_late(order: tuple[int, ...]) -> None:
    names = ["solicitada", "reservada", "pagada", "confirmada", "registrada"]
    said = news()
    row = PEDIDA
    furthest = 0
    for number in order:
        row = after(said[number], row=row)
        furthest = max(furthest, number + 1)
        assert row.estado == names[furthest]
        assert estados(row) == sorted(estados(row), key=names.index)


def test_late_news_fill_in_the_history_and_go_no_further() -> None:
    reservada, pagada, confirmada_, registrada_ = news()
    row = after(registrada_)
    assert (row.estado, row.precio, estados(row)) == ("registrada", None, ["solicitada", "registrada"])

    row = after(pagada, row=row)
    assert (row.estado, row.precio, estados(row)) == ("registrada", 50, ["solicitada", "pagada", "registrada"])

    row = after(reservada, confirmada_, row=row)
    assert (row.estado, row.transaccion_id) == ("registrada", 7)
    assert estados(row) == ["solicitada", "reservada", "pagada", "confirmada", "registrada"]
    assert row.historia[1] == Paso("reservada", fecha(1))


def test_a_purchase_that_is_confirmed_waits_for_its_record() -> None:
    row = after(*news()[:3])
    assert (row.estado, row.transaccion_id) == ("confirmada", None)
    assert not finished(row)


# A refusal


@pytest.mark.parametrize(
    "motivo", ["token-inexistente", "token-vendido", "token-disputado", "ya-en-cola", "precio-mayor"]
)
def test_a_refusal_ends_a_purchase_and_says_why(motivo: Motivo) -> None:
    row = after(rechazada(compra, motivo).received(fecha(1)))
    assert row == replace(
        PEDIDA,
        estado="rechazada",
        motivo=motivo,
        historia=(Paso("solicitada", FECHA), Paso("rechazada", fecha(1))),
    )


@pytest.mark.parametrize("order", sorted(permutations(range(3))))
def test_a_purchase_that_could_not_be_paid_is_refused_in_any_order_of_the_news(order: tuple[int, ...]) -> None:
    said = [
        reservado(compra).received(fecha(1)),
        impagado(compra, "usuario-inexistente").received(fecha(2)),
        rechazada(compra, "usuario-inexistente").received(fecha(3)),
    ]
    row = after(*(said[number] for number in order))
    assert (row.estado, row.motivo) == ("rechazada", "usuario-inexistente")
    assert row.historia == (Paso("solicitada", FECHA), Paso("reservada", fecha(1)), Paso("rechazada", fecha(3)))


def test_a_purchase_that_cannot_be_paid_is_not_refused_before_tokens_says_so() -> None:
    row = after(reservado(compra), impagado(compra))
    assert (row.estado, row.motivo) == ("reservada", "saldo-insuficiente")
    assert not finished(row)


# Broken promises

SOLD = [pagado(compra), confirmada(compra), registrada(compra)]


@pytest.mark.parametrize("sold", SOLD, ids=lambda message: message.type)
def test_a_purchase_that_is_both_sold_and_refused_is_a_broken_promise(sold: CompraMessage) -> None:
    refused = rechazada(compra, "token-vendido")
    for first, second in ((sold, refused), (refused, sold)):
        with pytest.raises(AssertionError, match=f"{compra.compra_id} was both sold and refused"):
            decide(after(first), second)


@pytest.mark.parametrize("sold", SOLD, ids=lambda message: message.type)
def test_money_that_was_both_taken_and_refused_is_a_broken_promise(sold: CompraMessage) -> None:
    for first, second in ((sold, impagado(compra)), (impagado(compra), sold)):
        with pytest.raises(AssertionError):
            decide(after(first), second)


@pytest.mark.parametrize(
    "message", [*SOLD, reservado(compra), impagado(compra), rechazada(compra, "precio-mayor")], ids=lambda m: m.type
)
def test_news_of_a_purchase_that_nobody_asked_for_are_a_broken_promise(message: CompraMessage) -> None:
    for row in (None, Alta(compra.compra_id, FECHA, "token.publicado", "{}")):
        with pytest.raises(AssertionError, match="which nobody asked for"):
            decide(row, message)


def test_an_answer_to_an_entry_that_nobody_made_is_a_broken_promise() -> None:
    for row in (None, PEDIDA):
        with pytest.raises(AssertionError, match="which nobody entered"):
            decide(row, aplicada("a"))


# An operator's entry


@pytest.mark.parametrize("alta", ALTAS, ids=lambda alta: alta.type)
def test_an_entry_is_kept_and_told_word_for_word(alta: Message) -> None:
    decision = decide(None, alta)
    assert decision == Decision(Alta(alta.subject, FECHA, alta.type, encode(alta).decode()), (alta,))
    assert isinstance(decision.row, Alta)
    assert decision.row.estado == "solicitada"


@pytest.mark.parametrize("alta", ALTAS, ids=lambda alta: alta.type)
def test_an_entry_is_in_force_when_its_owner_says_so(alta: Message) -> None:
    row = decide(None, alta).row
    assert isinstance(row, Alta)
    assert not finished(row)

    decision = decide(row, aplicada(alta.subject))
    assert decision == Decision(replace(row, estado="aplicada"), ())
    assert decision.row is not None
    assert finished(decision.row)


# What is asked again


def test_a_purchase_is_asked_for_again_word_for_word_however_far_it_is() -> None:
    for compra_ in (compra, solicitada()):
        row = decide(None, compra_).row
        assert isinstance(row, Compra)
        for message in (None, reservado(compra_), pagado(compra_), confirmada(compra_)):
            if message is not None:
                row = after(message, row=row)
            again = pregunta(row)
            assert again == compra_
            assert encode(again) == encode(compra_)
            assert again.id == compra_.id


@pytest.mark.parametrize("alta", ALTAS, ids=lambda alta: alta.type)
def test_an_entry_is_asked_for_again_word_for_word(alta: Message) -> None:
    row = decide(None, alta).row
    assert row is not None
    again = pregunta(row)
    assert type(again) is type(alta)
    assert encode(again) == encode(alta)


def test_what_ends_a_purchase_is_its_record_or_its_refusal_and_nothing_before() -> None:
    said = news()
    assert [finished(after(*said[:number])) for number in range(5)] == [False, False, False, False, True]
    assert finished(after(rechazada(compra, "token-vendido")))


# The shape


def test_a_row_is_a_purchase_or_an_entry_and_is_found_by_its_id() -> None:
    assert DOMAIN.name == "compras"
    assert DOMAIN.decide is decide
    assert DOMAIN.finished is finished
    assert DOMAIN.rows == (Compra, Alta)
    assert DOMAIN.listing is not None and DOMAIN.listing.message is CompraSolicitada
    for message in (compra, *news(), impagado(compra), rechazada(compra, "token-vendido")):
        assert DOMAIN.key(message) == compra.compra_id
    for alta in (*ALTAS, aplicada("a")):
        assert DOMAIN.key(alta) == alta.subject


def test_a_decision_leaves_the_purchase_it_was_given_as_it_was() -> None:
    row = after(reservado(compra).received(fecha(1)))
    before = repr(row)
    for message in (pagado(compra), impagado(compra), rechazada(compra, "precio-mayor"), registrada(compra)):
        decide(row, message)
    assert repr(row) == before
