"""What differs between what a record did and what the rules say, field by field, and which promise that breaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from loadgen.audit.verdict import UNSET

Row = Mapping[str, Any]
# The promise that a wrong field breaks, by service. What is not named breaks 7: an effect without its message.
FIELDS: Final = {
    "usuarios": {"saldo": 1, "esperan": 1},
    "tokens": {"vendido": 6, "reserva": 6, "cola": 13},
    "transacciones": {"ultimo": 5},
    "compras": {
        "usuario_id": 6,
        "token_id": 6,
        "precio": 6,
        "motivo": 13,
        "transaccion_id": 5,
        "estado": 4,
        "historia": 7,
        "precio_maximo": 12,
    },
}
WORDS: Final = {
    "compraId": 6,
    "usuarioId": 6,
    "tokenId": 6,
    "precio": 6,
    "motivo": 13,
    "transaccionId": 5,
    "saldo": 1,
    "monto": 1,
}
# Whose row a record is about.
ROWS: Final = {"usuarios": 1, "tokens": 6, "transacciones": 5, "compras": 7}
# A record of a sale is what transacciones says.
OF_A_SALE: Final = 5
REFUSALS: Final = ("compra.rechazada", "saldo.rechazado")
EMPTY_LINE: Final = {"left": 0, "joined": []}

Difference = tuple[int, str, Any, Any]


def same(stands: Any, rules: Any) -> bool:
    """Whether it is the same JSON: in Python true is 1, and so is 1.0, which no other reader need take for it."""
    return bool(stands == rules) and _alike(stands, rules)


def _alike(one: Any, other: Any) -> bool:
    """Whether what is equal is of the same kinds, however deep."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        for name, value in one.items():
            if type(value) is not type(other[name]) or not (isinstance(value, str) or _alike(value, other[name])):
                return False
    elif isinstance(one, list):
        for value, due in zip(one, other, strict=True):
            if not _alike(value, due):
                return False
    return True


def as_written(service: str, row: Row | None, got: Row, change: dict[str, Any]) -> dict[str, Any]:
    """What a decision changes of its row, in the form in which it stands in the journal, by this version or by one
    before it."""
    if service == "tokens" and change and row is not None and (change.get("vendido") or row["vendido"]):
        # All of a row that leaves memory; an older version wrote no more of it than had changed.
        return change if got == change else {**row, "cola": EMPTY_LINE, **change}
    grown = change.get("esperan") if service == "usuarios" and row is not None else None
    if isinstance(grown, dict) and isinstance(got.get("esperan"), list):
        # An older version wrote all top-ups that wait, with each one that came.
        return {**change, "esperan": [*(row or {})["esperan"], *grown["joined"]]}
    return change


def differences(
    service: str, got: Row, want: Row, got_words: list[dict[str, Any]], want_words: list[dict[str, Any]]
) -> Iterator[Difference]:
    """(promise, field, what stands there, what the rules say)."""
    for name in sorted(got.keys() | want.keys()):
        stands, rules = got.get(name, UNSET), want.get(name, UNSET)
        if not same(stands, rules):
            yield FIELDS[service].get(name, 7), f"change.{name}", stands, rules
    for number in range(max(len(got_words), len(want_words))):
        word = got_words[number] if number < len(got_words) else {}
        due = want_words[number] if number < len(want_words) else {}
        yield from _word(service, f"words[{number}]", word, due)


def _word(service: str, place: str, word: Row, due: Row) -> Iterator[Difference]:
    """One message: if its type is another one, that is the finding, and the reason that is or should be in it."""
    names = sorted(word.keys() | due.keys())
    if not same(word.get("type"), due.get("type")):
        names = ["motivo"]
        refused = word.get("type") in REFUSALS or due.get("type") in REFUSALS
        yield (
            13 if refused else 6 if service != "compras" else 7,
            f"{place}.type",
            word.get("type", UNSET),
            due.get("type", UNSET),
        )
    for name in names:
        stands, rules = word.get(name, UNSET), due.get(name, UNSET)
        if not same(stands, rules):
            otherwise = OF_A_SALE if service == "transacciones" else 7
            yield WORDS.get(name, otherwise), f"{place}.{name}", stands, rules
