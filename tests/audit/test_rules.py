"""By which rules a record was decided: those of the process that wrote its segment, and some that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from audit_shop import Ask, Shop
from edited_books import SERVICES, Edited, Record, heard
from older_rules import rules_of_before
from small_shops import records_alone, told, verdict_after, verdict_of

from loadgen.audit.audit import Books, audit
from loadgen.audit.text import Unreadable

BELIEVED: Final = "somebody waits in a line twice by the rules of a version before, and only their records say that"


async def a_line(shop: Shop) -> None:
    """Whoever is first cannot pay, and one asks twice."""
    await shop.user(7, "Eva", 500)
    await shop.publish(101, 10)
    await shop.settle()
    await shop.buy(Ask(8, 101, "x"))
    await shop.deliver_all("tokens")
    await shop.buy(Ask(7, 101, "y"), Ask(7, 101, "z"))
    await shop.deliver_all("tokens")


def asked(books: Edited) -> list[Record]:
    return [record for record in books.tokens.records if heard("compra.solicitada")(record)]


def test_one_process_decides_by_one_version_of_the_rules(tmp_path: Path) -> None:
    folder = told(tmp_path / "shop", a_line)
    assert {record["rules"] for record in asked(Edited(folder))} == {1}

    def edit(books: Edited) -> None:
        # By the rules of before it would be the same.
        del asked(books)[1]["rules"]

    verdict = verdict_after(folder, edit)
    assert [(breach.promise, breach.field) for breach in verdict.breaches] == [(13, "rules")]


def test_a_shop_that_is_upgraded_and_what_several_have_written_hold(tmp_path: Path) -> None:
    async def tell(shop: Shop) -> None:
        with rules_of_before():
            await a_line(shop)
        await shop.restart("tokens")
        await shop.settle()
        await shop.publish(102, 10)
        await shop.settle()
        await shop.buy(Ask(7, 102, "w"))

    folder = told(tmp_path / "shop", tell)
    assert [record.get("rules") for record in asked(Edited(folder))] == [None, None, None, 1]
    verdict = verdict_of(folder)
    assert verdict.holds and verdict.partly[13] == [BELIEVED]
    assert audit(Books(**{name: records_alone(folder, name) for name in SERVICES})).holds  # type: ignore[arg-type]


def test_rules_that_no_version_has_are_refused(tmp_path: Path) -> None:
    def edit(books: Edited) -> None:
        for record in asked(books):
            record["rules"] = -1

    with pytest.raises(Unreadable, match="by rules -1"):
        verdict_after(told(tmp_path / "shop", a_line), edit)


def test_who_says_nothing_of_the_rules_is_believed_in_part_and_in_a_drills_own_shop_not_at_all(tmp_path: Path) -> None:
    with rules_of_before():
        folder = told(tmp_path / "shop", a_line)

    def edit(books: Edited) -> None:
        for record in asked(books):
            record["rules"] = 1

    assert verdict_after(folder, edit).counts.keys() == {13}
    verdict = verdict_of(folder)
    assert verdict.holds and verdict.partly[13] == [BELIEVED]
    # The three that asked; of all else in this shop nobody says whose record it heard.
    ruled = [breach for breach in verdict_of(folder, alone=True).breaches if breach.field == "rules"]
    assert [(breach.promise, breach.stands, breach.rules) for breach in ruled] == [(13, 0, 1)] * 3


def test_where_the_rules_of_before_come_to_the_same_nothing_is_left_open(tmp_path: Path) -> None:
    async def tell(shop: Shop) -> None:
        await shop.user(7, "Eva", 500)
        await shop.publish(101, 10)
        await shop.settle()
        await shop.buy(Ask(7, 101, "x"))

    with rules_of_before():
        folder = told(tmp_path / "shop", tell)
    verdict = verdict_of(folder)
    assert verdict.holds and 13 not in verdict.partly
