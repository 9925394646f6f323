"""An operator's entries: what a client wrote down of them, and what else was entered in a shop of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from audit_shop import CLIENT, Ask, Shop
from audit_stories import ANA, GATO, LUIS, TORN
from edited_books import Edited, Record
from small_shops import Tell, Telling, told, verdict_after, verdict_of

NONE_NAMED: Final = "the clients' journals name no entry: what else was entered is not known"


async def open_shop(shop: Shop) -> None:
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO)


async def entered(shop: Shop) -> None:
    """Top-ups before and after their user is there, a rename, a token; each of them is noted."""
    await open_shop(shop)
    await shop.top_up(3, 7)
    await shop.user(3, "Eva", 20)
    await shop.user(1, "Ana María")
    await shop.publish(201, 25)
    await shop.settle()
    await shop.top_up(1, 100)
    await shop.restart("compras", torn=TORN)
    await shop.settle()
    await shop.buy(Ask(1, 101, shop.key()))


async def twice(shop: Shop) -> None:
    """One top-up, sent once, and the door enters it under two ids."""
    await open_shop(shop)
    notes = len(shop._notes)
    await shop.top_up(1, 100)
    del shop._notes[notes:]
    await shop.top_up(1, 100)


async def nobodys_token(shop: Shop) -> None:
    await open_shop(shop)
    await shop.publish(202, 10)
    del shop._notes[:]
    await shop.publish(201, 25)


async def nobodys_user(shop: Shop) -> None:
    await open_shop(shop)
    await shop.user(9, "Nadie", 1000)
    del shop._notes[:]
    await shop.publish(201, 25)


def test_what_is_in_the_journals_and_nothing_else_holds(tmp_path: Path) -> None:
    verdict = verdict_of(told(tmp_path, entered, Telling), alone=True)
    assert verdict.holds, verdict.breaches
    assert NONE_NAMED not in verdict.partly[1]


@pytest.mark.parametrize(("tell", "promise"), [(twice, 1), (nobodys_user, 1), (nobodys_token, 7)])
def test_what_nobody_entered_is_missed_in_a_shop_of_ones_own(tmp_path: Path, tell: Tell, promise: int) -> None:
    verdict = verdict_of(told(tmp_path, tell, Telling), alone=True)
    assert verdict.counts == {promise: 1}
    assert verdict.breaches[0].why == "compras has an entry that nobody has sent"
    assert "/compras/journal-" in verdict.breaches[0].where


def lines_of_two(books: Edited) -> tuple[Record, Record, Record, Record]:
    """What was asked and answered of the first price of token 201, and of the second."""
    one, other = [note for note in books.told() if note.get("enters") == "/tokens/201"]
    answers = {note["n"]: note for note in books.told() if "status" in note}
    return one, answers[one["n"]], other, answers[other["n"]]


def as_it_was(books: Edited) -> None:
    pass


def at_the_same_time(books: Edited) -> None:
    """The second was sent before the first was answered."""
    notes = books.told()
    _, answer, other, _ = lines_of_two(books)
    notes.remove(other)
    notes.insert(notes.index(answer), other)


def sent_again(books: Edited) -> None:
    """The first once more, when the second was sent: by then the shop may have forgotten it."""
    notes = books.told()
    one, answer, _, last = lines_of_two(books)
    number = 1 + max(note.get("n", 0) for note in notes)
    notes[notes.index(last) + 1 : notes.index(last) + 1] = [{**one, "n": number}, {**answer, "n": number}]
    notes[-1]["lines"] += 2


def not_answered(books: Edited) -> None:
    _, answer, _, _ = lines_of_two(books)
    answer |= {"status": 502, "answer": None}


@pytest.mark.parametrize(
    ("numbers", "edit", "counts"),
    [
        ((1, 2), as_it_was, {}),
        ((None, 2), as_it_was, {}),
        ((2, None), as_it_was, {}),
        ((2, 1), as_it_was, {7: 1}),
        ((2, 1), at_the_same_time, {}),
        ((2, 1), sent_again, {}),
        ((2, 1), not_answered, {}),
    ],
)
def test_what_was_entered_after_an_answer_has_a_higher_number(
    tmp_path: Path, numbers: tuple[int | None, int | None], edit: Callable[[Edited], None], counts: dict[int, int]
) -> None:
    async def tell(shop: Shop) -> None:
        await open_shop(shop)
        await shop.user(3, "Eva", 20)
        await shop.settle()
        await shop.publish(201, 70, orden=numbers[0])
        await shop.settle()
        await shop.publish(201, 50, orden=numbers[1])

    verdict = verdict_after(told(tmp_path / "shop", tell, Telling), edit, alone=True)
    assert verdict.counts == counts
    if counts:
        assert "answered before it was sent" in verdict.breaches[0].why


@pytest.mark.parametrize("tell", [twice, nobodys_user, nobodys_token])
def test_elsewhere_others_enter_too(tmp_path: Path, tell: Tell) -> None:
    assert verdict_of(told(tmp_path, tell, Telling)).holds


def of_no_format(books: Edited) -> None:
    """As a client wrote that noted no entries."""
    entries = {note["n"] for note in books.told() if "enters" in note}
    books.told()[:] = [note for note in books.told() if note.get("n") not in entries]


def test_the_journal_of_a_client_that_noted_none_is_read_and_says_what_it_lacks(tmp_path: Path) -> None:
    verdict = verdict_after(told(tmp_path, entered, Telling), of_no_format, alone=True)
    assert verdict.holds, verdict.breaches
    assert NONE_NAMED in verdict.partly[1]


def unanswered(books: Edited) -> tuple[Record, Record]:
    asked = next(note for note in books.told() if note.get("enters") == "/usuarios/1/recargas")
    answer = next(note for note in books.told() if note.get("n") == asked["n"] and "status" in note)
    answer.pop("answer")
    answer |= {"status": None, "lost": "TimeoutError"}
    return asked, answer


def lost(books: Edited) -> None:
    unanswered(books)


def another(books: Edited) -> None:
    unanswered(books)[0]["body"]["monto"] = 99


def never_came(books: Edited) -> None:
    asked, answer = unanswered(books)
    for note in (asked, answer):
        books.told().insert(-1, {**note, "n": 900} | ({"key": "lost"} if note is asked else {}))


def sent_again(books: Edited) -> None:
    """Under one key; the first time with another body, which was refused."""
    asked, _ = unanswered(books)
    books.told().insert(-1, {**asked, "n": 900, "body": {"monto": 1}})
    books.told().insert(-1, {"n": 900, "status": 422, "answer": {}})


def too_much(books: Edited) -> None:
    """No operator may enter that."""
    asked, _ = unanswered(books)
    books.told().insert(-1, {**asked, "n": 900, "key": "huge", "body": {"monto": 10**15}})
    books.told().insert(-1, {"n": 900, "status": 422, "answer": {}})


def a_strangers(books: Edited) -> None:
    asked, _ = unanswered(books)
    books.told().insert(-1, {**asked, "n": 900, "key": "stranger"})
    books.told().insert(-1, {"n": 900, "status": 401, "answer": {}})


@pytest.mark.parametrize("edit", [lost, never_came, sent_again, too_much, a_strangers])
def test_what_got_no_answer_or_a_refusal_holds(tmp_path: Path, edit: Callable[[Edited], None]) -> None:
    verdict = verdict_after(told(tmp_path, entered, Telling), edit, alone=True)
    assert verdict.holds, verdict.breaches


def test_what_got_no_answer_and_is_something_else_in_the_book_is_seen(tmp_path: Path) -> None:
    verdict = verdict_after(told(tmp_path, entered, Telling), another, alone=True)
    assert verdict.counts == {1: 1}
    found = verdict.breaches[0]
    assert (found.field, found.stands, found.rules) == ("monto", 99, 100)


def test_entries_told_of_after_a_backup_are_no_fault_of_it_and_are_counted(tmp_path: Path) -> None:
    then = tmp_path / "then"

    async def tell(shop: Shop) -> None:
        await open_shop(shop)
        await shop.top_up(1, 5)
        shutil.copytree(shop.folder, then)
        await shop.settle()
        await shop.top_up(2, 100)

    folder = told(tmp_path / "shop", tell)
    shutil.copy(folder / CLIENT, then)
    verdict = verdict_of(then, cut=True)
    assert verdict.holds, verdict.breaches
    assert any(reason.startswith("of 1 entries operators were told more") for reason in verdict.partly[12])
    assert verdict_of(then).counts[1] == 1
