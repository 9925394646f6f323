"""What the public sees of the rows, written into one text: whatever changes, it reads as a list that was made anew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.journal.public_list import PublicList

Change: TypeAlias = tuple[int, str, int]
CHANGES = st.lists(
    st.tuples(st.integers(1, 6) | st.just(2**53 - 1), st.text(max_size=12), st.sampled_from([0, 7, 2**63])), max_size=30
)


def line(number: int, text: str) -> bytes:
    return json.dumps({"id": number, "nombre": text}, ensure_ascii=False).encode()


def changed(shelf: PublicList, changes: Sequence[Change]) -> PublicList:
    for number, text, place in changes:
        shelf.put(number, line(number, text), place)
    return shelf


def shown(shelf: PublicList) -> list[tuple[int, str]]:
    return [(row["id"], row["nombre"]) for row in json.loads(shelf.body())]


@given(CHANGES)
def test_it_shows_the_last_line_of_each_row_where_its_first_one_stood(changes: list[Change]) -> None:
    shelf = changed(PublicList(), changes)
    last = {number: text for number, text, _ in changes}
    assert shown(shelf) == [*last.items()]
    assert len(shelf) == len(last)
    for after, count in product((0, 3, 500), (1, 3, 100)):
        assert [(n, json.loads(line)["nombre"]) for n, line in shelf.behind(after, count)] == [
            (n, last[n]) for n in sorted(last) if n > after
        ][:count]
    assert {number: shelf.place(str(number)) for number in last} == {number: place for number, _, place in changes}
    assert (shelf.place("5000"), shelf.place("compra"), shelf.place("")) == (0, 0, 0)


def test_a_balance_of_more_digits_moves_nobody_elses_line_and_one_of_many_more_does_once() -> None:
    shelf = changed(PublicList(), [(number, "9", 0) for number in range(1, 4)])
    whole = len(shelf.body())
    for text in ("10", "123", "9999"):
        changed(shelf, [(2, text, 0)])
        assert len(shelf.body()) == whole
        assert shown(shelf) == [(1, "9"), (2, text), (3, "9")]
    changed(shelf, [(2, "12345", 0)])
    moved = len(shelf.body())
    assert moved > whole
    changed(shelf, [(2, "1234567", 0), (3, "99", 0)])
    assert len(shelf.body()) == moved and shown(shelf) == [(1, "9"), (2, "1234567"), (3, "99")]


@given(st.lists(CHANGES, max_size=5), CHANGES)
def test_it_is_the_same_after_it_was_written_down_bit_by_bit(parts: list[list[Change]], later: list[Change]) -> None:
    shelf, read = PublicList(), PublicList()
    for part in parts:
        changed(shelf, part)
        columns = shelf.changes()
        assert len(columns[0]) == 8 * len({number for number, _, _ in part})
        shelf.saved()
        read.extend(*columns)
    for one in (shelf, read):
        changed(one, later)
    assert shown(read) == shown(shelf)
    assert [read.place(str(number)) for number, _ in shown(read)] == [shelf.place(str(n)) for n, _ in shown(shelf)]


def test_columns_that_do_not_fit_together_are_refused() -> None:
    numbers, places, lines = changed(PublicList(), [(1, "a", 0), (2, "b", 0)]).changes()
    with pytest.raises(ValueError, match="zip"):
        PublicList().extend(numbers, places[:8], lines)
    with pytest.raises(ValueError, match="zip"):
        PublicList().extend(numbers, places, b"")
