"""The dates of operator's entries: in order for each user and token, and close to the clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.compras.clock import MonotonicClock


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
