"""A book that others have heard more of than there is: a copy of before, in the place of what went on."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from audit_shop import Ask, Shop
from audit_stories import ANA, GATO, LUIS, LUNA
from edited_books import SERVICES, Edited
from small_shops import Telling, records_alone, told, verdict_of

from broker.messages import CompraSolicitada, TokenPublicado
from loadgen.audit.audit import Books, audit
from loadgen.audit.books import from_folder
from loadgen.audit.verdict import Verdict
from services.shared.seed import SEED_FECHA, seed_id

NOT_KNOWN: Final = "nobody says which book of {service} this is: whether it ends too early is not known"


async def two_sales(shop: Shop) -> None:
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO, LUNA)
    for user, token in ((1, 101), (2, 102)):
        await shop.buy(Ask(user, token, shop.key()))
        await shop.settle()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return told(tmp_path / "shop", two_sales, Telling)


def test_each_ends_where_the_others_have_heard_of_it_or_behind(shop: Path) -> None:
    assert any("heard" in record for record in Edited(shop).tokens.records)
    verdict = verdict_of(shop)
    assert verdict.holds, verdict.breaches


@pytest.mark.parametrize("field", ["from", "heard"])
@pytest.mark.parametrize("service", SERVICES)
def test_a_record_that_others_have_heard_of_is_missed(shop: Path, service: str, field: str) -> None:
    """Whoever has heard of it, and wherever that stands; but not of another generation, or of another book."""
    books = Edited(shop)
    last = len(books.book(service).records)
    height = re.compile(rf"\b{service}/(\w{{8}})/1/\d+")
    by = next(
        record
        for name in SERVICES
        for record in books.book(name).records[::-1]
        if height.search(str(record.get(field)))
    )
    then = by[field]
    (book,) = height.findall(then)
    there, missing = f"{service}/{book}/1/{last}", f"{service}/{book}/1/{last + 1}"
    others = [f"{service}/{book}/2/{last + 1}", f"{service}/00000000/1/{last + 1}"]
    for number, heard in enumerate((there, missing, *others)):
        by[field] = height.sub(heard, then)
        place = shop / str(number)
        place.mkdir()
        books.write(place)
        missed = [breach.about for breach in verdict_of(place).breaches if breach.promise == 4]
        assert missed == [f"record {last + 1} of {service}"] * (heard == missing)
        # Where nobody says which book it is, that is not known; and a backup is cut off where all agree.
        alone: dict[str, Any] = {name: records_alone(place, name) for name in SERVICES}
        verdict = audit(Books(**alone))
        assert verdict.holds and NOT_KNOWN.format(service=service) in verdict.partly[4]
        cut = audit(Books(**alone, cut=True))
        assert cut.holds and NOT_KNOWN.format(service=service) not in cut.partly.get(4, [])


def test_a_purchase_that_is_in_no_book_any_more_is_missed(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    asyncio.run(put_back_too_early(folder))
    (breach,) = audit_of(folder).breaches
    assert (breach.promise, breach.about, breach.stands) == (4, "record 6 of compras", 6)


@pytest.mark.parametrize("more", [1, 3])
def test_an_older_copy_that_went_on_until_it_was_as_long_or_longer_is_missed(tmp_path: Path, more: int) -> None:
    folder = tmp_path / "shop"
    asyncio.run(put_back_too_early(folder, more))
    (breach,) = audit_of(folder).breaches
    assert (breach.promise, breach.about, breach.field) == (4, "record 6 of compras", "heard")
    assert (breach.stands[:2], breach.rules[:2]) == ("1-", "6-")


def test_a_service_that_begins_anew_has_other_branches_and_holds(tmp_path: Path) -> None:
    async def tell(shop: Shop) -> None:
        await two_sales(shop)
        for service in SERVICES:
            await shop.restart(service)
        await shop.buy(Ask(1, 102, shop.key()))
        await shop.settle()

    verdict = verdict_of(told(tmp_path / "shop", tell, Telling), alone=True)
    assert verdict.holds, verdict.breaches
    assert len({height[3] for height in verdict.heard if height[0] == "compras"}) == 2


def audit_of(folder: Path) -> Verdict:
    return audit(Books(**{name: from_folder(folder, name) for name in SERVICES}))  # type: ignore[arg-type]


async def put_back_too_early(folder: Path, more: int = 0) -> None:
    """compras' folder is an older copy: it lacks a purchase of which tokens knows only that it is there. Then it goes
    on with so many purchases, and nobody doubts."""
    folder.mkdir()
    shop = Telling(folder, Random(1))
    await shop.begin()
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO, LUNA)
    (first,) = await shop.buy(Ask(1, 101, "first"))
    await shop.settle()
    shutil.copytree(folder / "compras", folder / "older")
    await shop.buy(Ask(2, 102, "second"))
    shop.waiting.clear()
    # The first one is said again by the book as it stands, with an entry of a seed that grew.
    compras = shop.stores["compras"]
    ask = CompraSolicitada(compra_id=first, usuario_id=1, token_id=101, fecha=shop._now("compras"))
    entry = TokenPublicado(
        alta_id=seed_id(103), fecha=SEED_FECHA, token_id=103, nombre="Búho", imagen="b.jpg", precio=30
    )
    await shop.stores["tokens"].process_batch([ask.received("", compras.heights.said(compras.seq)), entry])
    shop.disks["compras"].close()
    shutil.rmtree(folder / "compras")
    (folder / "older").rename(folder / "compras")
    if more:
        await shop._lead("compras")
        await shop.buy(*(Ask(2, 101, f"later {number}") for number in range(more)))
        while any(shop.waiting.values()):
            for service in SERVICES:
                await shop._decide(service, Shop._take(shop, service, len(shop.waiting[service])))
    for disk in shop.disks.values():
        disk.close()
