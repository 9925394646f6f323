"""The dates of operator's entries: in order for each user and token, and close to the clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.compras.clock import MonotonicClock
from services.shared.clock import dated


def at(milliseconds: int) -> str:
    return f"2026-01-01T00:00:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}Z"


def test_a_thousand_entries_in_one_moment_stay_at_it() -> None:
    fechas = MonotonicClock(lambda: at(5))
    assert {fechas.next(f"/tokens/{number}") for number in range(1000)} == {at(5)}
    assert fechas.next("/tokens/7") == at(6)
    assert fechas.next("/tokens/8") == at(6)


def test_a_date_that_somebody_else_gave_may_be_anybodys() -> None:
    fechas = MonotonicClock(lambda: at(5))
    fechas.last = at(5)
    assert fechas.next("/tokens/1") == at(6)
    fechas.last = at(9)
    assert [fechas.next("/tokens/1"), fechas.next("/tokens/2")] == [at(10), at(10)]


def test_after_a_clock_that_was_far_ahead_dates_are_true_again() -> None:
    now = "2099-01-01T00:00:00.000Z"
    fechas = MonotonicClock(lambda: now)
    assert fechas.next("/tokens/1") == now
    now = at(5)
    assert fechas.next("/tokens/1", "2099-01-01T00:00:00.000Z") == at(5)
    assert fechas.next("/tokens/1", "2099-01-01T00:00:00.000Z") == at(6)


def test_two_entries_of_a_moment_differ_though_one_of_a_clock_that_was_far_ahead_is_heard_of_between_them() -> None:
    fechas = MonotonicClock(lambda: at(5))
    assert fechas.next("/tokens/1") == at(5)
    fechas.seen("2099-01-01T00:00:00.000Z")
    assert fechas.next("/tokens/1") == at(6)


@pytest.mark.parametrize(
    ("last", "is_dated"), [("", at(5)), (at(4), at(5)), (at(5), at(5)), (at(9), at(9)), (at(59_000), at(59_000))]
)
def test_a_clock_that_is_a_little_behind_stands_still_until_it_is_not(last: str, is_dated: str) -> None:
    assert dated(at(5), last) == is_dated


def test_what_a_clock_far_ahead_dated_is_not_waited_for() -> None:
    assert dated("2026-01-01T00:00:00.000Z", "2026-01-01T00:01:00.000Z") == "2026-01-01T00:01:00.000Z"
    assert dated("2026-01-01T00:00:00.000Z", "2026-01-01T00:01:00.001Z") == "2026-01-01T00:00:00.000Z"
    assert dated("2026-01-01T00:00:00.000Z", "2099-01-01T00:00:00.000Z") == "2026-01-01T00:00:00.000Z"


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abc"), st.integers(0, 50) | st.none())))
def test_for_each_they_only_grow_whatever_the_clock_and_the_others_do(
    entries: list[tuple[int, str, int | None]],
) -> None:
    clock = 0
    fechas = MonotonicClock(lambda: at(clock))
    dates: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    for now, whose, heard in entries:
        clock = now
        if heard is not None:
            fechas.last = max(fechas.last, at(heard))
        before = fechas.last
        fecha = fechas.next(whose)
        assert fecha >= before
        assert not dates[whose] or fecha > dates[whose][-1]
        # A date that was not given here may have been given to anybody.
        assert fecha > before or any(before in given_here for given_here in dates.values())
        dates[whose].append(fecha)
