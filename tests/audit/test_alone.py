"""A shop of a drill's own: nobody buys there but the clients whose journals are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audit_shop import Ask, Shop
from audit_stories import ANA, BUHO, GATO, LUIS, LUNA
from edited_books import Record
from small_shops import Telling, told, verdict_of

from loadgen.audit.verdict import Verdict


async def open_shop(shop: Shop) -> None:
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO, LUNA, BUHO)


async def buys_for_nobody(shop: Shop, ask: Ask) -> None:
    """The door sells, and no client has asked."""
    notes, number, told = [*shop._notes], shop._number, {*shop._told}
    await shop.buy(ask)
    shop._notes, shop._number, shop._told = notes, number, told


async def one_request_twice(shop: Shop) -> None:
    """The door stores it under an id of its own first, and then under the client's key."""
    await open_shop(shop)
    await buys_for_nobody(shop, Ask(1, 101, "of the door"))
    await shop.buy(Ask(1, 101, "mine"))


async def a_bad_request_that_buys(shop: Shop) -> None:
    await open_shop(shop)
    await buys_for_nobody(shop, Ask(1, 101, "of the door"))
    shop.ask_badly('{"usuarioId":1,"tokenId":101,"precio":0}', 422)


async def a_lost_answer(shop: Shop) -> None:
    await open_shop(shop)
    await shop.buy(Ask(2, 102, "lost", None, "lost"))
    # The book has another token than was asked for.
    asks: Record = next(note for note in shop._notes if note.get("key") == "lost")["asks"]
    asks["tokenId"] = 103


async def a_lost_answer_beside_it(shop: Shop) -> None:
    await a_lost_answer(shop)
    await buys_for_nobody(shop, Ask(1, 101, "of the door"))


async def a_key_that_nobody_used(shop: Shop) -> None:
    """Another one of the same key was refused, and the book has what nobody asked for."""
    await open_shop(shop)
    await shop.buy(Ask(1, 101, "mine"))
    await shop.buy(Ask(1, 102, "mine"))
    shop._notes = [note for note in shop._notes if note.get("n") != 1]
    shop._told.clear()


def found(verdict: Verdict) -> list[tuple[int, Any]]:
    return [(breach.promise, breach.why) for breach in verdict.breaches]


UNASKED = (10, "nobody asked for this purchase")


def test_a_purchase_that_nobody_asked_for_is_missed(tmp_path: Path) -> None:
    for number, tell in enumerate((one_request_twice, a_bad_request_that_buys)):
        folder = told(tmp_path / str(number), tell, Telling)
        assert found(verdict_of(folder, alone=True)) == [UNASKED]
        # In a shop where others may buy it is one of theirs.
        assert verdict_of(folder).holds


def test_it_hides_nothing_else(tmp_path: Path) -> None:
    other = (12, "the book has something else than was asked for")
    assert found(verdict_of(told(tmp_path / "without", a_lost_answer, Telling), alone=True)) == [other]
    both = told(tmp_path / "with", a_lost_answer_beside_it, Telling)
    assert found(verdict_of(both, alone=True)) == [other, UNASKED]
    # There somebody may have used that client's key.
    assert verdict_of(both).holds and 12 in verdict_of(both).partly


def test_a_key_that_was_used_was_used_by_one_of_them(tmp_path: Path) -> None:
    folder = told(tmp_path / "shop", a_key_that_nobody_used, Telling)
    why = "it was told that its key is used, and nobody asked for what the book has"
    assert found(verdict_of(folder, alone=True)) == [(10, why)]
    assert verdict_of(folder).holds


def test_what_they_asked_for_holds(tmp_path: Path) -> None:
    async def tell(shop: Shop) -> None:
        await open_shop(shop)
        await shop.buy(Ask(1, 101, "told"), Ask(1, 102, "lost", None, "lost"), Ask(2, 103, "late", None, "503"))
        await shop.buy(Ask(1, 102, "told"))
        shop.ask_badly("{}", 422)

    verdict = verdict_of(told(tmp_path / "shop", tell, Telling), alone=True)
    assert verdict.holds and (verdict.accepted, 10 in verdict.partly) == (3, False), verdict.breaches
