"""The four domains together, whatever the wire does: the promises of design.md, section 5, as properties."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from unit_builders import ANA, EVA, GATO, LUIS, LUNA, steady
from unit_chain import OWN_REASONS, Chain

from broker.messages import SaldoReservado, TransaccionRegistrada
from services.tokens import domain as tokens

SERVICES = Path(__file__).parents[2] / "services"


def seeded() -> Chain:
    """A chain with the seed's users and tokens, from the files that the services bring."""
    chain = Chain()
    for user in json.loads((SERVICES / "usuarios" / "usuarios.json").read_text(encoding="utf-8")):
        chain.register(user["id"], user["saldo"], user["nombre"])
    for token in json.loads((SERVICES / "tokens" / "tokens.json").read_text(encoding="utf-8")):
        chain.publish(token["id"], token["precio"], token["nombre"], token["imagen"])
    return chain.settle()


# The seed's story


def test_the_seed_is_the_specifications() -> None:
    assert json.loads((SERVICES / "usuarios" / "usuarios.json").read_text(encoding="utf-8")) == [
        {"id": 1, "nombre": "Ana", "saldo": 100},
        {"id": 2, "nombre": "Luis", "saldo": 150},
    ]
    assert json.loads((SERVICES / "tokens" / "tokens.json").read_text(encoding="utf-8")) == [
        {"id": 101, "nombre": "Gato Cósmico", "imagen": "gato.jpg", "precio": 50, "vendido": False},
        {"id": 102, "nombre": "Paisaje Lunar", "imagen": "luna.jpg", "precio": 70, "vendido": False},
    ]
    assert json.loads((SERVICES / "transacciones" / "transacciones.json").read_text(encoding="utf-8")) == []


def test_ana_buys_the_cat() -> None:
    chain = seeded()
    id_ = chain.ask(ANA, GATO)
    chain.settle()

    purchase = chain.purchase(id_)
    assert [paso.estado for paso in purchase.historia] == [
        "solicitada",
        "reservada",
        "pagada",
        "confirmada",
        "registrada",
    ]
    assert (purchase.estado, purchase.precio, purchase.transaccion_id) == ("registrada", 50, 1)
    assert chain.saldo(ANA) == 50
    assert chain.sold(GATO)
    (record,) = chain.transacciones.words(TransaccionRegistrada)
    assert (record.transaccion_id, record.usuario_id, record.token_id) == (1, ANA, GATO)
    chain.check_settled()


def test_the_seeds_story_ends_as_the_specification_says() -> None:
    chain = seeded()
    story = [(ANA, GATO), (ANA, LUNA), (LUIS, LUNA), (LUIS, GATO)]
    ends = []
    for usuario, token in story:
        id_ = chain.ask(usuario, token)
        chain.settle()
        ends.append((chain.end(id_), chain.sold(LUNA)))

    assert ends == [
        ("registrada", False),
        ("saldo-insuficiente", False),
        ("registrada", True),
        ("token-vendido", True),
    ]
    assert (chain.saldo(ANA), chain.saldo(LUIS)) == (50, 80)
    assert [
        (record.transaccion_id, record.usuario_id, record.token_id)
        for record in chain.transacciones.words(TransaccionRegistrada)
    ] == [(1, ANA, GATO), (2, LUIS, LUNA)]
    chain.check_settled()


def test_who_waited_behind_a_buyer_who_could_not_pay_gets_the_token() -> None:
    chain = seeded()
    stranger, luis, ana = chain.ask(EVA, GATO), chain.ask(LUIS, GATO), chain.ask(ANA, GATO)
    chain.settle()

    assert [chain.end(id_) for id_ in (stranger, luis, ana)] == ["usuario-inexistente", "registrada", "token-vendido"]
    assert (chain.saldo(LUIS), chain.saldo(ANA)) == (100, 100)
    chain.check_settled()


def test_without_transacciones_a_purchase_stops_at_confirmada_and_the_token_is_the_buyers() -> None:
    chain = seeded()
    id_ = chain.ask(ANA, GATO)
    held_back = []
    while chain.wire:
        if chain.wire[0][0] == "transacciones":
            held_back.append(chain.wire.pop(0))
        else:
            chain.deliver()
    assert (chain.purchase(id_).estado, chain.sold(GATO), chain.saldo(ANA)) == ("confirmada", True, 50)

    chain.wire += held_back
    assert chain.settle().end(id_) == "registrada"
    chain.check_settled()


