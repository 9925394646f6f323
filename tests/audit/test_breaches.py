"""The audit against a catalogue of breaches: whole books hold, and every breach is caught by its own promise."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import pytest
from audit_shop import Ask, Shop
from audit_stories import STORIES
from breach_table import DOCUMENT, stands, table, written
from breaches import BY_HAND, Breach
from edited_books import SERVICES, Edited, refusing
from generated_breaches import generated
from judged import found, judged, whole
from older_rules import rules_of_before

# A seed's books are written and audited in a third of a second.
SEEDS, MANY_SEEDS = range(1, 5), range(100, 200)
QUICK = [name for name in STORIES if name != "full line"]
PARTS = (*SERVICES, "GET", "POST")
# Of each part so many in `make test`, all of them in `make test-faults`.
QUICKLY = 90


@pytest.fixture(scope="session")
def books(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The books of every story but the full line."""
    return written(tmp_path_factory.mktemp("stories"))


@pytest.fixture(scope="session")
def full_line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten thousand in one line."""
    folder = tmp_path_factory.mktemp("full")
    STORIES["full line"].write(folder, 1)
    return folder


@pytest.fixture(scope="session")
def made(books: dict[str, Path]) -> list[Breach]:
    return list(generated(books))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("story", QUICK)
def test_whole_books_hold(tmp_path: Path, story: str, seed: int) -> None:
    holds(tmp_path, story, seed)


def holds(folder: Path, story: str, seed: int) -> None:
    STORIES[story].write(folder, seed)
    verdict = whole(folder, story)
    assert verdict.holds, (story, seed, verdict.breaches)
    assert verdict.unchecked == {}


def test_books_that_are_read_and_written_again_are_the_same_to_the_byte(books: dict[str, Path], tmp_path: Path) -> None:
    """Else an edit would do more than it says."""
    for story, folder in books.items():
        edited = Edited(folder)
        for service in SERVICES:
            edited.book(service)
        edited.write(tmp_path / story)
        for file in (path for path in folder.rglob("journal-*") if path.suffix != ".snapshot"):
            assert (tmp_path / story / file.relative_to(folder)).read_bytes() == file.read_bytes(), file


@pytest.mark.parametrize("service", SERVICES)
def test_a_batch_that_a_clock_far_ahead_dated_holds_and_what_comes_after_it(
    books: dict[str, Path], tmp_path: Path, service: str
) -> None:
    edited = Edited(books["ordinary"])
    records = edited.book(service).records
    batch = records[len(records) // 2]["batch"]
    for record in records:
        if record["batch"] == batch:
            record["time"] = "2099-01-01T00:00:00.000Z"
    edited.write(tmp_path)
    verdict = judged(tmp_path, "ordinary")
    assert verdict.holds, verdict.breaches


def test_top_ups_that_an_older_version_wrote_again_with_each_one_that_came_hold(
    books: dict[str, Path], tmp_path: Path
) -> None:
    edited, waiting, older = Edited(books["topped up"]), defaultdict(list), 0
    for record in edited.usuarios.records:
        if (moved := (record["change"] or {}).get("esperan")) is not None:
            older += isinstance(moved, dict)
            line = waiting[record["row"]]
            line[:] = [*line, *moved["joined"]] if isinstance(moved, dict) else moved
            record["change"]["esperan"] = [*line]
    assert older
    edited.write(tmp_path)
    assert judged(tmp_path, "topped up").holds


@pytest.mark.parametrize("story", ["refused", "crowded"])
def test_the_books_of_a_version_that_let_a_buyer_wait_twice_hold(tmp_path: Path, story: str) -> None:
    with rules_of_before():
        STORIES[story].write(tmp_path, 3)
    books = Edited(tmp_path)
    assert twice(books)
    assert not any(refusing("ya-en-cola")(record) for record in books.tokens.records)
    verdict = whole(tmp_path, story)
    assert verdict.holds, verdict.breaches


def twice(books: Edited) -> list[str]:
    """Who joined a line in which they stood, or whose token they held."""
    found, lines, holders = [], defaultdict[str, list[Any]](list), {}
    for record in books.tokens.records:
        change, row = record["change"] or {}, record["row"]
        moved, line = change.get("cola", {"left": 0, "joined": []}), lines[row]
        if "reserva" in change:
            holders[row] = change["reserva"]
        del line[: moved["left"]]
        there = [one["usuario_id"] for one in (holders.get(row), *line) if one]
        found += [one["compra_id"] for one in moved["joined"] if one["usuario_id"] in there]
        line += moved["joined"]
    return found


def test_books_that_were_begun_by_a_version_that_let_a_buyer_wait_twice_hold_and_the_line_gets_no_longer(
    tmp_path: Path,
) -> None:
    asyncio.run(_upgraded(tmp_path))
    books = Edited(tmp_path)
    assert len(twice(books)) == 2
    assert sum(map(refusing("ya-en-cola"), books.tokens.records)) == 4
    verdict = whole(tmp_path, "ordinary")
    assert verdict.holds, verdict.breaches


async def _upgraded(folder: Path) -> None:
    shop = Shop(folder, Random("upgraded"))
    await shop.begin()
    for number, saldo in ((21, 0), (22, 0), (23, 500)):
        await shop.user(number, f"Comprador {number}", saldo)
    await shop.publish(301, 50)
    await shop.deliver_all()
    with rules_of_before():
        for user in (21, 22, 22, 21, 23):
            await shop.buy(Ask(user, 301, shop.key()))
        await shop.deliver_all("tokens")
    await shop.restart("tokens")
    for user in (21, 22):
        await shop.buy(Ask(user, 301, shop.key()))
    await shop.deliver_all("tokens")
    # Each has the turns that they waited for.
    for user in (22, 22):
        await shop.deliver("usuarios", 1)
        await shop.deliver_all("tokens")
        await shop.buy(Ask(user, 301, shop.key()))
        await shop.deliver_all("tokens")
    await shop.end()


@pytest.mark.parametrize("breach", [one for one in BY_HAND if one.story in QUICK], ids=lambda one: one.name)
def test_a_breach_by_hand_is_caught_by_its_own_promise(books: dict[str, Path], tmp_path: Path, breach: Breach) -> None:
    caught, says = found(breach, books[breach.story], tmp_path)
    assert caught, f"{breach.name}: is about promise {sorted(breach.promises)}; the audit says {says}"


@pytest.mark.parametrize("part", PARTS)
def test_a_breach_of_any_field_is_caught_by_its_own_promise(
    books: dict[str, Path], made: list[Breach], tmp_path: Path, part: str
) -> None:
    """One for each message, field and way to be wrong."""
    some = {coarse(one): one for one in made if one.name.startswith(part)}
    Random(part).shuffle(mixed := list(some.values()))
    assert missed(books, mixed[:QUICKLY], tmp_path) == []


def coarse(breach: Breach) -> str:
    """What it is about, without what else its record says."""
    return re.sub(r" -> [^:]*", "", breach.name)


def missed(books: dict[str, Path], breaches: list[Breach], place: Path) -> list[str]:
    judged = ((one, found(one, books[one.story], place)) for one in breaches)
    return [f"{one.name} ({one.story}, {sorted(one.promises)}): {says}" for one, (caught, says) in judged if not caught]


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
def test_every_breach_of_every_field_is_caught_by_its_own_promise(
    books: dict[str, Path], made: list[Breach], tmp_path: Path, part: str
) -> None:
    assert missed(books, [one for one in made if one.name.startswith(part)], tmp_path) == []


@pytest.mark.long
@pytest.mark.parametrize("story", QUICK)
def test_whole_books_of_many_seeds_hold(tmp_path: Path, story: str) -> None:
    for seed in MANY_SEEDS:
        holds(tmp_path / "books", story, seed)
        shutil.rmtree(tmp_path / "books")


@pytest.mark.long
def test_a_line_of_ten_thousand_holds_and_one_place_more_or_less_is_caught(full_line: Path, tmp_path: Path) -> None:
    verdict = whole(full_line, "full line")
    assert verdict.holds, verdict.breaches
    assert missed({"full line": full_line}, [one for one in BY_HAND if one.story == "full line"], tmp_path) == []


def test_the_catalogue_is_about_every_promise_every_book_and_every_story(made: list[Breach]) -> None:
    catalogue = [*BY_HAND, *made]
    names = [one.name for one in catalogue]
    assert len(names) == len(set(names)) > 300
    assert {promise for one in catalogue for promise in one.promises} == set(range(1, 14))
    assert {one.story for one in catalogue} == STORIES.keys()
    assert all(any(one.name.startswith(part) for one in made) for part in PARTS)
    assert max(len(one.promises) for one in catalogue) <= 4


def test_the_table_in_the_documentation_is_that_of_the_catalogue(books: dict[str, Path]) -> None:
    assert stands(DOCUMENT.read_text(encoding="utf-8")) == table(books), (
        "docs/guarantees.md is out of date: python tests/audit/breach_table.py writes it anew"
    )
