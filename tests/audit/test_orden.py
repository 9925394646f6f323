"""Of two entries about one token the later is in force: by its number, which tells how much was there when it came."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest
from audit_shop import Ask, Shop
from edited_books import Edited
from small_shops import told, verdict_after, verdict_of

from broker.messages import TokenPublicado
from loadgen.audit.verdict import Verdict

A_GENERATION = 1 << 40


async def enter(shop: Shop, precio: int, orden: int | None, fecha: str = "") -> None:
    """An entry about token 101, which has this number."""
    shop._fechas.last = max(shop._fechas.last, shop.stores["compras"].time)
    entry = TokenPublicado(
        alta_id=str(uuid5(NAMESPACE_URL, shop.key())),
        fecha=fecha or shop._fechas.next("/tokens/101"),
        token_id=101,
        nombre="Gato",
        imagen="g.jpg",
        precio=precio,
        orden=orden,
    )
    await shop._decide("compras", [entry])
    await shop.settle()


def verdict(folder: Path, first: int | None, second: int | None, *, minutes: int = 0, same: bool = False) -> Verdict:
    """Two entries with these numbers, so long one after the other. compras has two records, then four, then six."""

    async def tell(shop: Shop) -> None:
        await shop.user(7, "Eva", 500)
        await shop.settle()
        fecha = shop._fechas.next("/tokens/101")
        await enter(shop, 10, first, fecha)
        shop.clock._now += timedelta(minutes=minutes)
        await enter(shop, 99, second, fecha if same else "")
        await shop.buy(Ask(7, 101, shop.key()))

    return verdict_of(told(folder / "shop", tell))


# As many records as there were; fewer, as others were written while it waited; by a version that gave none.
@pytest.mark.parametrize("numbers", [(2, 4), (1, 2), (2, 2), (2, 1), (None, None), (None, 4)])
def test_the_numbers_of_entries_that_came_at_about_the_same_time(tmp_path: Path, numbers: tuple[int, int]) -> None:
    assert verdict(tmp_path, *numbers).holds


@pytest.mark.parametrize("numbers", [(1000, 4), (3, 4), (2, 5), (2, A_GENERATION + 4)])
def test_no_entry_counts_records_that_were_not_there(tmp_path: Path, numbers: tuple[int, int]) -> None:
    assert verdict(tmp_path, *numbers).counts == {7: 1}


@pytest.mark.parametrize(("second", "holds"), [(4, True), (3, True), (2, False), (1, False)])
def test_an_entry_counts_what_was_there_an_hour_before(tmp_path: Path, second: int, holds: bool) -> None:
    found = verdict(tmp_path, 2, second, minutes=24 * 60)
    assert found.holds is holds, found.breaches


def test_two_entries_have_not_one_number_and_one_date(tmp_path: Path) -> None:
    assert verdict(tmp_path, 2, 2, same=True).counts == {7: 1}


def test_what_was_written_again_has_the_numbers_of_before(tmp_path: Path) -> None:
    """And so have records that were put back; what came then counts from above all that was ever counted."""

    async def tell(shop: Shop) -> None:
        await shop.user(7, "Eva", 500)
        await shop.settle()
        await enter(shop, 10, 2)

    folder = told(tmp_path / "shop", tell)

    def edit(orden: int, generation: int) -> Verdict:
        def again(books: Edited) -> None:
            (segment,) = books.compras.segments
            segment.header["generation"] = generation
            for record in segment.records:
                record["generation"] = generation
            old, new = '"orden":2', f'"orden":{orden}'
            for service in ("compras", "tokens"):
                for record in books.book(service).records:
                    change = record["change"] or {}
                    if "mensaje" in change:
                        change["mensaje"] = change["mensaje"].replace(old, new)
                    for part in (change, *record["words"]):
                        if "orden" in part:
                            part["orden"] = orden

        return verdict_after(folder, again)

    assert edit(1000, 2).holds
    assert edit(A_GENERATION + 1000, 3).holds