def test_the_same_key_is_the_same_purchase_charged_once() -> None:
    chain = seeded()
    ids = {chain.ask(ANA, GATO, key="k") for _ in range(3)}
    chain.settle()
    ids |= {chain.ask(ANA, GATO, key="k")}
    chain.settle()

    assert [chain.end(id_) for id_ in ids] == ["registrada"]
    assert len(chain.usuarios.words(SaldoReservado)) == 1
    chain.check_settled()


@steady
@given(st.integers(0, 12))
def test_a_broker_whose_disk_was_wiped_at_any_moment_loses_no_purchase(moment: int) -> None:
    chain = seeded()
    ids = [chain.ask(EVA, GATO), chain.ask(ANA, GATO), chain.ask(LUIS, GATO), chain.ask(LUIS, LUNA)]
    for _ in range(min(moment, len(chain.wire))):
        chain.deliver()
    chain.wire.clear()
    chain.settle()

    assert {chain.end(id_) for id_ in ids} <= {"registrada", "token-vendido", "usuario-inexistente"}
    assert sorted(word.token_id for word in chain.transacciones.words(TransaccionRegistrada)) == [GATO, LUNA]
    chain.check_settled()


# Anything at all, in any order


class AnyOrder(RuleBasedStateMachine):
    """People ask and enter what they like; the wire delivers in any order, repeats and loses."""

    def __init__(self) -> None:
        super().__init__()
        self.chain = Chain()
        self.asked: list[tuple[int, int, str]] = []

    @rule(usuario=st.integers(1, 3), saldo=st.none() | st.integers(0, 120), nombre=st.sampled_from("ABC"))
    def register(self, usuario: int, saldo: int | None, nombre: str) -> None:
        self.chain.register(usuario, saldo, nombre)

    @rule(usuario=st.integers(1, 4), monto=st.integers(1, 60))
    def top_up(self, usuario: int, monto: int) -> None:
        self.chain.top_up(usuario, monto)

    @rule(token=st.integers(1, 2), precio=st.integers(0, 80), nombre=st.sampled_from("ABC"))
    def publish(self, token: int, precio: int, nombre: str) -> None:
        self.chain.publish(token, precio, nombre)

    @rule(usuario=st.integers(1, 4), token=st.integers(1, 3), maximo=st.none() | st.integers(0, 80))
    def ask(self, usuario: int, token: int, maximo: int | None) -> None:
        key = f"{len(self.asked)}"
        self.asked.append((usuario, token, key))
        self.chain.ask(usuario, token, key, maximo)

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 99))
    def retry(self, which: int) -> None:
        self.chain.ask(*self.asked[which % len(self.asked)])

    @precondition(lambda self: self.chain.wire)
    @rule(indexes=st.lists(st.integers(0, 99), min_size=1, max_size=8))
    def deliver(self, indexes: list[int]) -> None:
        for index in indexes:
            if self.chain.wire:
                self.chain.deliver(index)

    @precondition(lambda self: self.chain.wire)
    @rule(index=st.integers(0, 99))
    def duplicate(self, index: int) -> None:
        self.chain.duplicate(index)

    @precondition(lambda self: self.chain.wire)
    @rule(index=st.integers(0, 99))
    def lose(self, index: int) -> None:
        self.chain.lose(index)

    @rule()
    def nudge(self) -> None:
        self.chain.nudge()

    @invariant()
    def what_always_holds(self) -> None:
        self.chain.check_always()

    def teardown(self) -> None:
        # What is left arrives in order, or the newest first.
        self.chain.settle(lambda length: 0 if len(self.asked) % 2 else length - 1)
        self.chain.check_settled()


AnyOrder.TestCase.settings = settings(steady, max_examples=500, stateful_step_count=40)
TestTheBooksAreRightWhateverTheWireDoes = AnyOrder.TestCase


# Many buyers at once, from a seed


