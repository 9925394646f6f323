"""Whose money it is, and taking it."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace
from unit_builders import (
    ANA,
    FECHA,
    LUIS,
    aplicada,
    confirmada,
    fecha,
    impagado,
    pagado,
    reservado,
    saldo_recargado,
    solicitada,
    token_publicado,
    usuario_registrado,
)

from broker.messages import Message
from services.shared.decision import Decision, Lista
from services.usuarios.domain import DOMAIN, Recarga, Usuario, decide

RICA = Usuario(ANA, "Ana", 100, registrado=FECHA)
compra = solicitada(ANA, "a", fecha=fecha(7))


def after(*messages: Message, usuario: Usuario | None = None) -> Usuario:
    """The user after these."""
    for message in messages:
        usuario = decide(usuario, message).row
    assert usuario is not None
    return usuario


# To pay


@pytest.mark.parametrize(("precio", "left"), [(0, 100), (1, 99), (50, 50), (99, 1), (100, 0)])
def test_who_has_the_price_or_more_pays_exactly_that(precio: int, left: int) -> None:
    assert decide(RICA, reservado(compra, precio)) == Decision(replace(RICA, saldo=left), (pagado(compra, precio),))


@pytest.mark.parametrize("precio", [101, 10**12])
def test_who_has_less_than_the_price_is_refused_and_keeps_it(precio: int) -> None:
    assert decide(RICA, reservado(compra, precio)) == Decision(RICA, (impagado(compra, "saldo-insuficiente"),))


def test_who_has_nothing_can_still_have_what_costs_nothing() -> None:
    pobre = replace(RICA, saldo=0)
    assert decide(pobre, reservado(compra, 0)) == Decision(pobre, (pagado(compra, 0),))


def test_a_user_who_does_not_exist_is_refused() -> None:
    assert decide(None, reservado(compra, 0)) == Decision(None, (impagado(compra, "usuario-inexistente"),))


def test_a_user_of_whom_nothing_is_known_but_a_waiting_top_up_does_not_exist() -> None:
    awaited = after(saldo_recargado(monto=1_000))
    assert decide(awaited, reservado(compra, 0)) == Decision(awaited, (impagado(compra, "usuario-inexistente"),))


def test_two_purchases_are_paid_one_after_the_other_and_the_third_not() -> None:
    usuario: Usuario | None = RICA
    words: list[Message] = []
    for key in ("1", "2", "3"):
        decision = decide(usuario, reservado(solicitada(ANA, key), 50))
        usuario = decision.row
        words += decision.messages

    assert usuario == replace(RICA, saldo=0)
    assert words == [
        pagado(solicitada(ANA, "1")),
        pagado(solicitada(ANA, "2")),
        impagado(solicitada(ANA, "3"), "saldo-insuficiente"),
    ]


def test_what_is_said_of_a_purchase_carries_its_own_fecha_and_ids() -> None:
    for words in (decide(RICA, reservado(compra, 1)).messages, decide(RICA, reservado(compra, 101)).messages):
        (word,) = words
        assert (word.subject, word.usuario_id, word.token_id, word.fecha) == (  # type: ignore[attr-defined]
            compra.compra_id,
            compra.usuario_id,
            compra.token_id,
            fecha(7),
        )


# To register


def test_a_new_user_has_the_money_the_operator_gave_them() -> None:
    alta = usuario_registrado(nombre="Ana", saldo=100, alta="semilla:1")
    assert decide(None, alta) == Decision(RICA, (aplicada("semilla:1"),))


@pytest.mark.parametrize("saldo", [None, 0])
def test_a_new_user_to_whom_the_operator_gave_nothing_has_nothing(saldo: int | None) -> None:
    assert after(usuario_registrado(saldo=saldo)).saldo == 0


@pytest.mark.parametrize("saldo", [None, 0, 1_000_000])
def test_a_later_entry_changes_the_name_and_never_the_money(saldo: int | None) -> None:
    alta = usuario_registrado(nombre="Ana María", saldo=saldo, alta="a2", fecha=fecha(9))
    assert decide(RICA, alta) == Decision(
        replace(RICA, nombre="Ana María", registrado=fecha(9)), (aplicada("a2", fecha(9)),)
    )


@pytest.mark.parametrize("when", [FECHA, "2025-09-10T16:59:59.999Z"])
def test_an_entry_that_is_not_later_changes_nothing_and_is_answered(when: str) -> None:
    alta = usuario_registrado(nombre="Nadie", saldo=1_000_000, alta="a3", fecha=when)
    assert decide(RICA, alta) == Decision(RICA, (aplicada("a3", when),))


def test_three_names_come_to_the_same_in_any_order() -> None:
    one, two, three = (usuario_registrado(nombre=f"{n}", saldo=5, fecha=fecha(n)) for n in (1, 2, 3))
    for order in ((one, two, three), (three, two, one), (two, three, one)):
        assert after(*order) == Usuario(ANA, "3", 5, registrado=fecha(3))


def test_what_was_entered_later_is_in_force_whatever_the_clock_says() -> None:
    one = usuario_registrado(nombre="1", saldo=5, fecha="2099-01-01T00:00:00.000Z")
    two, three = (
        usuario_registrado(nombre=nombre, saldo=5, fecha=fecha(1)).model_copy(update={"orden": n})
        for nombre, n in (("7", 7), ("8", 8))
    )
    for order in itertools.permutations((one, two, three)):
        usuario = after(*order)
        assert (usuario.nombre, usuario.orden, usuario.registrado) == ("8", 8, fecha(1))


def test_a_later_name_is_later_however_many_digits_its_fraction_has() -> None:
    usuario = after(
        usuario_registrado(nombre="Vieja", fecha="2025-09-10T17:00:00Z"),
        usuario_registrado(nombre="Nueva", fecha="2025-09-10T17:00:00.500Z"),
    )
    assert usuario.nombre == "Nueva"


def test_a_new_name_changes_nothing_that_was_spent() -> None:
    usuario = after(reservado(compra, 30), usuario_registrado(nombre="A", saldo=100, fecha=fecha(9)), usuario=RICA)
    assert usuario.saldo == 70


# To top up


def test_a_top_up_is_added_to_the_money_and_answered() -> None:
    alta = saldo_recargado(monto=25, alta="r1", fecha=fecha(2))
    assert decide(RICA, alta) == Decision(replace(RICA, saldo=125), (aplicada("r1", fecha(2)),))


def test_each_top_up_counts_whatever_its_fecha() -> None:
    first, second, early = (
        saldo_recargado(monto=amount, alta=f"r{amount}", fecha=when)
        for amount, when in ((1, fecha(1)), (10, fecha(1)), (100, "2000-01-01T00:00:00Z"))
    )
    assert after(first, second, early, usuario=RICA) == replace(RICA, saldo=211)


def test_what_was_topped_up_can_be_spent() -> None:
    usuario = after(saldo_recargado(monto=1), usuario=RICA)
    assert decide(usuario, reservado(compra, 101)) == Decision(replace(RICA, saldo=0), (pagado(compra, 101),))


def test_a_top_up_for_a_user_who_is_not_registered_waits_without_an_answer() -> None:
    decision = decide(None, saldo_recargado(LUIS, monto=25, alta="r1", fecha=fecha(2)))
    assert decision == Decision(Usuario(LUIS, esperan=Lista.of([Recarga("r1", fecha(2), 25)])), ())


def test_top_ups_that_waited_count_once_and_are_answered_when_the_user_is_registered() -> None:
    early = [saldo_recargado(monto=amount, alta=f"r{amount}", fecha=fecha(amount)) for amount in (5, 20)]
    decision = decide(after(*early), usuario_registrado(saldo=100, alta="a1", fecha=fecha(30)))

    assert decision == Decision(
        Usuario(ANA, "Ana", 125, registrado=fecha(30)),
        (aplicada("a1", fecha(30)), aplicada("r5", fecha(5)), aplicada("r20", fecha(20))),
    )
    assert after(usuario_registrado(saldo=100, fecha=fecha(40)), usuario=decision.row).saldo == 125


def test_two_top_ups_that_wait_may_be_alike() -> None:
    early = [saldo_recargado(monto=5, alta=f"r{number}") for number in (1, 2)]
    assert after(*early, usuario_registrado()).saldo == 10


def test_a_user_costs_the_same_money_whether_top_ups_come_before_or_after() -> None:
    alta, top_up = usuario_registrado(saldo=7), saldo_recargado(monto=25)
    assert after(alta, top_up) == after(top_up, alta) == Usuario(ANA, "Ana", 32, registrado=FECHA)


# Broken promises, and the shape


@pytest.mark.parametrize("message", [compra, pagado(compra), confirmada(compra), token_publicado(), aplicada("a")])
def test_what_usuarios_does_not_hear_is_a_broken_promise(message: Message) -> None:
    with pytest.raises(AssertionError, match="does not hear"):
        decide(RICA, message)


def test_a_row_is_a_user_and_is_found_by_its_id() -> None:
    assert DOMAIN.name == "usuarios"
    assert DOMAIN.decide is decide
    assert DOMAIN.rows == (Usuario,)
    assert DOMAIN.listing is None
    for message in (
        reservado(solicitada(LUIS)),
        usuario_registrado(LUIS, nombre="Luis"),
        saldo_recargado(LUIS),
    ):
        assert DOMAIN.key(message) == "2"
    with pytest.raises(AssertionError):
        DOMAIN.key(token_publicado())


def test_a_decision_leaves_the_user_it_was_given_as_they_were() -> None:
    awaited = after(saldo_recargado(monto=25))
    for message in (reservado(compra, 1), saldo_recargado(monto=1), usuario_registrado(nombre="B", fecha=fecha(9))):
        decide(RICA, message)
        decide(awaited, message)
    assert Usuario(ANA, "Ana", 100, registrado=FECHA) == RICA
    assert awaited == Usuario(ANA, esperan=Lista.of([Recarga("alta:r", FECHA, 25)]))
