"""The four domains on a wire that loses, repeats and reorders, in memory: no store, no broker, no clock.

The smallest machine that keeps the three sentences of design.md, section 3, and the promises of section 5 that a
decision can break. (`tests/simulation/` does the same with the production store.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import fields
from unit_builders import fecha

from broker.messages import (
    CONSUMERS,
    PRODUCERS,
    CompraConfirmada,
    CompraRechazada,
    CompraSolicitada,
    Message,
    SaldoRecargado,
    SaldoReservado,
    TokenPublicado,
    TokenReservado,
    TransaccionRegistrada,
    UsuarioRegistrado,
    compra_id,
    decode,
    encode,
)
from services.compras.domain import DOMAIN as COMPRAS
from services.compras.domain import Alta, Compra, pregunta
from services.shared.decision import Domain, Fila
from services.tokens.domain import DOMAIN as TOKENS
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS

# Why somebody may be refused who asked before the winner (promise 13), and before the token was there at all.
OWN_REASONS = {
    *("saldo-insuficiente", "usuario-inexistente", "precio-mayor", "token-disputado", "token-inexistente"),
    "ya-en-cola",
}


@dataclass
class Record:
    """One decision, as a journal has it."""

    message: Message
    before: Any
    row: Any
    words: tuple[Message, ...]


@dataclass
class Node:
    """A service: its rows, what it has seen, and its last word about each purchase."""

    domain: Domain[Any]
    rows: dict[str, Any] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    last: dict[str, Message] = field(default_factory=dict)
    journal: list[Record] = field(default_factory=list)

    def receive(self, message: Message) -> tuple[Message, ...]:
        if message.id in self.seen:
            return (self.last[message.subject],) if message.subject in self.last else ()
        key = self.domain.key(message)
        before = self.rows.get(key)
        plain_before = plain(before)
        decision = self.domain.decide(before, message)
        assert plain(before) == plain_before, f"{message.id} changed the row it was given"
        self.seen.add(message.id)
        self.rows[key] = decision.row
        self.last.pop(message.subject, None)
        self.last.update((word.subject, word) for word in decision.messages)
        self.journal.append(Record(message, plain_before, plain(decision.row), decision.messages))
        return decision.messages

    def words(self, model: type[Message]) -> list[Any]:
        """All of this type that it ever decided to say, in order."""
        return [word for record in self.journal for word in record.words if isinstance(word, model)]

    def heard(self, model: type[Message]) -> list[Any]:
        """All of this type that it ever decided, in order."""
        return [record.message for record in self.journal if isinstance(record.message, model)]


def plain(row: Any) -> Any:
    """What is in a row now, whatever becomes of it."""
    if row is None:
        return None
    values = ((each.name, getattr(row, each.name)) for each in fields(row))
    return {name: list(value) if isinstance(value, Fila) else value for name, value in values}


class Chain:
    """Four services and what is on the wire between them."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {
            domain.name: Node(domain) for domain in (COMPRAS, TOKENS, USUARIOS, TRANSACCIONES)
        }
        self.compras, self.tokens, self.usuarios, self.transacciones = self.nodes.values()
        self.wire: list[tuple[str, str, bytes]] = []
        self._moments = 0

    # What people do. Each is accepted by the front door at its own moment.

    def ask(self, usuario: int, token: int, key: str | None = None, maximo: int | None = None) -> str:
        """POST /compras. Returns the purchase's id."""
        fecha = self._now()
        id_ = compra_id(usuario, key or fecha)
        self._accept(
            CompraSolicitada(compra_id=id_, usuario_id=usuario, token_id=token, fecha=fecha, precio_maximo=maximo)
        )
        return id_

    def register(self, usuario: int, saldo: int | None, nombre: str = "Ana") -> None:
        fecha = self._now()
        self._accept(
            UsuarioRegistrado(alta_id=self._alta(), usuario_id=usuario, nombre=nombre, saldo=saldo, fecha=fecha)
        )

    def top_up(self, usuario: int, monto: int) -> None:
        self._accept(SaldoRecargado(alta_id=self._alta(), usuario_id=usuario, monto=monto, fecha=self._now()))

    def publish(self, token: int, precio: int, nombre: str = "Gato", imagen: str = "gato.jpg") -> None:
        fecha = self._now()
        self._accept(
            TokenPublicado(
                alta_id=self._alta(), token_id=token, nombre=nombre, imagen=imagen, precio=precio, fecha=fecha
            )
        )

    def nudge(self) -> None:
        """Ask again for all that is unfinished."""
        for row in self.unfinished():
            self._send("compras", pregunta(row))

    # What the wire does

    def deliver(self, index: int = 0) -> None:
        service, type_name, body = self.wire.pop(index % len(self.wire))
        message = decode(type_name, body, self._now())
        for word in self.nodes[service].receive(message):
            self._send(service, word)

    def duplicate(self, index: int) -> None:
        self.wire.append(self.wire[index % len(self.wire)])

    def lose(self, index: int) -> None:
        self.wire.pop(index % len(self.wire))

    def settle(self, pick: Callable[[int], int] = lambda length: 0) -> Chain:
        """Deliver all there is, and nudge, until nothing more comes of it."""
        self._deliver_all(pick)
        while True:
            before = [plain(row) for row in self.unfinished()]
            self.nudge()
            self._deliver_all(pick)
            if [plain(row) for row in self.unfinished()] == before:
                return self

    def unfinished(self) -> list[Any]:
        return [row for row in self.compras.rows.values() if not COMPRAS.finished(row)]

    # What can be seen

    def purchase(self, id_: str) -> Compra:
        row = self.compras.rows[id_]
        assert isinstance(row, Compra)
        return row

    def end(self, id_: str) -> str | None:
        """How a purchase ended: its motivo, or "registrada"."""
        row = self.purchase(id_)
        return row.motivo if row.estado == "rechazada" else row.estado

    def saldo(self, usuario: int) -> int:
        saldo: int = self.usuarios.rows[str(usuario)].saldo
        return saldo

    def sold(self, token: int) -> bool:
        vendido: bool = self.tokens.rows[str(token)].vendido
        return vendido

    def reasons(self) -> set[str]:
        """Every motivo that was told."""
        return {word.motivo for word in self.tokens.words(CompraRechazada)}

    # The wire, and time

    def _deliver_all(self, pick: Callable[[int], int]) -> None:
        budget = 1_000 + 100 * len(self.wire)
        while self.wire:
            budget -= 1
            assert budget, "the services answer each other for ever"
            self.deliver(pick(len(self.wire)))

    def _accept(self, message: Message) -> None:
        for word in self.compras.receive(message):
            self._send("compras", word)

    def _send(self, service: str, word: Message) -> None:
        assert service in PRODUCERS[type(word)], f"{service} says {word.type}"
        self.wire += [(listener, word.type, encode(word)) for listener in CONSUMERS[type(word)]]

    def _now(self) -> str:
        self._moments += 1
        return fecha(self._moments)

    def _alta(self) -> str:
        return f"alta:{self._moments}:{len(self.compras.journal)}"

    # Promises that hold at every moment

    def check_always(self) -> None:
        self._check_money()
        self._check_buyers()
        self._check_records()

    def _check_money(self) -> None:
        """Promises 1 and 2. What was there at first and what was added is there or was paid, and nobody owes."""
        initial: dict[int, int] = {}
        for alta in self.usuarios.heard(UsuarioRegistrado):
            initial.setdefault(alta.usuario_id, alta.saldo or 0)
        added = [alta for alta in self.usuarios.heard(SaldoRecargado) if alta.usuario_id in initial]
        for usuario_id, saldo in initial.items():
            topped_up = sum(alta.monto for alta in added if alta.usuario_id == usuario_id)
            paid = sum(word.precio for word in self.usuarios.words(SaldoReservado) if word.usuario_id == usuario_id)
            row = self.usuarios.rows[str(usuario_id)]
            assert row.saldo + paid == saldo + topped_up, f"money of {usuario_id} was made or lost"
            assert row.saldo >= 0, f"{usuario_id} owes money"
            assert not row.esperan, f"a top-up of {usuario_id} still waits"

    def _check_buyers(self) -> None:
        """Promise 3, and what sold means. A token has one buyer, and whoever is told so is that buyer."""
        sales: dict[str, Any] = {}
        for word in self.tokens.words(CompraConfirmada):
            assert str(word.token_id) not in sales, f"token {word.token_id} was sold twice"
            sales[str(word.token_id)] = word
        for key, row in self.tokens.rows.items():
            if row is None:
                continue
            assert row.vendido == (key in sales), f"token {key} says vendido: {row.vendido}"
            if row.vendido:
                assert row.reserva.compra_id == sales[key].compra_id, f"token {key} is somebody else's"
                assert len(row.cola) == 0, f"somebody waits for token {key}, which is sold"
            assert row.reserva or not row.cola, f"somebody waits for token {key}, which is free"
            line = [each.usuario_id for each in (row.reserva, *row.cola) if each is not None]
            assert len(set(line)) == len(line), f"a buyer stands in the line of token {key} twice"

    def _check_records(self) -> None:
        """Half of promise 5. Records are numbered 1, 2, 3, and no purchase has two."""
        records = self.transacciones.words(TransaccionRegistrada)
        assert [record.transaccion_id for record in records] == list(range(1, len(records) + 1))
        assert len({record.compra_id for record in records}) == len(records)

    # Promises that hold when all is quiet

    def check_settled(self) -> None:
        self.check_always()
        self._check_ends()
        self._check_sales()
        self._check_prices()
        self._check_fairness()
        self._check_entries()
        self._check_replay()

    def _check_ends(self) -> None:
        """Promise 4. Every purchase that was accepted has one end, and its buyer is told that one."""
        ends = [word for word in self.tokens.words(Message) if isinstance(word, CompraConfirmada | CompraRechazada)]
        asked = [message.compra_id for message in self.compras.heard(CompraSolicitada)]
        assert sorted(word.compra_id for word in ends) == sorted(asked), "a purchase has no end, or two"
        for word in ends:
            row = self.purchase(word.compra_id)
            if isinstance(word, CompraRechazada):
                assert (row.estado, row.motivo) == ("rechazada", word.motivo)
            else:
                assert (row.estado, row.motivo, row.precio) == ("registrada", None, word.precio)
            assert row.historia[0].estado == "solicitada"
            assert row.historia[-1].estado == row.estado
            assert len({paso.estado for paso in row.historia}) == len(row.historia)
        for key, token in self.tokens.rows.items():
            assert token is None or token.vendido or token.reserva is None, f"token {key} is held for ever"

    def _check_sales(self) -> None:
        """Promises 5 and 6. Money taken, token sold and record written go together, and tell the same story."""
        sales = {word.compra_id: word for word in self.tokens.words(CompraConfirmada)}
        payments = {word.compra_id: word for word in self.usuarios.words(SaldoReservado)}
        records = {word.compra_id: word for word in self.transacciones.words(TransaccionRegistrada)}
        assert sales.keys() == payments.keys() == records.keys()
        for id_, sale in sales.items():
            row = self.purchase(id_)
            assert payments[id_].precio == sale.precio
            assert records[id_].transaccion_id == row.transaccion_id
            for word in (sale, payments[id_], records[id_]):
                assert (word.usuario_id, word.token_id, word.fecha) == (row.usuario_id, row.token_id, row.fecha)

    def _check_prices(self) -> None:
        """Who holds a token does so at a price it had just then, and never above what they would pay."""
        for record in self.tokens.journal:
            for word in record.words:
                if isinstance(word, TokenReservado):
                    maximo = self.purchase(word.compra_id).precio_maximo
                    assert word.precio == record.before["precio"]
                    assert maximo is None or word.precio <= maximo
                if isinstance(word, CompraConfirmada):
                    assert word.precio == record.before["reserva"].precio

    def _check_fairness(self) -> None:
        """Promise 13, and that tokens gives each reason only where it is true."""
        winners = {word.token_id: word.compra_id for word in self.tokens.words(CompraConfirmada)}
        reasons = {word.compra_id: word.motivo for word in self.tokens.words(CompraRechazada)}
        asked = [message.compra_id for message in self.tokens.heard(CompraSolicitada)]
        for id_, motivo in reasons.items():
            winner = winners.get(self.purchase(id_).token_id)
            if winner is None or asked.index(id_) < asked.index(winner):
                assert motivo in OWN_REASONS, f"{id_} asked before the winner and was refused: {motivo}"
        # Among those who had a turn, the turns came in the order in which they asked.
        for token_id in {message.token_id for message in self.tokens.heard(CompraSolicitada)}:
            turns = [word.compra_id for word in self.tokens.words(TokenReservado) if word.token_id == token_id]
            assert turns == sorted(turns, key=asked.index), f"somebody jumped the line for token {token_id}"

    def _check_entries(self) -> None:
        """Every entry is in force, except top-ups of nobody; what is shown is what the operator entered last."""
        for row in self.compras.rows.values():
            if isinstance(row, Alta) and row.estado != "aplicada":
                message = pregunta(row)
                assert isinstance(message, SaldoRecargado), f"{row.id} is not in force"
                assert self.usuarios.rows[str(message.usuario_id)].nombre is None, f"{row.id} is not in force"
        for alta in self.compras.heard(TokenPublicado):
            token = self.tokens.rows[str(alta.token_id)]
            newest = max(
                (each for each in self.compras.heard(TokenPublicado) if each.token_id == alta.token_id),
                key=lambda each: each.fecha,
            )
            assert (token.nombre, token.imagen, token.precio) == (newest.nombre, newest.imagen, newest.precio)
        for alta in self.compras.heard(UsuarioRegistrado):
            newest = max(
                (each for each in self.compras.heard(UsuarioRegistrado) if each.usuario_id == alta.usuario_id),
                key=lambda each: each.fecha,
            )
            assert self.usuarios.rows[str(alta.usuario_id)].nombre == newest.nombre

    def _check_replay(self) -> None:
        """Promises 8 and 9. The same messages, decided again, come to the same rows and the same words, once each."""
        for node in self.nodes.values():
            ids = [record.message.id for record in node.journal]
            assert len(set(ids)) == len(ids)
            again = Node(node.domain)
            assert [again.receive(record.message) for record in node.journal] == [
                record.words for record in node.journal
            ]
            assert again.rows == node.rows
