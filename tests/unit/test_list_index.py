"""A service's list, whose ids are kept in 4 bytes each until one needs more."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from broker.messages import MAX_ID
from services.shared.journal.list_index import NARROW_LIMIT, ListIndex
from services.shared.journal.position import Position

IDS = st.sampled_from([1, 2, NARROW_LIMIT - 1, NARROW_LIMIT, MAX_ID])
LINES = st.lists(st.tuples(IDS, IDS), max_size=8)


def book_of(lines: Sequence[tuple[int, int]], first: int = 0) -> ListIndex:
    book = ListIndex()
    for place, (user, token) in enumerate(lines, first):
        book.add((user, token), Position(place))
    return book


@given(LINES, LINES)
def test_a_list_finds_its_lines_whatever_ids_came_before_and_came_later(
    lines: list[tuple[int, int]], later: list[tuple[int, int]]
) -> None:
    book = book_of(lines)
    book.extend(book_of(later, first=len(lines)))
    everything = lines + later
    assert [book.place(line) for line in book.lines()] == [*range(len(everything))]
    for wanted in {number for line in everything for number in line}:
        numbered = [*enumerate(everything, 1)]
        assert [*book.lines(where=(wanted,))] == [line for line, (user, _) in numbered if user == wanted]
        assert [*book.lines(where=(None, wanted))] == [line for line, (_, token) in numbered if token == wanted]
        for user, token in {*everything}:
            assert [*book.lines(where=(user, token))] == [line for line, both in numbered if both == (user, token)]


@given(LINES, st.integers(0, 8))
def test_a_list_is_the_same_after_it_was_written_down(lines: list[tuple[int, int]], start: int) -> None:
    book = book_of(lines)
    *columns, places = book.parts()
    assert ListIndex(columns, places).parts() == book.parts()
    assert book.since(start).parts() == book_of(lines[start:], first=min(start, len(lines))).parts()
