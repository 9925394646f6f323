"""A backup is the beginning of compras' book: a client's answers of before what is in it are in it."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest
from audit_shop import CLIENT, Ask, Shop
from audit_stories import ANA, GATO, LUIS, LUNA
from edited_books import SERVICES, Edited, about, heard
from small_shops import told, verdict_of

from loadgen.audit.audit import Books, audit
from loadgen.audit.books import from_folder
from loadgen.audit.clients import client_journal
from loadgen.audit.verdict import Verdict

LATER = "clients were told more than is in this backup"


async def forgotten(folder: Path, *, late: bool) -> None:
    """compras' book is put back as of before a purchase that was accepted, and perhaps goes on."""
    folder.mkdir()
    shop = Shop(folder, Random(1))
    await shop.begin()
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO, LUNA)
    await shop.buy(Ask(1, 101, "zero"))
    await shop.settle()
    shutil.copytree(folder / "compras", folder / "older")
    await shop.buy(Ask(1, 102, "early"))
    shop.waiting.clear()
    shop.disks["compras"].close()
    shutil.rmtree(folder / "compras")
    (folder / "older").rename(folder / "compras")
    await shop._lead("compras")
    if late:
        await shop.buy(Ask(2, 102, "late"))
    shop._told = {one for one in shop._told if shop.stores["compras"].find(one)}
    await shop.end()


@pytest.mark.parametrize("late", [True, False])
def test_a_purchase_of_before_one_that_a_backup_has_is_in_it(tmp_path: Path, late: bool) -> None:
    asyncio.run(forgotten(tmp_path / "shop", late=late))
    verdict = verdict_of(tmp_path / "shop", cut=True)
    assert [(breach.promise, breach.about) for breach in verdict.breaches] == [(4, Ask(1, 102, "early").subject)] * late
    assert (verdict.lost, any(LATER in why for why in verdict.partly.get(4, []))) == (int(late), not late)


def test_who_may_have_asked_elsewhere_before_proves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    asyncio.run(forgotten(folder, late=True))
    other = Edited(folder).told()
    mine = [note for note in other[2:-1] if note.get("key") == "late"]
    twice = folder / "other.jsonl"
    lines = [*other[:2], *mine]
    write(twice, [*lines, {"t": 1, "closed": True, "lines": len(lines)}])
    assert audit_of(folder, folder / CLIENT, twice).holds


@pytest.mark.parametrize("late", [True, False])
def test_a_state_of_before_what_a_backup_has_is_in_it(tmp_path: Path, late: bool) -> None:
    """Its end was told, and is not there: neither in the answer to who asked again, nor as it was seen."""

    async def tell(shop: Shop) -> None:
        await shop.seed("usuarios", ANA, LUIS)
        await shop.seed("tokens", GATO, LUNA)
        await shop.buy(Ask(1, 101, "early"))
        await shop.settle()
        await shop.buy(Ask(1, 101, "early"))
        if late:
            await shop.buy(Ask(2, 102, "late"))

    folder = told(tmp_path / "shop", tell)
    early = Ask(1, 101, "early").subject
    books = Edited(folder)
    ends = next(one for one in books.compras.records if about(early)(one) and heard("transaccion.registrada")(one))
    books.compras.remove(ends)
    place = tmp_path / "backup"
    books.write(place)
    verdict = audit_of(place, place / CLIENT)
    found = {(breach.promise, breach.about) for breach in verdict.breaches}
    assert found == ({(4, early)} if late else set()), verdict.breaches


def write(file: Path, notes: list[Any]) -> None:
    file.write_text("".join(json.dumps(note) + "\n" for note in notes), encoding="utf-8")


def audit_of(folder: Path, *clients: Path) -> Verdict:
    books: dict[str, Any] = {name: from_folder(folder, name) for name in SERVICES}
    return audit(Books(**books, clients=[client_journal(file) for file in clients], cut=True))
