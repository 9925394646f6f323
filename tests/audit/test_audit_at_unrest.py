"""Books of a shop that stands still in the middle of something: what has no end is not judged, and all else is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random

import pytest
from audit_shop import CLIENT, Ask, Shop
from audit_stories import ANA, GATO, LUIS, LUNA
from edited_books import Edited
from small_shops import Telling, verdict_after, verdict_of

WHY = "RabbitMQ is away"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One purchase is paid, and tokens has not heard it; nobody has heard of the other."""

    async def stand_still() -> None:
        shop = Telling(tmp_path, Random(1))
        await shop.begin()
        await shop.seed("usuarios", ANA, LUIS)
        await shop.seed("tokens", GATO, LUNA)
        await shop.buy(Ask(1, 101, "first"))
        await shop.deliver("tokens", 1)
        await shop.deliver("usuarios", 1)
        await shop.buy(Ask(2, 102, "second"))
        for disk in shop.disks.values():
            disk.close()
        note_client(shop)

    asyncio.run(stand_still())
    return tmp_path


def note_client(shop: Shop) -> None:
    begun = {"client": 1, "url": "http://127.0.0.1:8000", "started": "2025-09-10T17:00:00.000Z"}
    lines = [begun, *shop._notes]
    lines.append({"t": shop.clock.seconds(), "closed": True, "lines": len(lines)})
    (shop.folder / CLIENT).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_what_is_on_its_way_is_lost_only_where_the_shop_is_at_rest(folder: Path) -> None:
    strict, fair = verdict_of(folder), verdict_of(folder, not_quiet=WHY)
    assert (strict.holds, strict.lost, strict.not_quiet) == (False, 2, None)
    assert (fair.holds, fair.lost, fair.under_way, dict(fair.counts)) == (False, 0, 2, {})
    assert fair.as_json()["notQuiet"] == WHY


def test_whoever_stands_still_hides_nothing_else(folder: Path) -> None:
    """Money that nobody gave, and a purchase that is in no book."""

    def richer(books: Edited) -> None:
        paid = next(record for record in books.book("usuarios").records if record["id"].endswith("token.reservado"))
        paid["change"]["saldo"] += 1

    def forgetful(books: Edited) -> None:
        records = books.book("compras").segments[-1].records
        records.remove([record for record in records if record["id"].endswith("compra.solicitada")][-1])

    assert verdict_after(folder, richer, not_quiet=WHY).counts[1]
    lost = verdict_after(folder, forgetful, not_quiet=WHY)
    assert (lost.lost, lost.breaches[0].why) == (1, "it was accepted, and compras has no such purchase")
