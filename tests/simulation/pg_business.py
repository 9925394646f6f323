"""The business of the model: the very `domain.py` of the services, with names for messages and numbers for rows.

A state of the model must be small and quick to compare: a message is its type and whose it is (`token.reservado a`),
a row its number in `ROWS`, and 0 is no row. What a domain decided once is not asked of it again.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

from broker.messages import CONSUMERS, CompraSolicitada, Message, TokenPublicado, UsuarioRegistrado
from services.compras import domain as compras
from services.shared.decision import Domain
from services.tokens import domain as tokens
from services.transacciones import domain as transacciones
from services.usuarios import domain as usuarios

DOMAINS: Final[dict[str, Domain[Any]]] = {
    module.DOMAIN.name: module.DOMAIN for module in (compras, tokens, usuarios, transacciones)
}
FECHA: Final = "2026-11-29T12:00:00.000Z"
MESSAGES: Final[dict[str, Any]] = {}
ROWS: Final[list[Any]] = [None]


class Record(NamedTuple):
    """A line of `diario`. `by`: the front door that wrote it, whose words another says when it dies."""

    seq: int
    heard: str
    words: tuple[str, ...]
    by: int = 0


Diario = tuple[Record, ...]
Rows = tuple[tuple[str, int], ...]


class Book(NamedTuple):
    """A service's tables. `recuerdo` is what `diario` says of it: one transaction writes both."""

    rows: Rows = ()
    diario: Diario = ()

    def with_(self, rows: Rows, records: Diario) -> Book:
        return Book(tuple(sorted({**dict(self.rows), **dict(rows)}.items())), tuple(sorted(self.diario + records)))


def named(message: Message) -> str:
    """A second body under the same key has a mark."""
    name = f"{message.type} {message.subject[-1]}"
    while MESSAGES.setdefault(name, message) != message:
        name += "'"
    return name


def purchase(letter: str, buyer: int, token: int) -> str:
    compra_id = f"00000000-0000-4000-8000-00000000000{letter}"
    return named(CompraSolicitada(compra_id=compra_id, usuario_id=buyer, token_id=token, fecha=FECHA))


def published(token: int) -> str:
    alta = TokenPublicado(
        alta_id=f"alta:{'pq'[token - 1]}", fecha=FECHA, token_id=token, nombre="t", imagen="t.svg", precio=10
    )
    return named(alta)


def registered(buyer: int, saldo: int) -> str:
    return named(
        UsuarioRegistrado(alta_id=f"alta:{'xy'[buyer - 1]}", fecha=FECHA, usuario_id=buyer, nombre="u", saldo=saldo)
    )


@cache
def heard_by(name: str) -> tuple[str, ...]:
    hear: tuple[str, ...] = CONSUMERS[type(MESSAGES[name])]
    return hear


@cache
def same(name: str) -> str:
    """What `recuerdo` knows a message by: its type and whose it is."""
    return name.rstrip("'")


@cache
def subject(name: str) -> str:
    return same(name).rpartition(" ")[2]


@cache
def key(service: str, name: str) -> str:
    which: str = DOMAINS[service].key(MESSAGES[name])
    return which[-1]


@cache
def decide(service: str, row: int, name: str) -> tuple[int, tuple[str, ...]] | None:
    """The row, and what is said; None: a dead letter."""
    try:
        decision = DOMAINS[service].decide(ROWS[row], MESSAGES[name])
    except AssertionError:
        return None
    if decision.row not in ROWS:
        ROWS.append(decision.row)
    return ROWS.index(decision.row), tuple(map(named, decision.messages))


@cache
def unfinished(rows: Rows) -> tuple[str, ...]:
    """What compras asks again for each purchase that is not at its end."""
    open_rows = [ROWS[row] for _, row in rows if row and not compras.finished(ROWS[row])]
    return tuple(named(compras.pregunta(row)) for row in open_rows)


@cache
def recuerdo(diario: Diario, silence: bool = True) -> dict[str, tuple[str, ...]]:
    """What is said again, for each message that was seen: the last word about it; after a silent decision, nothing."""
    last: dict[str, tuple[str, ...]] = {}
    for record in diario:
        if silence:
            last[subject(record.heard)] = ()
        last.update((subject(word), (word,)) for word in record.words)
    return {same(record.heard): last.get(subject(record.heard), ()) for record in diario}


@cache
def wrong(service: str, book: Book) -> str | None:
    """What is not right with a book that somebody can see."""
    seqs = [record.seq for record in book.diario]
    if seqs != list(range(1, len(seqs) + 1)):
        return f"{service}'s records are numbered {seqs}: a reader that tails them skips one, or sees one twice"
    heard = [same(record.heard) for record in book.diario]
    if len(set(heard)) < len(heard):
        return f"{service} has decided twice: {', '.join(heard)}"
    rows: dict[str, int] = {}
    for record in book.diario:
        which = key(service, record.heard)
        decision = decide(service, rows.get(which, 0), record.heard)
        if decision is None or decision[1] != record.words:
            return f"{service}'s record {record.seq}, {record.heard}, is not what comes of the records before it"
        rows[which] = decision[0]
    shown = {which: row for which, row in book.rows if row}
    if shown != {which: row for which, row in rows.items() if row}:
        return f"{service}'s rows are not what its records come to"
    sold = [word for record in book.diario for word in record.words if word.startswith("compra.confirmada")]
    tokens_sold = [MESSAGES[word].token_id for word in sold]
    return f"one token is sold twice: {', '.join(sold)}" if len(set(tokens_sold)) < len(sold) else None
