"""What a book says in a value of another kind, or in one that no message may carry, is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_shop import Ask, Shop
from audit_stories import ANA
from edited_books import Edited, Record
from small_shops import told, verdict_after, verdict_of

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
