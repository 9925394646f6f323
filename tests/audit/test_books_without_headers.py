"""Books as a backup has them, as a service shows them, as they are put back: without the headers of their writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from audit_shop import DOMAINS, Ask, Shop
from audit_stories import ANA, GATO, LUIS, LUNA
from edited_books import SERVICES, Edited
from small_shops import records_alone, told, verdict_after, verdict_of

from loadgen.audit.audit import Books, audit
from loadgen.audit.text import Unreadable
from services.shared.heights import BookHeights
from services.shared.journal.disk import LocalDisk
from services.shared.journal.store import JsonStore

LATER = "2025-09-10T17:10:00.000Z"


async def with_a_clock_put_right(shop: Shop) -> None:
    """Tokens' clock is 100 s ahead; its next writer has the right time, and a minute later is asked again."""
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO, LUNA)
    shop.skews = {"tokens": 100}
    await shop.buy(Ask(1, 101, shop.key()))
    await shop.settle()
    shop.skews = {}
    await shop.restart("tokens")
    shop.clock._now += timedelta(seconds=60)
    await shop.buy(Ask(2, 102, shop.key()))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return told(tmp_path / "shop", with_a_clock_put_right)


def times(folder: Path) -> list[str]:
    return [record["time"] for record in Edited(folder).tokens.records]


def test_a_clock_that_was_put_right_between_two_writers_is_no_reason_to_refuse_the_records(shop: Path) -> None:
    assert times(shop) != sorted(times(shop))
    assert verdict_of(shop).holds
    assert audit(Books(**{name: records_alone(shop, name) for name in SERVICES})).holds  # type: ignore[arg-type]


def test_what_is_put_back_may_have_been_written_by_several_writers(shop: Path) -> None:
    asyncio.run(put_back(shop / "tokens", records_alone(shop, "tokens")._pieces[0].file))
    assert times(shop) != sorted(times(shop))
    verdict = verdict_of(shop)
    assert verdict.holds, verdict.breaches


async def put_back(folder: Path, records: Path) -> None:
    store: JsonStore[Any] = JsonStore(LocalDisk(folder), DOMAINS["tokens"], lambda: LATER)
    store.load()
    assert await store.lead()

    async def pieces() -> AsyncIterator[Sequence[bytes]]:
        yield records.read_bytes().splitlines(keepends=True)

    await store.put_back(BookHeights("tokens", store.heights.book, 2), pieces())
    store.disk.close()


def test_a_writer_of_which_there_is_a_header_does_not_go_back(shop: Path) -> None:
    def edit(books: Edited) -> None:
        books.tokens.records[-1]["time"] = times(shop)[-2][:-4] + "000Z"

    with pytest.raises(Unreadable, match="is of batch"):
        verdict_after(shop, edit)


def test_what_was_written_again_stands_before_all_else(shop: Path) -> None:
    def edit(books: Edited) -> None:
        books.tokens.records[-1]["generation"] = 2

    edited = Edited(shop)
    edit(edited)
    (shop / "edited").mkdir()
    edited.write(shop / "edited")
    # As its segment says nothing of it, it is of none.
    with pytest.raises(Unreadable, match="is of generation 2"):
        verdict_of(shop / "edited")
    alone = {name: records_alone(shop / "edited", name) for name in SERVICES}
    with pytest.raises(Unreadable, match="is of generation 2"):
        audit(Books(**alone))  # type: ignore[arg-type]
