"""Whose record each message came from: where it was said, and what is no record of a book is nonsense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from audit_shop import Shop
from audit_stories import telling
from edited_books import SERVICES, Edited, Record, heard
from small_shops import Telling, told, verdict_after, verdict_of

from services.compras.domain import pregunta


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return told(tmp_path_factory.mktemp("telling"), telling, Telling)


def everywhere(change: Callable[[Record], None]) -> Callable[[Edited], None]:
    def edit(books: Edited) -> None:
        for service in SERVICES:
            for record in books.book(service).records:
                if "from" in record:
                    change(record)

    return edit


def of_record_1(record: Record) -> None:
    """All of them."""
    record["from"] = "/".join((*record["from"].split("/")[:3], "1"))


def of_nobodys_book(record: Record) -> None:
    """All four books agree that it is transacciones'."""
    record["from"] = "transacciones/deadbeef/7/999999"


def of_no_book(record: Record) -> None:
    """Another word than the wire knows."""
    record["from"], record["heard"] = "x", "rubbish"


@pytest.mark.parametrize("change", [of_record_1, of_nobodys_book, of_no_book])
def test_a_message_that_another_record_said_is_missed(shop: Path, change: Callable[[Record], None]) -> None:
    verdict = verdict_after(shop, everywhere(change))
    assert verdict.counts.keys() == {7}, verdict.breaches
    assert {breach.field for breach in verdict.breaches} <= {"from", "heard"}
    assert {breach.book for breach in verdict.breaches} == {*SERVICES}


def unsaid(record: Record) -> None:
    """As of a version that does not say it."""
    for name in ("from", "heard", "message"):
        record.pop(name, None)


def test_in_a_drills_own_shop_each_says_whose_record_it_heard(shop: Path) -> None:
    assert verdict_of(shop, alone=True).holds
    verdict = verdict_after(shop, everywhere(unsaid), alone=True)
    assert verdict.counts.keys() == {7}
    assert verdict_after(shop, everywhere(unsaid)).holds


def test_what_came_by_http_came_from_no_record(shop: Path) -> None:
    def edit(books: Edited) -> None:
        there = next(record["from"] for record in books.compras.records if "from" in record)
        next(record for record in books.compras.records if "from" not in record)["from"] = there

    (breach,) = verdict_after(shop, edit).breaches
    assert (breach.promise, breach.field) == (7, "from")


def test_what_is_said_again_by_a_later_record_holds(tmp_path: Path) -> None:
    async def tell(shop: Shop) -> None:
        await telling(shop)
        shop.waiting.clear()
        # What was lost is asked for by the book as it stands.
        compras = shop.stores["compras"]
        await shop.user(8, "Iris")
        (row,) = [one for one in compras.rows.values() if getattr(one, "token_id", 0) == 104]
        shop.waiting["tokens"] = [pregunta(row).said(compras.heights.said(compras.seq))]

    folder = told(tmp_path / "shop", tell, Telling)
    books = Edited(folder)
    again = next(filter(heard("compra.solicitada"), reversed(books.tokens.records)))
    first = next(record["seq"] for record in books.compras.records if record["id"] == again["id"])
    assert int(again["from"].split("/")[3]) == first + 1
    verdict = verdict_of(folder, alone=True)
    assert verdict.holds, verdict.breaches
