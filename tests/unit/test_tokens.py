"""Who holds a token, who waits for it, and to whom it is sold."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from unit_builders import (
    ANA,
    EVA,
    FECHA,
    GATO,
    LUIS,
    LUNA,
    aplicada,
    confirmada,
    counted_line,
    fecha,
    impagado,
    is_counted,
    pagado,
    rechazada,
    reservado,
    saldo_recargado,
    solicitada,
    token_publicado,
)

from broker.messages import CompraSolicitada, Message, MotivoSaldo, TokenPublicado
from services.shared.decision import Decision, Fila
from services.tokens.domain import DOMAIN, MAX_COLA, Espera, Reserva, Token, decide

NUEVO = Token(GATO, "Gato Cósmico", "gato.jpg", 50, publicado=FECHA)

# Three who want the cat, in this order.
ana = solicitada(ANA, "a", fecha=fecha(1))
luis = solicitada(LUIS, "l", fecha=fecha(2))
eva = solicitada(EVA, "e", fecha=fecha(3))
# As many more as may wait.
FULL = [f"{number:08x}-0000-5000-8000-000000000000" for number in range(MAX_COLA)]


def after(*messages: Message, token: Token | None = NUEVO) -> Token:
    """The token after these."""
    for message in messages:
        token = decide(token, message).row
    assert token is not None
    return token


def holder(token: Token) -> str | None:
    return token.reserva.compra_id if token.reserva else None


def waiting(token: Token) -> list[str]:
    return [espera.compra_id for espera in token.cola]


def full_line() -> Token:
    """The token, held by Ana, with as many waiting as may."""
    return replace(after(ana), cola=Fila.of(Espera(each, 1000 + n, FECHA) for n, each in enumerate(FULL)))


# To ask


def test_a_token_that_does_not_exist_is_refused() -> None:
    assert decide(None, ana) == Decision(None, (rechazada(ana, "token-inexistente"),))


def test_a_free_token_is_held_for_who_asks_at_the_price_it_has() -> None:
    assert decide(NUEVO, ana) == Decision(
        replace(NUEVO, reserva=Reserva(ana.compra_id, ANA, ana.fecha, 50)), (reservado(ana, 50),)
    )


@pytest.mark.parametrize("maximo", [None, 50, 51, 10**12])
def test_who_would_pay_the_price_or_more_pays_the_price(maximo: int | None) -> None:
    compra = solicitada(maximo=maximo)
    assert decide(NUEVO, compra).messages == (reservado(compra, 50),)


@pytest.mark.parametrize("maximo", [0, 49])
def test_who_would_pay_less_than_the_price_is_refused_and_the_token_stays_free(maximo: int) -> None:
    compra = solicitada(maximo=maximo)
    assert decide(NUEVO, compra) == Decision(NUEVO, (rechazada(compra, "precio-mayor"),))


def test_a_token_that_costs_nothing_is_held_like_any_other() -> None:
    gratis = replace(NUEVO, precio=0)
    compra = solicitada(maximo=0)
    assert decide(gratis, compra).messages == (reservado(compra, 0),)


def test_who_asks_for_a_token_that_is_held_waits_and_hears_nothing_yet() -> None:
    decision = decide(after(ana), luis)

    assert decision.messages == ()
    assert decision.row == replace(after(ana), cola=Fila.of([Espera(luis.compra_id, LUIS, luis.fecha)]))


def test_who_would_pay_less_than_the_price_does_not_wait() -> None:
    compra = solicitada(LUIS, maximo=49)
    assert decide(after(ana), compra) == Decision(after(ana), (rechazada(compra, "precio-mayor"),))


def test_a_sold_token_is_refused() -> None:
    sold = after(ana, pagado(ana))
    assert decide(sold, luis) == Decision(sold, (rechazada(luis, "token-vendido"),))


def test_a_sold_token_is_refused_to_its_own_buyer_under_another_key() -> None:
    again = solicitada(ANA, "again")
    assert decide(after(ana, pagado(ana)), again).messages == (rechazada(again, "token-vendido"),)


def test_who_would_pay_too_little_for_a_sold_token_hears_that_it_is_sold() -> None:
    compra = solicitada(LUIS, maximo=1)
    assert decide(after(ana, pagado(ana)), compra).messages == (rechazada(compra, "token-vendido"),)


def test_who_holds_the_token_does_not_wait_behind_themselves() -> None:
    again = solicitada(ANA, "again")
    assert decide(after(ana), again) == Decision(after(ana), (rechazada(again, "ya-en-cola"),))
    token = after(ana, luis)
    assert decide(token, again) == Decision(token, (rechazada(again, "ya-en-cola"),))


def test_a_buyer_stands_in_a_line_once() -> None:
    token = after(ana, luis, eva)
    again = solicitada(LUIS, "again")
    assert decide(token, again) == Decision(token, (rechazada(again, "ya-en-cola"),))
    assert waiting(token) == [luis.compra_id, eva.compra_id]


def test_who_got_the_token_from_the_line_holds_it() -> None:
    again = solicitada(LUIS, "again")
    assert decide(after(ana, luis, eva, impagado(ana)), again).messages == (rechazada(again, "ya-en-cola"),)


def test_who_had_their_turn_may_ask_again_and_stands_at_the_end() -> None:
    again = solicitada(ANA, "again")
    token = after(ana, luis, eva, impagado(ana), again)
    assert (holder(token), waiting(token)) == (luis.compra_id, [eva.compra_id, again.compra_id])
    once_more = solicitada(ANA, "once more")
    assert decide(token, once_more).messages == (rechazada(once_more, "ya-en-cola"),)


def test_who_was_refused_in_the_line_for_its_price_may_ask_again() -> None:
    frugal, again = solicitada(LUIS, "f", maximo=50), solicitada(LUIS, "again")
    token = after(ana, frugal, eva, token_publicado(precio=80, fecha=fecha(5)), impagado(ana))
    assert decide(token, again).messages == ()


def test_a_refused_second_ask_takes_no_place() -> None:
    token = after(ana, luis, *(solicitada(LUIS, f"{n}") for n in range(100)))
    assert waiting(token) == [luis.compra_id]


def test_who_stands_in_a_full_line_hears_that_and_who_would_pay_too_little_hears_that_first() -> None:
    again = solicitada(1000, "again")
    assert decide(full_line(), again).messages == (rechazada(again, "ya-en-cola"),)
    frugal = solicitada(1000, "frugal", maximo=49)
    assert decide(full_line(), frugal).messages == (rechazada(frugal, "precio-mayor"),)


def test_of_one_who_stands_twice_in_a_line_of_before_each_has_a_turn() -> None:
    """Older versions let a buyer wait more than once: the line is what it is, and gets no longer."""
    again = solicitada(LUIS, "again")
    token = after(ana, luis, eva)
    token = replace(token, cola=token.cola.joined(Espera(again.compra_id, LUIS, again.fecha)))
    third = solicitada(LUIS, "third")
    assert decide(token, third).messages == (rechazada(third, "ya-en-cola"),)
    token = after(impagado(ana), impagado(luis), token=token)
    assert (holder(token), waiting(token)) == (eva.compra_id, [again.compra_id])
    assert decide(token, third).messages == (rechazada(third, "ya-en-cola"),)
    token = after(impagado(eva), impagado(again), third, token=token)
    assert holder(token) == third.compra_id


def test_ten_thousand_may_wait_and_the_next_is_refused() -> None:
    assert MAX_COLA == 10_000
    token = full_line()
    token = replace(token, cola=token.cola.left())

    last = decide(token, luis)
    assert last.messages == ()
    assert last.row is not None
    assert len(last.row.cola) == 10_000
    assert decide(last.row, eva) == Decision(last.row, (rechazada(eva, "token-disputado"),))


def test_there_is_room_again_when_one_leaves_a_full_line() -> None:
    assert waiting(after(impagado(ana), eva, token=full_line()))[-1] == eva.compra_id


def test_who_would_pay_too_little_hears_so_even_when_the_line_is_full() -> None:
    compra = solicitada(EVA, maximo=49)
    assert decide(full_line(), compra).messages == (rechazada(compra, "precio-mayor"),)


def test_a_full_line_is_refused_as_sold_once_the_token_is_sold() -> None:
    assert decide(after(pagado(ana), token=full_line()), eva).messages == (rechazada(eva, "token-vendido"),)


# The holder pays


def test_the_holder_who_has_paid_is_the_buyer() -> None:
    token = after(ana)
    assert decide(token, pagado(ana)) == Decision(replace(token, vendido=True), (confirmada(ana),))


def test_a_sold_token_remembers_who_bought_it_and_for_how_much() -> None:
    assert after(ana, pagado(ana)).reserva == Reserva(ana.compra_id, ANA, ana.fecha, 50)


def test_all_who_wait_for_a_token_that_is_sold_are_refused_in_their_order() -> None:
    decision = decide(after(ana, luis, eva), pagado(ana))

    assert decision.messages == (confirmada(ana), rechazada(luis, "token-vendido"), rechazada(eva, "token-vendido"))
    assert decision.row is not None
    assert waiting(decision.row) == []


def test_all_ten_thousand_are_refused() -> None:
    messages = decide(full_line(), pagado(ana)).messages
    assert [message.subject for message in messages] == [ana.compra_id, *FULL]


# The holder cannot pay


@pytest.mark.parametrize("motivo", ["saldo-insuficiente", "usuario-inexistente"])
def test_a_holder_who_cannot_pay_is_refused_with_the_reason_and_the_token_is_free_again(motivo: MotivoSaldo) -> None:
    assert decide(after(ana), impagado(ana, motivo)) == Decision(NUEVO, (rechazada(ana, motivo),))


def test_a_token_that_is_free_again_is_held_for_who_asks_next() -> None:
    assert decide(after(ana, impagado(ana)), luis).messages == (reservado(luis),)


def test_the_next_in_line_gets_the_token_when_the_holder_cannot_pay() -> None:
    decision = decide(after(ana, luis, eva), impagado(ana))

    assert decision.messages == (rechazada(ana, "saldo-insuficiente"), reservado(luis))
    assert decision.row is not None
    assert decision.row.reserva == Reserva(luis.compra_id, LUIS, luis.fecha, 50)
    assert waiting(decision.row) == [eva.compra_id]


def test_everyone_has_a_turn_in_the_order_in_which_they_asked() -> None:
    token = after(ana, luis, eva)
    turns = []
    for compra in (ana, luis, eva):
        turns.append(holder(token))
        token = after(impagado(compra), token=token)
    assert turns == [ana.compra_id, luis.compra_id, eva.compra_id]
    assert (holder(token), waiting(token)) == (None, [])


def test_who_waits_gets_the_token_though_their_fecha_is_older_than_the_holders() -> None:
    early = solicitada(EVA, "early", fecha=fecha(0))
    token = after(ana, luis, early, impagado(ana))
    assert (holder(token), waiting(token)) == (luis.compra_id, [early.compra_id])


def test_the_next_in_line_pays_the_price_of_now() -> None:
    token = after(ana, luis, token_publicado(precio=80, fecha=fecha(5)), impagado(ana))
    assert token.reserva == Reserva(luis.compra_id, LUIS, luis.fecha, 80)
    assert decide(token, pagado(luis, 80)).messages == (confirmada(luis, 80),)


@pytest.mark.parametrize("maximo", [50, 79])
def test_the_next_in_line_who_would_no_longer_pay_the_price_is_refused(maximo: int) -> None:
    frugal = solicitada(LUIS, maximo=maximo)
    token = after(ana, frugal, token_publicado(precio=80, fecha=fecha(5)))

    decision = decide(token, impagado(ana))
    assert decision.messages == (rechazada(ana, "saldo-insuficiente"), rechazada(frugal, "precio-mayor"))
    assert decision.row is not None
    assert (holder(decision.row), waiting(decision.row)) == (None, [])


@pytest.mark.parametrize("maximo", [80, 81, None])
def test_the_next_in_line_who_still_accepts_the_price_gets_it_after_those_who_do_not(maximo: int | None) -> None:
    frugal, frugal_too = solicitada(LUIS, "1", maximo=50), solicitada(11, "2", maximo=79)
    buyer, last = solicitada(EVA, "3", maximo=maximo), solicitada(12, "4")
    token = after(ana, frugal, frugal_too, buyer, last, token_publicado(precio=80, fecha=fecha(5)))

    decision = decide(token, impagado(ana))
    assert decision.messages == (
        rechazada(ana, "saldo-insuficiente"),
        rechazada(frugal, "precio-mayor"),
        rechazada(frugal_too, "precio-mayor"),
        reservado(buyer, 80),
    )
    assert decision.row is not None
    assert (holder(decision.row), waiting(decision.row)) == (buyer.compra_id, [last.compra_id])


def test_who_waits_profits_from_a_price_that_went_down() -> None:
    frugal = solicitada(LUIS, maximo=50)
    token = after(ana, frugal, token_publicado(precio=20, fecha=fecha(5)))
    assert decide(token, impagado(ana)).messages[-1] == reservado(frugal, 20)


# To publish


def test_a_new_token_is_up_for_sale_and_the_operator_is_answered() -> None:
    alta = token_publicado(LUNA, nombre="Paisaje Lunar", imagen="luna.jpg", precio=70, alta="a1")
    assert decide(None, alta) == Decision(Token(LUNA, "Paisaje Lunar", "luna.jpg", 70, FECHA), (aplicada("a1"),))


def test_a_later_entry_changes_what_is_shown() -> None:
    alta = token_publicado(nombre="Gato", imagen="g.png", precio=60, alta="a2", fecha=fecha(9))
    assert decide(NUEVO, alta) == Decision(
        replace(NUEVO, nombre="Gato", imagen="g.png", precio=60, publicado=fecha(9)), (aplicada("a2", fecha(9)),)
    )


@pytest.mark.parametrize("when", [FECHA, "2025-09-10T16:59:59.999Z"])
def test_an_entry_that_is_not_later_changes_nothing_and_is_answered(when: str) -> None:
    alta = token_publicado(nombre="Viejo", imagen="v.png", precio=1, alta="a3", fecha=when)
    assert decide(NUEVO, alta) == Decision(NUEVO, (aplicada("a3", when),))


def test_three_entries_come_to_the_same_in_any_order() -> None:
    one, two, three = (token_publicado(nombre=f"{n}", precio=n, fecha=fecha(n)) for n in (1, 2, 3))
    for order in ((one, two, three), (three, two, one), (two, three, one)):
        token = after(*order, token=None)
        assert (token.nombre, token.precio, token.publicado) == ("3", 3, fecha(3))


def test_a_new_price_never_touches_who_holds_the_token() -> None:
    held = after(ana)
    alta = token_publicado(precio=500, fecha=fecha(9))

    decision = decide(held, alta)
    assert decision.messages == (aplicada("alta:t", fecha(9)),)
    assert decision.row == replace(held, precio=500, publicado=fecha(9))
    assert decide(decision.row, pagado(ana, 50)).messages == (confirmada(ana, 50),)


def test_a_new_price_never_touches_who_holds_the_token_though_it_is_above_their_highest() -> None:
    compra = solicitada(maximo=50)
    token = after(compra, token_publicado(precio=500, fecha=fecha(9)))
    assert holder(token) == compra.compra_id
    assert decide(token, pagado(compra, 50)).messages == (confirmada(compra, 50),)


def test_a_new_price_never_touches_the_line_until_their_turn() -> None:
    frugal = solicitada(LUIS, maximo=50)
    token = after(ana, frugal, eva)
    published = after(token_publicado(precio=500, fecha=fecha(9)), token=token)
    assert published == replace(token, precio=500, publicado=fecha(9))

    back = after(token_publicado(precio=50, fecha=fecha(10)), token=published)
    assert decide(back, impagado(ana)).messages[-1] == reservado(frugal, 50)


def test_who_asks_after_a_new_price_pays_that() -> None:
    token = after(token_publicado(precio=80, fecha=fecha(9)))
    assert decide(token, ana).messages == (reservado(ana, 80),)


def test_a_sold_token_stays_sold_and_its_buyers_whatever_is_published() -> None:
    sold = after(ana, pagado(ana))
    alta = token_publicado(nombre="Otro", imagen="o.jpg", precio=1, fecha=fecha(9))
    assert after(alta, token=sold) == replace(sold, nombre="Otro", imagen="o.jpg", precio=1, publicado=fecha(9))


def test_what_was_entered_later_is_shown_whatever_the_clock_says() -> None:
    one = token_publicado(precio=1, fecha="2099-01-01T00:00:00.000Z")
    two, three = (token_publicado(precio=n).model_copy(update={"orden": n}) for n in (7, 8))
    for order in ((one, two, three), (three, two, one), (two, three, one), (three, one, two)):
        token = after(*order, token=None)
        assert token is not None and (token.precio, token.orden, token.publicado) == (8, 8, FECHA)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2025-09-10T17:00:00Z", "2025-09-10T17:00:00.500Z"),
        ("2025-09-10T17:00:00.5Z", "2025-09-10T17:00:00.501Z"),
    ],
)
def test_a_later_entry_is_later_however_many_digits_its_fraction_has(older: str, newer: str) -> None:
    token = after(token_publicado(fecha=older), token_publicado(precio=60, fecha=newer), token=None)
    assert token.precio == 60


# Fecha, identity, and the rest of what is passed on


def test_every_word_about_a_purchase_carries_who_asked_for_what_and_when() -> None:
    words = [
        *decide(NUEVO, ana).messages,
        *decide(after(ana, luis), pagado(ana)).messages,
        *decide(after(ana, luis), impagado(ana)).messages,
    ]
    by_id = {compra.compra_id: compra for compra in (ana, luis)}
    assert len(words) == 5
    for word in words:
        asked: CompraSolicitada = by_id[word.subject]
        assert (word.usuario_id, word.token_id, word.fecha) == (asked.usuario_id, asked.token_id, asked.fecha)  # type: ignore[attr-defined]


def test_the_fecha_of_the_payment_says_nothing_about_the_purchase() -> None:
    late = pagado(ana).model_copy(update={"fecha": fecha(999)})
    assert decide(after(ana), late).messages == (confirmada(ana),)


def test_a_decision_leaves_the_token_it_was_given_as_it_was() -> None:
    token = after(ana, luis)
    for message in (eva, pagado(ana), impagado(ana), token_publicado(precio=1, fecha=fecha(9))):
        decide(token, message)
        decide(token, message)
        assert (token.precio, token.vendido, holder(token), waiting(token)) == (
            50,
            False,
            ana.compra_id,
            [luis.compra_id],
        )


# The cost of a line


def test_the_cost_of_one_buyer_does_not_grow_with_the_line() -> None:
    line, below = counted_line()
    token = replace(after(ana), cola=line)
    compras = [solicitada(100 + number, "a") for number in range(2_000)]
    for compra in compras:
        token = after(compra, solicitada(compra.usuario_id, "again"), token=token)
    assert below.tally[0] <= 2_000, "each is looked at once, to know that they are there"
    below.tally[0] = 0

    for compra in (ana, *compras[:-1]):
        token = after(impagado(compra), token=token)
    assert is_counted(token.cola)
    assert holder(token) == compras[-1].compra_id
    assert below.tally[0] <= 3 * 2_000


def test_whoever_asks_again_costs_the_same_in_a_line_of_ten_thousand() -> None:
    line, below = counted_line(*full_line().cola)
    token = after(solicitada(1000, "first"), token=replace(after(ana), cola=line))
    below.tally[0] = 0
    for number in range(2_000):
        again = solicitada(1000 + number, "again")
        assert decide(token, again) == Decision(token, (rechazada(again, "ya-en-cola"),))
    assert below.tally == [0]


def test_a_new_price_looks_at_nobody_in_the_line() -> None:
    line, below = counted_line(*full_line().cola)
    token = replace(after(ana), cola=line)
    decide(token, token_publicado(precio=80, fecha=fecha(9)))
    assert below.tally == [0]


# Broken promises


@pytest.mark.parametrize("message", [pagado(ana), impagado(ana)])
def test_news_of_the_money_for_a_token_that_does_not_exist_is_a_broken_promise(message: Message) -> None:
    with pytest.raises(AssertionError, match="does not exist"):
        decide(None, message)


@pytest.mark.parametrize("message", [pagado(ana), impagado(ana)])
def test_news_of_the_money_for_a_token_that_nobody_holds_is_a_broken_promise(message: Message) -> None:
    for token in (NUEVO, after(ana, impagado(ana))):
        with pytest.raises(AssertionError, match="nobody holds"):
            decide(token, message)


@pytest.mark.parametrize("message", [pagado(luis), impagado(luis)])
def test_news_of_the_money_of_somebody_who_does_not_hold_the_token_is_a_broken_promise(message: Message) -> None:
    for token in (after(ana), after(ana, luis), after(ana, pagado(ana))):
        with pytest.raises(AssertionError, match=f"which {ana.compra_id} holds"):
            decide(token, message)


@pytest.mark.parametrize("message", [pagado(ana), impagado(ana)])
def test_news_of_the_money_for_a_token_that_is_sold_is_a_broken_promise(message: Message) -> None:
    with pytest.raises(AssertionError, match="is sold"):
        decide(after(ana, pagado(ana)), message)


def test_a_payment_of_another_price_is_a_broken_promise() -> None:
    with pytest.raises(AssertionError):
        decide(after(ana), pagado(ana, 49))


@pytest.mark.parametrize("message", [confirmada(ana), rechazada(ana, "precio-mayor"), saldo_recargado()])
def test_what_tokens_does_not_hear_is_a_broken_promise(message: Message) -> None:
    with pytest.raises(AssertionError, match="does not hear"):
        decide(NUEVO, message)


# The shape


def test_a_row_is_a_token_and_is_found_by_its_id() -> None:
    assert DOMAIN.name == "tokens"
    assert DOMAIN.decide is decide
    assert DOMAIN.rows == (Token,)
    assert DOMAIN.listing is None
    for message in (ana, pagado(ana), impagado(ana), token_publicado()):
        assert DOMAIN.key(message) == "101"
    assert DOMAIN.key(solicitada(token=LUNA)) == "102"
    with pytest.raises(AssertionError):
        DOMAIN.key(saldo_recargado())


def test_an_entry_is_answered_each_time_it_is_decided() -> None:
    altas: list[TokenPublicado] = [token_publicado(alta=f"a{number}", fecha=fecha(number)) for number in (3, 1, 2)]
    token: Token | None = None
    for alta in altas:
        decision = decide(token, alta)
        token = decision.row
        assert decision.messages == (aplicada(alta.alta_id, alta.fecha),)
