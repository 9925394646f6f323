"""Which dates are believed at compras: its clock may be set at any time, and shows no other century."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from audit_shop import Ask, Shop
from audit_stories import ANA, GATO, LUIS, LUNA
from edited_books import SERVICES, Edited, Record
from small_shops import Telling, told, verdict_after, verdict_of

from loadgen.audit.asked_then import SET
from loadgen.audit.clocks import BATCHES, Dates
from loadgen.audit.showing import WAS_SET


def a_pause_of(minutes: int) -> Callable[[Shop], object]:
    async def tell(shop: Shop) -> None:
        await shop.seed("usuarios", ANA, LUIS)
        await shop.seed("tokens", GATO, LUNA)
        await shop.buy(Ask(1, 101, shop.key()))
        await shop.settle()
        shop.clock._now += timedelta(minutes=minutes)
        await shop.buy(Ask(2, 102, shop.key()))

    return tell


def the_last_is_of(fecha: str) -> Callable[[Edited], None]:
    """The last purchase, in all books and for its client."""

    def put(line: Record, old: str) -> None:
        line |= json.loads(json.dumps({name: line[name] for name in line if name != "time"}).replace(old, fecha))

    def edit(books: Edited) -> None:
        asked = [one for one in books.compras.records if one["id"].endswith(":compra.solicitada")][-1]
        old = asked["words"][0]["fecha"]
        for line in [*books.told(), *(one for service in SERVICES for one in books.book(service).records)]:
            put(line, old)

    return edit


@pytest.mark.parametrize("minutes", [0, 61, 60 * 24])
def test_a_quiet_night_explains_no_date_of_another_century(tmp_path: Path, minutes: int) -> None:
    folder = told(tmp_path / "shop", a_pause_of(minutes))  # type: ignore[arg-type]
    assert verdict_of(folder).holds
    verdict = verdict_after(folder, the_last_is_of("1999-12-31T23:59:59.000Z"))
    assert verdict.counts == {7: 1}
    assert 7 not in verdict.partly


def test_a_request_that_waited_while_the_clock_was_put_on_has_the_date_of_before(tmp_path: Path) -> None:
    folder = told(tmp_path / "shop", a_pause_of(60 * 5))  # type: ignore[arg-type]
    verdict = verdict_after(folder, the_last_is_of("2025-09-10T17:00:05.000Z"))
    assert verdict.holds
    assert 7 not in verdict.partly


def batches(*times: str) -> Dates:
    dates = Dates()
    for number, time in enumerate(times, 1):
        dates.batch(number, time)
    return dates


NINE, TEN, NOON = (f"2025-09-10T{hour}:00:00.000Z" for hour in ("09", "10", "12"))


LONG_AGO = "1999-12-31T23:59:59.000Z"


def test_a_clock_that_was_set_back_explains_what_it_showed_before() -> None:
    dates = batches(NOON, NINE)
    assert dates.near(NOON, NINE)
    assert not dates.near(LONG_AGO, NINE)


def test_a_clock_that_stands_still_or_goes_back_is_not_trusted_for_a_while() -> None:
    for times in [(NOON, NINE), (TEN, TEN, TEN)]:
        dates = batches(*times)
        for number in range(BATCHES):
            assert dates.unsure(LONG_AGO)
            dates.batch(10 + number, f"2025-09-10T12:00:{number % 60:02d}.{number:03d}Z")
        assert not dates.unsure(LONG_AGO)
    assert not batches(NINE, TEN, NOON, NOON).unsure(LONG_AGO)


def test_what_was_asked_while_a_disk_stood_still_may_wait_behind_much_else() -> None:
    dates = batches(NINE, NOON)
    for number in range(2 * BATCHES):
        dates.batch(10 + number, f"2025-09-10T12:{number % 60:02d}:{number // 60:02d}.000Z")
    assert not dates.near(TEN, NOON)
    assert dates.unsure(TEN)
    assert not dates.unsure(LONG_AGO)


def test_dates_while_the_clock_stands_still_are_no_breach_and_that_is_said(tmp_path: Path) -> None:
    """As older versions dated their records: never before one another, though the clock was put back by hours."""
    folder = told(tmp_path / "shop", a_pause_of(0))  # type: ignore[arg-type]

    def edit(books: Edited) -> None:
        the_last_is_of("2025-09-10T08:00:00.000Z")(books)
        for record in books.compras.records:
            record["time"] = "2025-09-10T17:00:01.000Z"

    verdict = verdict_after(folder, edit)
    assert verdict.holds, verdict.breaches
    assert verdict.partly[7] == [WAS_SET]


def in_a_zone(hours: int) -> type[Shop]:
    """All dates in its books and answers are off by so much, as by a clock without UTC; those of its client are not."""

    class Elsewhere(Telling):
        async def begin(self) -> None:
            self.skews = dict.fromkeys(SERVICES, hours * 3600)
            await super().begin()

    return Elsewhere


async def some_buy(shop: Shop) -> None:
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO, LUNA)
    await shop.top_up(1, 5)
    await shop.buy(Ask(1, 101, "lost", None, "lost"), Ask(2, 102, shop.key()))
    await shop.settle()
    await shop.buy(Ask(1, 101, "lost"))


@pytest.mark.parametrize("hours", [-5, 2])
def test_dates_that_are_all_wrong_by_hours_are_not_those_of_who_asked(tmp_path: Path, hours: int) -> None:
    verdict = verdict_of(told(tmp_path / "right", some_buy, Telling), alone=True)
    assert verdict.holds and 7 not in verdict.partly, verdict.breaches
    folder = told(tmp_path / "wrong", some_buy, in_a_zone(hours))
    assert verdict_of(folder, alone=True).counts == {7: 3}
    # Of any other shop nobody knows how its clock and a client's agree.
    assert verdict_of(folder).holds


@pytest.mark.parametrize("clock", [None, 1.5])
def test_by_a_clients_clock_that_was_set_or_may_have_been_nothing_is_judged(
    tmp_path: Path, clock: float | None
) -> None:
    folder = told(tmp_path / "shop", some_buy, in_a_zone(-5))

    def edit(books: Edited) -> None:
        books.told()[-1]["clockSet"] = clock

    verdict = verdict_after(folder, edit, alone=True)
    assert verdict.holds
    assert verdict.partly[7] == [SET]


def test_what_was_not_answered_may_have_waited_for_long_and_was_not_there_before_it_was_asked(tmp_path: Path) -> None:
    async def tell(shop: Shop) -> None:
        await shop.seed("usuarios", ANA)
        await shop.seed("tokens", GATO)
        await shop.buy(Ask(1, 101, "lost", None, "lost"))

    assert verdict_of(told(tmp_path / "late", tell, in_a_zone(1)), alone=True).holds
    assert verdict_of(told(tmp_path / "early", tell, in_a_zone(-1)), alone=True).counts == {7: 1}