def crowd(seed: int) -> Chain:
    """Thirty purchases of few tokens by few buyers, on a bad wire, until all is quiet."""
    rng = Random(seed)
    chain = Chain()
    order = rng.choice(["first", "last", "any"])

    def pick(length: int) -> int:
        return {"first": 0, "last": length - 1, "any": rng.randrange(length)}[order]

    for usuario in (1, 2, 3):
        chain.register(usuario, rng.randrange(150))
    for token in (1, 2, 3):
        chain.publish(token, rng.randrange(20, 90))
    if rng.random() < 0.8:
        chain.settle(pick)
    for _ in range(30):
        maximo = rng.choice([None, None, rng.randrange(90)])
        chain.ask(rng.choice([1, 1, 2, 3, 4]), rng.choice([1, 1, 2, 3, 4]), maximo=maximo)
        if rng.random() < 0.1:
            chain.publish(rng.choice([1, 2, 3]), rng.randrange(20, 90))
        if rng.random() < 0.1:
            chain.top_up(rng.choice([1, 2, 3, 5]), rng.randrange(1, 50))
        for _ in range(rng.randrange(6)):
            if chain.wire:
                index = pick(len(chain.wire))
                rng.choice([chain.deliver] * 8 + [chain.duplicate, chain.lose])(index)
                chain.check_always()
    return chain.settle(pick)


@pytest.mark.parametrize("seed", range(120))
def test_a_crowd_on_a_bad_wire_leaves_right_books(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:
        monkeypatch.setattr(tokens, "MAX_COLA", 2)
    crowd(seed).check_settled()


def test_the_crowds_meet_every_reason_and_every_turn_of_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_COLA", 2)
    chains = [crowd(seed) for seed in range(1, 121, 2)]

    assert set().union(*(chain.reasons() for chain in chains)) == {*OWN_REASONS, "token-vendido"}
    records = [record for chain in chains for record in chain.tokens.journal]
    # A holder who could not pay was followed by one who could; by one who no longer would; by nobody.
    freed = [[word.type for word in each.words] for each in records if each.message.type == "saldo.rechazado"]
    assert ["compra.rechazada", "token.reservado"] in freed
    assert ["compra.rechazada", "compra.rechazada", "token.reservado"] in freed
    assert ["compra.rechazada"] in freed
    # Somebody waited for a token until it was sold.
    sold = [[word.type for word in each.words] for each in records if each.message.type == "saldo.reservado"]
    assert ["compra.confirmada"] in sold
    assert ["compra.confirmada", "compra.rechazada", "compra.rechazada"] in sold


# That the checks can fail: each promise, broken on purpose in the books of a chain that kept it.


def kept() -> Chain:
    chain = seeded()
    for usuario, token in ((EVA, GATO), (ANA, GATO), (LUIS, GATO), (LUIS, LUNA)):
        chain.ask(usuario, token)
    chain.settle().check_settled()
    return chain


def test_money_that_was_made_or_lost_is_found() -> None:
    chain = kept()
    row = chain.usuarios.rows["1"]
    for saldo in (row.saldo + 1, row.saldo - 1):
        chain.usuarios.rows["1"] = type(row)(row.id, row.nombre, saldo, row.registrado)
        with pytest.raises(AssertionError, match="money of 1 was made or lost"):
            chain.check_always()


def test_a_token_that_was_sold_twice_is_found() -> None:
    chain = kept()
    chain.tokens.journal += [each for each in chain.tokens.journal if each.message.type == "saldo.reservado"]
    with pytest.raises(AssertionError, match="was sold twice"):
        chain.check_always()


def test_a_purchase_without_an_end_is_found() -> None:
    chain = kept()
    chain.tokens.journal = [each for each in chain.tokens.journal if each.message.type != "saldo.rechazado"]
    with pytest.raises(AssertionError, match="a purchase has no end, or two"):
        chain.check_settled()


def test_a_record_that_is_missing_is_found() -> None:
    chain = kept()
    del chain.transacciones.journal[0]
    with pytest.raises(AssertionError):
        chain.check_always()


def test_somebody_who_jumped_the_line_is_found() -> None:
    chain = kept()
    asked = [each for each in chain.tokens.journal if each.message.type == "compra.solicitada"]
    (luis,) = (each for each in asked if chain.end(each.message.subject) == "token-vendido")
    chain.tokens.journal.remove(luis)
    chain.tokens.journal.insert(0, luis)
    with pytest.raises(AssertionError, match="asked before the winner and was refused: token-vendido"):
        chain._check_fairness()
