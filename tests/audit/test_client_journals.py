"""What clients wrote down, held against the books and itself: who was told less, or something before its time."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from audit_shop import Ask, Shop, problem
from audit_stories import ANA, GATO, LUIS, LUNA
from edited_books import SERVICES, Edited, Record, copied

from broker.messages import compra_id
from loadgen.audit.audit import Books, audit
from loadgen.audit.books import from_folder
from loadgen.audit.clients import client_journal
from loadgen.audit.verdict import Verdict

BY_OTHERS: Final = "somebody whose journal was not given may have used a client's key"


@dataclass
class Story:
    """A small shop's folder, what its client wrote down between the first lines and the last, and what others did."""

    folder: Path
    told: list[Record] = field(default_factory=list)
    others: list[list[Record]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.told = Edited(self.folder).told()[2:-1]

    def asks(self, key: str) -> Record:
        return next(note for note in self.told if note.get("key") == key)

    def answer(self, key: str, at: int = 0) -> Record:
        """What was told to who asked with this key, the first time or the last (-1)."""
        numbers = [note["n"] for note in self.told if note.get("key") == key]
        return next(note for note in self.told if note.get("n") == numbers[at] and "status" in note)

    def ended(self, about: str) -> Record:
        return next(note for note in self.told if note.get("ended") == about)

    def asks_again(self, key: str, number: int, told: Record) -> None:
        """The same request once more, and what was told of it."""
        self.told += [{**copied(self.asks(key)), "n": number}, {**copied(told), "n": number}]

    def verdict(self, books: Path | None = None, *, closed: bool = True, **more: Any) -> Verdict:
        head = Edited(self.folder).told()[:2]
        journals = []
        for number, notes in enumerate([self.told, *self.others]):
            lines = [*head, *notes]
            if closed:
                lines.append({"t": 1, "closed": True, "lines": len(lines)})
            file = self.folder / f"client-{number}.jsonl"
            file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
            journals.append(client_journal(file))
        read = {name: from_folder(books or self.folder, name) for name in SERVICES}
        return audit(Books(**read, clients=journals, **more))


def story(folder: Path, tell: Callable[[Shop], Awaitable[None]]) -> Story:
    async def told() -> None:
        shop = Shop(folder, Random(1))
        await shop.begin()
        await shop.seed("usuarios", ANA, LUIS)
        await shop.seed("tokens", GATO, LUNA)
        await tell(shop)
        await shop.end()

    folder.mkdir()
    asyncio.run(told())
    found = Story(folder)
    assert found.verdict().holds
    return found


async def bought(shop: Shop) -> None:
    """Luis buys 101, and Ana comes too late; both ask again."""
    for usuario, key in ((2, "first"), (1, "late")):
        await shop.buy(Ask(usuario, 101, key))
        await shop.settle()
        await shop.buy(Ask(usuario, 101, key))


FIRST, LATE = compra_id(2, "first"), compra_id(1, "late")


@pytest.fixture
def shop(tmp_path: Path) -> Story:
    return story(tmp_path / "shop", bought)


# A backup, and clients who were told of what came after it


@pytest.fixture
def later(tmp_path: Path) -> tuple[Path, Story]:
    """Books as they were when the first purchase was held, and what clients were told until the end."""
    then = tmp_path / "then"

    async def tell(shop: Shop) -> None:
        await shop.buy(Ask(1, 101, "first"))
        await shop.deliver("tokens", 1)
        await shop.deliver("compras", 1)
        shutil.copytree(tmp_path / "shop", then)
        await shop.settle()
        await shop.buy(Ask(1, 101, "first"), Ask(2, 102, "second"))

    return then, story(tmp_path / "shop", tell)


def test_what_clients_were_told_after_a_backup_is_no_fault_of_it_and_is_counted(later: tuple[Path, Story]) -> None:
    then, told = later
    verdict = told.verdict(then, cut=True)
    assert verdict.holds, verdict.breaches
    assert verdict.lost == 0
    for promise in (4, 12):
        assert any(reason.startswith("of 2 purchases clients were told more") for reason in verdict.partly[promise])


def test_of_books_that_are_no_backup_it_is_lost(later: tuple[Path, Story]) -> None:
    then, told = later
    verdict = told.verdict(then)
    assert (verdict.lost, verdict.counts[4]) == (2, 4)


@pytest.mark.parametrize(
    "lie",
    [
        {"tokenId": 102},
        {"fecha": "2025-09-10T17:00:00.999Z"},
        {"precio": 49},
        {"historia": [{"estado": "solicitada", "fecha": "2025-09-10T17:00:00.999Z"}]},
        {"estado": "pagada"},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_what_a_backup_has_is_held_against_what_was_told_after_it(later: tuple[Path, Story], lie: Record) -> None:
    then, told = later
    answer = told.answer("first", -1)["answer"]
    assert answer["estado"] == "registrada"
    answer |= {**lie, "historia": [*lie.get("historia", answer["historia"][:1]), *answer["historia"][1:]]}
    assert told.verdict(then, cut=True).counts[12] >= 1


def test_who_was_told_less_after_a_backup_is_seen(later: tuple[Path, Story]) -> None:
    then, told = later
    told.asks_again("first", 90, told.answer("first"))
    assert told.verdict(then, cut=True).counts == {12: 1}


# No answer, and under that key the book has another purchase


async def unanswered(shop: Shop) -> None:
    await shop.buy(Ask(1, 102, "lost", None, "lost"), Ask(2, 101, "busy", None, "503"))
    await shop.settle()


@pytest.fixture
def silence(tmp_path: Path) -> Story:
    """Two that got no answer; the books have something else than they asked for."""
    found = story(tmp_path / "shop", unanswered)
    found.asks("lost")["asks"] |= {"tokenId": 101, "precioMaximo": 5}
    found.asks("busy")["asks"]["precioMaximo"] = 1
    return found


def test_who_got_no_answer_has_bought_nothing_else_than_they_asked_for(silence: Story) -> None:
    verdict = silence.verdict()
    assert verdict.counts == {12: 2}
    assert {breach.about for breach in verdict.breaches} == {compra_id(1, "lost"), compra_id(2, "busy")}


def test_nor_has_who_died_before_an_answer(silence: Story) -> None:
    silence.told = [note for note in silence.told if "status" not in note]
    assert silence.verdict().counts == {12: 2}


def test_another_client_may_have_asked_for_it(silence: Story) -> None:
    silence.others = [
        [{"n": 1, "key": "lost", "asks": {"usuarioId": 1, "tokenId": 102}}],
        [{"n": 1, "key": "busy", "asks": {"usuarioId": 2, "tokenId": 101, "precioMaximo": None}}],
    ]
    verdict = silence.verdict()
    assert verdict.holds and 10 not in verdict.partly, verdict.breaches


def test_who_is_told_that_the_key_is_used_knows_of_another_client(silence: Story) -> None:
    for key in ("lost", "busy"):
        silence.asks_again(key, 90, {"status": 422, "answer": problem(422, "this Idempotency-Key was used")})
    verdict = silence.verdict()
    assert verdict.holds, verdict.breaches
    assert verdict.partly[10] == [BY_OTHERS]


def test_of_a_journal_that_ends_early_nobody_knows_what_else_was_asked_for(silence: Story) -> None:
    verdict = silence.verdict(closed=False)
    assert verdict.holds, verdict.breaches
    assert verdict.partly[10] == ["a client's journal ends early: what came later is not known"]


# Told less


def less(answer: Record) -> Record:
    """The same purchase when only its beginning and its end were heard: legal, and less than all of it."""
    told = copied(answer)
    told["answer"]["historia"] = [told["answer"]["historia"][0], told["answer"]["historia"][-1]]
    told["answer"].pop("precio")
    return told


@pytest.fixture
def disordered(tmp_path: Path) -> Story:
    """compras hears the end first, and what was before only later."""

    async def tell(shop: Shop) -> None:
        await shop.buy(Ask(1, 101, "k"))
        await shop.deliver_all("tokens", "usuarios", "transacciones")
        shop.waiting["compras"].sort(key=lambda message: message.type != "transaccion.registrada")
        await shop.deliver("compras", 1)
        await shop.buy(Ask(1, 101, "k"))
        await shop.settle()
        await shop.buy(Ask(1, 101, "k"))

    return story(tmp_path / "shop", tell)


@pytest.mark.parametrize("seen", [False, True], ids=["", "its end is seen between"])
def test_who_was_told_all_is_not_told_less(disordered: Story, seen: bool) -> None:
    all_of_it = disordered.answer("k", -1)
    assert [len(disordered.answer("k", at)["answer"]["historia"]) for at in (0, 1, 2)][-1] == 5
    if seen:
        disordered.told.append({"ended": all_of_it["answer"]["id"], "estado": "registrada"})
    disordered.asks_again("k", 90, less(all_of_it))
    verdict = disordered.verdict()
    assert verdict.counts == {12: 1}
    assert verdict.breaches[0].why == "it was told less than before"


# What a stream said


@pytest.mark.parametrize("motivo", ["token-vendido", "", 7])
def test_a_sale_has_no_reason(shop: Story, motivo: Any) -> None:
    shop.told.append({"ended": FIRST, "estado": "registrada", "motivo": motivo})
    assert shop.verdict().counts == {12: 1}


# A number of another kind


@pytest.mark.parametrize(
    ("name", "value"), [("precio", 50.0), ("usuarioId", 2.0), ("transaccionId", True), ("transaccionId", 1.0)]
)
def test_a_number_of_another_kind_is_another_answer(shop: Story, name: str, value: Any) -> None:
    answer = shop.answer("first", -1)["answer"]
    assert answer[name] == value
    answer[name] = value
    verdict = shop.verdict()
    assert verdict.counts == {12: 1}
    assert verdict.breaches[0].field == name


# Bad input


@pytest.mark.parametrize("status", [200, 201, 202, 204, 301, 302, 500, 501])
def test_bad_input_that_is_not_refused(shop: Story, status: int) -> None:
    shop.told += [{"n": 90, "asks": None, "raw": "{"}, {"n": 90, "status": status, "answer": None}]
    assert shop.verdict().counts == {12: 1}


@pytest.mark.parametrize("status", [400, 404, 405, 408, 413, 415, 422, 429, 502, 503, 504, None])
def test_bad_input_that_is_refused_or_not_answered(shop: Story, status: int | None) -> None:
    shop.told += [{"n": 90, "asks": None, "raw": "{"}, {"n": 90, "status": status, "answer": None}]
    assert shop.verdict().holds


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504, None])
def test_a_good_request_that_nobody_answered_may_be_in_the_books_or_not(shop: Story, status: int | None) -> None:
    """A proxy that finds the front door dead, or standing still, says no more than a lost answer does."""
    shop.answer("first").update(status=status, answer=None)
    shop.told += [{"n": 90, "key": "never", "asks": {"usuarioId": 1, "tokenId": 101}}]
    shop.told += [{"n": 90, "status": status, "answer": None}]
    verdict = shop.verdict()
    assert verdict.holds, verdict.breaches


@pytest.mark.parametrize(("status", "counts"), [(404, {12: 1}), (500, {12: 1}), (503, {}), (504, {}), (429, {})])
def test_what_was_accepted_is_shown_to_who_asks_for_it(shop: Story, status: int, counts: dict[int, int]) -> None:
    shop.told.append({"t": 1, "looked": shop.answer("first", -1)["answer"]["id"], "status": status})
    assert shop.verdict().counts == counts


# A client's own order


def winner_last(shop: Story) -> None:
    """Who bought the token asks for it when the client has seen that it is sold."""
    of_winner = {note["n"] for note in shop.told if note.get("key") == "first"}
    mine = [note for note in shop.told if note.get("n") in of_winner or note.get("ended") == FIRST]
    shop.told = [note for note in shop.told if note not in mine] + mine


@pytest.mark.parametrize("how", ["by an answer", "by its end"])
def test_what_a_client_knew_to_be_sold_was_not_bought_by_who_asked_only_then(shop: Story, how: str) -> None:
    winner_last(shop)
    if how == "by an answer":
        shop.told.remove(shop.ended(LATE))
    else:
        shop.told = [note for note in shop.told if note is not shop.answer("late", -1)]
    verdict = shop.verdict()
    assert verdict.counts == {12: 1}
    assert (verdict.breaches[0].about, verdict.breaches[0].rules) == (FIRST, "token-vendido")


async def too_dear(shop: Shop) -> None:
    await shop.buy(Ask(1, 101, "cheap", 10))
    await shop.settle()
    await shop.buy(Ask(2, 101, "first"))
    await shop.settle()
    await shop.buy(Ask(2, 101, "first"))


@pytest.mark.parametrize("how", ["by an answer", "by its end"])
def test_nor_was_who_asked_only_then_refused_for_another_reason(tmp_path: Path, how: str) -> None:
    shop = story(tmp_path / "shop", too_dear)
    if how == "by an answer":
        shop.told.remove(shop.ended(FIRST))
    else:
        shop.told.remove(shop.answer("first", -1))
    cheap = [note for note in shop.told if note.get("n") == 1 or note.get("ended") == compra_id(1, "cheap")]
    assert [note.get("motivo") for note in cheap] == [None, None, "precio-mayor"]
    shop.told = [note for note in shop.told if note not in cheap] + cheap
    verdict = shop.verdict()
    assert verdict.counts == {12: 1}
    assert (verdict.breaches[0].about, verdict.breaches[0].stands) == (compra_id(1, "cheap"), "precio-mayor")


def test_who_asked_before_may_ask_again(shop: Story) -> None:
    ask = copied(shop.asks("first"))
    winner_last(shop)
    shop.told = [{**ask, "n": 90}, {"n": 90, "status": None, "lost": "TimeoutError"}, *shop.told]
    assert shop.verdict().holds


def test_of_two_clients_with_one_key_nobody_knows_who_came_first(shop: Story) -> None:
    winner_last(shop)
    shop.others = [[{**copied(shop.asks("first")), "n": 1}]]
    assert shop.verdict().holds


def used(shop: Story) -> list[Record]:
    """Another body under the first key, which is refused."""
    ask = copied(shop.asks("first"))
    ask["asks"]["tokenId"] = 102
    return [{**ask, "n": 90}, {"n": 90, "status": 422, "answer": problem(422, "this Idempotency-Key was used")}]


def test_no_key_is_used_before_anybody_used_it(shop: Story) -> None:
    shop.told = [*used(shop), *shop.told]
    verdict = shop.verdict()
    assert verdict.counts == {10: 1}
    assert verdict.breaches[0].about == FIRST


def test_a_key_is_used_once_somebody_has_asked(shop: Story) -> None:
    at = shop.told.index(shop.asks("first")) + 1
    shop.told[at:at] = used(shop)
    assert shop.verdict().holds


def test_another_client_may_have_used_it(shop: Story) -> None:
    shop.others = [[{**copied(shop.asks("first")), "n": 1}]]
    shop.told = [*used(shop), *shop.told]
    assert shop.verdict().holds


def test_a_used_key_of_which_no_journal_speaks_is_not_judged(shop: Story) -> None:
    of_first = {note["n"] for note in shop.told if note.get("key") == "first"}
    rest = [note for note in shop.told if note.get("n") not in of_first]
    shop.told = [*used(shop), *rest]
    verdict = shop.verdict()
    assert verdict.holds, verdict.breaches
    assert verdict.partly[10] == [BY_OTHERS]


def test_no_end_is_seen_before_anybody_asked(shop: Story) -> None:
    shop.told.remove(shop.answer("first"))
    shop.told = [copied(shop.ended(FIRST)), *shop.told]
    verdict = shop.verdict()
    assert verdict.counts == {12: 1}
    assert verdict.breaches[0].about == FIRST


def test_what_others_bought_may_be_seen(shop: Story) -> None:
    shop.others = [[copied(shop.ended(FIRST))], [note for note in shop.told if note.get("key") == "late"]]
    assert shop.verdict().holds


# Others buy, too, and their journals are not at hand


def key_used_early(shop: Story) -> None:
    shop.told = [*used(shop), *shop.told]


def end_seen_early(shop: Story) -> None:
    shop.told.remove(shop.answer("first"))
    shop.told = [copied(shop.ended(FIRST)), *shop.told]


def something_else_bought(shop: Story) -> None:
    shop.told = [note for note in shop.told if note is shop.asks("first") or note.get("key") == "late"]
    shop.asks("first")["asks"]["tokenId"] = 102


@pytest.mark.parametrize(
    ("lie", "promise"), [(key_used_early, 10), (end_seen_early, 12), (winner_last, 12), (something_else_bought, 12)]
)
def test_where_others_buy_too_one_of_them_may_have_had_the_key(
    tmp_path: Path, lie: Callable[[Story], None], promise: int
) -> None:
    async def with_a_stranger(shop: Shop) -> None:
        await bought(shop)
        await shop.buy(Ask(2, 102, "stranger"))

    for tell, holds in ((bought, False), (with_a_stranger, True)):
        shop = story(tmp_path / tell.__name__, tell)
        strangers = [note["n"] for note in shop.told if note.get("key") == "stranger"]
        shop.told = [note for note in shop.told if note.get("n") not in strangers]
        lie(shop)
        verdict = shop.verdict()
        assert verdict.holds == holds, verdict.breaches
        assert (BY_OTHERS in verdict.partly.get(promise, [])) == holds
