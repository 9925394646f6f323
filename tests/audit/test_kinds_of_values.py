"""What a book says in a value of another kind, or in one that no message may carry, is seen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_shop import Ask, Shop
from audit_stories import ANA
from edited_books import SERVICES, Edited, Record
from small_shops import told, verdict_after, verdict_of

from broker.messages import Poison, compra_id, decode
from loadgen.audit.text import Unreadable

NUMBERS = ("precio", "saldo", "transaccionId", "transaccion_id", "ultimo")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In which every amount is 1, or a balance of 100 and 1."""

    async def tell(shop: Shop) -> None:
        await shop.seed("usuarios", {**ANA, "saldo": 101})
        await shop.publish(101, 1)
        await shop.settle()
        await shop.buy(Ask(1, 101, shop.key(), 1))

    return told(tmp_path_factory.mktemp("ones"), tell)


def parts(books: Edited, service: str) -> Iterator[Record]:
    """All that is decided, and not what was asked for."""
    for record in books.book(service).records:
        if not record["id"].startswith("semilla") and "mensaje" not in (record["change"] or {}):
            change = record["change"] or {}
            yield from (part for part in (change, change.get("reserva"), *record["words"]) if part)


def test_the_shop_holds(shop: Path) -> None:
    assert verdict_of(shop).holds


@pytest.mark.parametrize("service", ["tokens", "usuarios", "transacciones", "compras"])
@pytest.mark.parametrize("kind", [float, bool])
def test_a_number_of_another_kind_is_another_value(shop: Path, service: str, kind: Callable[[Any], Any]) -> None:
    changed = []

    def edit(books: Edited) -> None:
        for part in parts(books, service):
            for name in NUMBERS:
                if type(part.get(name)) is int and (kind is float or part[name] == 1):
                    part[name] = kind(part[name])
                    changed.append(name)

    verdict = verdict_after(shop, edit)
    assert changed
    assert {1, 5, 6} & verdict.counts.keys(), verdict.breaches


def test_1_is_not_true(shop: Path) -> None:
    def edit(books: Edited) -> None:
        sold = [part for part in parts(books, "tokens") if part.get("vendido") is True]
        assert sold
        for part in sold:
            part["vendido"] = 1

    assert 6 in verdict_after(shop, edit).counts


@pytest.fixture(scope="module")
def entered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it by the operator; a buyer who was told nothing, so that no client contradicts what is altered."""

    async def tell(shop: Shop) -> None:
        await shop.user(7, "Eva", 500)
        await shop.top_up(7, 33)
        await shop.publish(101, 10)
        await shop.settle()
        await shop.buy(Ask(7, 101, "key", 20, fate="lost"))

    return told(tmp_path_factory.mktemp("entered"), tell)


# What stands there; what no message may carry; as which field of which request.
NOT_CARRIED: dict[str, tuple[Any, Any, str, str]] = {
    "a token": (101, 2**53, "token.publicado", "tokenId"),
    "a user": (7, 2**53, "usuario.registrado", "usuarioId"),
    "a price": (10, 10**12 + 1, "token.publicado", "precio"),
    "the most": (20, 10**12 + 1, "compra.solicitada", "precioMaximo"),
    "an amount": (33, 10**12 + 1, "saldo.recargado", "monto"),
    "an escape": ("Eva", "\x1b[2J", "usuario.registrado", "nombre"),
    "a name from the right": ("Eva", "E\u202eva", "usuario.registrado", "nombre"),
    "a name that shows nothing": ("Eva", "\u200d", "usuario.registrado", "nombre"),
    "a long name": ("Eva", "E" * 201, "usuario.registrado", "nombre"),
    "a path": ("gato.jpg", "../../etc/passwd", "token.publicado", "imagen"),
    "another id": (compra_id(7, "key"), "hola", "compra.solicitada", "compraId"),
}


def everywhere(old: Any, new: Any) -> Callable[[Edited], None]:
    """In all books, in the rows' keys and in the messages that are kept as text; and no client knows better."""

    def put(value: Any) -> Any:
        match value:
            case dict():
                return {name: put(one) for name, one in value.items()}
            case list():
                return [put(one) for one in value]
            case str() if value.startswith("{"):
                return json.dumps(put(json.loads(value)), ensure_ascii=False, separators=(",", ":"))
            case str():
                return str(new) if value == str(old) else re.sub(f"^{old}:", f"{new}:", value)
            case _:
                return new if type(value) is type(old) and value == old else value

    def edit(books: Edited) -> None:
        for service in SERVICES:
            for record in books.book(service).records:
                record.update(put({name: record[name] for name in ("id", "row", "change", "words")}))
        books.told()[:] = [note for note in books.told() if "key" not in note and "n" not in note]

    return edit


@pytest.mark.parametrize("what", NOT_CARRIED)
def test_what_no_message_may_carry_is_in_no_book(entered: Path, what: str) -> None:
    old, new, kind, field = NOT_CARRIED[what]
    asked = next(word for one in Edited(entered).compras.records for word in one["words"] if word["type"] == kind)
    body = {name: value for name, value in asked.items() if name != "type"}
    assert decode(kind, json.dumps(body).encode())
    assert body[field] == old
    with pytest.raises(Poison):
        decode(kind, json.dumps({**body, field: new}).encode())
    assert 7 in verdict_after(entered, everywhere(old, new)).counts
    # What may be carried, and stands everywhere, holds: nothing else contradicts it.
    assert verdict_after(entered, everywhere(old, type(old)(OTHERWISE.get(field, old)))).holds


OTHERWISE = {"nombre": "Ева ❤\u200d", "imagen": "A.b-c_9.png", "monto": 33, "tokenId": 2**53 - 1}


@pytest.mark.parametrize(
    "fecha",
    [
        "{hour}",
        "{hour} o'clock",
        "{hour}:99:99.999Z",
        "{hour}:00:00+00:00",
        "{hour}:00:00.123",
        "{hour}:00:00.1234567Z",
    ],
)
def test_a_date_that_is_none_is_no_date_though_its_hour_is_right(entered: Path, fecha: str) -> None:
    asked = next(one for one in Edited(entered).compras.records if one["id"].endswith(":compra.solicitada"))
    old = asked["words"][0]["fecha"]
    assert verdict_after(entered, everywhere(old, old)).holds
    assert 7 in verdict_after(entered, everywhere(old, fecha.format(hour=old[:13]))).counts


def test_when_a_state_was_reached_is_a_date_too(entered: Path) -> None:
    def edit(books: Edited) -> None:
        for record in books.compras.records:
            for step in (record["change"] or {}).get("historia", ())[1:]:
                step["fecha"] = step["fecha"][:13] + ":99:99.999Z"

    assert 7 in verdict_after(entered, edit).counts


def test_a_record_of_a_day_that_never_was_is_refused(entered: Path) -> None:
    def edit(books: Edited) -> None:
        for record in books.tokens.records[-1:]:
            record.update({"time": "2026-02-31T10:00:00.000Z", "batch": "its own"})

    with pytest.raises(Unreadable, match="is of batch"):
        verdict_after(entered, edit)
