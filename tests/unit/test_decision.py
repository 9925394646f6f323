"""A line of those who wait is a value, whoever makes what of it, and costs the same at any length."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import CountingList, counted_line, is_counted, solicitada, steady

from services.shared.decision import Decision, Fila

# One step: of which of the lines there are, and how many join it (above 0) or leave it.
Step = tuple[int, int]
steps = st.lists(st.tuples(st.integers(0, 1_000), st.integers(-4, 4)), max_size=40)


@dataclass
class Made:
    """A line, what it is by a plain list, and from which one it was made."""

    line: Fila[int]
    model: list[int]
    parent: Made | None = None

    def ancestors(self) -> list[Made]:
        return [] if self.parent is None else [self.parent, *self.parent.ancestors()]


def grown(path: list[Step], *, branching: bool = True) -> list[Made]:
    """Every line that was made on the way. With `branching` a step may start from any older one."""
    made = [Made(Fila(), [])]
    ticket = 0
    for which, count in path:
        parent = made[which % len(made)] if branching else made[-1]
        if count > 0:
            new = list(range(ticket, ticket + count))
            ticket += count
            made.append(Made(parent.line.joined(*new), [*parent.model, *new], parent))
        else:
            made.append(Made(parent.line.left(-count), parent.model[-count:], parent))
    return made


def test_an_empty_line_has_nobody_in_it_and_nobody_first() -> None:
    line: Fila[int] = Fila()
    assert len(line) == 0
    assert not line
    assert list(line) == []
    with pytest.raises(IndexError, match="nobody waits"):
        line.first()
    with pytest.raises(IndexError, match="nobody waits"):
        line.joined(1).left().first()


def test_two_empty_lines_share_nothing() -> None:
    one: Fila[int] = Fila()
    other: Fila[int] = Fila()
    one.joined(1)
    assert list(other.joined(2)) == [2]


def test_the_first_who_joined_is_the_first_who_leaves() -> None:
    line = Fila.of("abc")
    assert line.first() == "a"
    assert line.left().first() == "b"
    assert line.left().joined("d").left().first() == "c"
    assert list(line.left(2).joined("d", "e")) == ["c", "d", "e"]


def test_one_leaves_unless_told_otherwise_and_no_more_leave_than_there_are() -> None:
    assert list(Fila.of("abc").left()) == ["b", "c"]
    assert list(Fila.of("abc").left(0)) == ["a", "b", "c"]
    assert list(Fila.of("abc").left(7)) == []
    assert list(Fila.of("abc").left(7).joined("d")) == ["d"]


def test_lines_with_the_same_in_them_are_the_same_line_and_others_are_not() -> None:
    line = Fila.of("xbc").left()
    assert line == Fila.of("bc")
    assert hash(line) == hash(Fila.of("bc"))
    assert line != Fila.of("cb")
    assert line != Fila.of("b")
    assert line != ["b", "c"]


def test_a_line_is_not_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        Fila.of("a")._end = 0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Decision(None).row = 1  # type: ignore[misc,assignment]


def test_a_decision_tells_nothing_unless_it_says_what() -> None:
    assert Decision(None).messages == ()
    assert Decision(1, (solicitada(),)) == Decision(1, (solicitada(),))


def test_two_who_join_at_the_same_point_are_in_two_lines() -> None:
    start = Fila.of("ab")
    one, other = start.joined("c"), start.joined("d")
    assert (list(start), list(one), list(other)) == (["a", "b"], ["a", "b", "c"], ["a", "b", "d"])


@steady
@given(steps)
def test_a_line_is_what_a_plain_list_would_be_and_no_later_one_changes_it(path: list[Step]) -> None:
    for each in grown(path):
        assert list(each.line) == each.model
        assert len(each.line) == len(each.model)
        assert bool(each.line) == bool(each.model)
        if each.model:
            assert each.line.first() == each.model[0]


@steady
@given(steps)
def test_what_changed_since_an_older_line_makes_the_newer_one_of_it(path: list[Step]) -> None:
    for newer in grown(path):
        for older in (newer, *newer.ancestors()):
            gone, joined = newer.line.since(older.line)
            assert list(older.line.left(gone).joined(*joined)) == newer.model


@steady
@given(steps)
def test_what_changed_tells_of_nobody_who_is_in_both_lines_or_in_neither(path: list[Step]) -> None:
    for newer in grown(path):
        for older in (newer, *newer.ancestors()):
            gone, joined = newer.line.since(older.line)
            assert joined == [item for item in newer.model if item not in older.model]
            assert min(gone, len(older.model)) == len([item for item in older.model if item not in newer.model])


@steady
@given(steps, st.integers(1, 5))
def test_a_line_that_is_kept_up_by_changes_alone_stays_the_same(path: list[Step], every: int) -> None:
    made = grown(path, branching=False)
    follower: Fila[int] = Fila()
    seen = made[0]
    for newer in made[::every]:
        gone, joined = newer.line.since(seen.line)
        follower = follower.left(gone).joined(*joined)
        seen = newer
        assert list(follower) == newer.model


@steady
@given(steps, st.permutations(range(41)))
def test_whether_somebody_is_in_a_line_is_known_of_each_whichever_is_asked_first(
    path: list[Step], turns: list[int]
) -> None:
    """Some are there more than once, as in the books of older versions."""
    made = grown(path)
    for turn in turns:
        if turn < len(made):
            each = made[turn]
            for who in range(6):
                assert each.line.has(who, _fifth) == any(_fifth(item) == who for item in each.model)


@steady
@given(steps)
def test_whether_somebody_is_in_a_line_is_known_while_it_moves(path: list[Step]) -> None:
    made = [Made(Fila(), [])]
    for which, count in path:
        parent = made[which % len(made)]
        items = [which + n for n in range(max(count, 0))]
        line = parent.line.joined(*items).left(max(-count, 0))
        made.append(Made(line, [*parent.model, *items][max(-count, 0) :], parent))
        for each in (made[-1], parent):
            for who in range(6):
                assert each.line.has(who, _fifth) == any(_fifth(item) == who for item in each.model)


def _fifth(item: int) -> int:
    return item % 5


def test_who_joined_and_left_in_between_is_in_no_change() -> None:
    older = Fila.of("ab")
    newer = older.left().joined("c", "d").left(2).joined("e")
    assert newer.since(older) == (3, ["d", "e"])
    assert list(older.left(3).joined("d", "e")) == list(newer)


def test_a_line_that_is_as_it_was_has_no_change() -> None:
    line = Fila.of("abc").left()
    assert line.since(line) == (0, [])
    assert line.joined().since(line) == (0, [])
    assert line.left(0).since(line) == (0, [])


# The cost


def test_ten_thousand_join_and_ten_thousand_leave_and_hardly_anything_is_copied() -> None:
    line, below = counted_line()
    for number in range(10_000):
        line = line.joined(number)
    assert below.tally == [0], "to join copies nothing"

    for number in range(10_000):
        assert line.first() == number
        line = line.left()

    assert is_counted(line)
    assert below.tally[0] <= 10_000 + 10_000, "each one was looked at once, and copied once at the most"
    assert not line


@pytest.mark.parametrize("length", [1, 10, 1_000, 10_000])
def test_a_turn_costs_the_same_at_any_length(length: int) -> None:
    line, below = counted_line(*range(length))
    older = line
    for number in range(length, length + 20_000):
        line = line.joined(number).left()
        line.since(older)
        older = line

    assert is_counted(line)
    assert len(line) == length
    assert list(line) == list(range(20_000, 20_000 + length))
    assert below.tally[0] <= 3 * 20_000 + 2 * length


@pytest.mark.parametrize("length", [1, 10, 1_000, 10_000])
def test_to_ask_who_is_in_a_line_costs_the_same_at_any_length(length: int) -> None:
    line, below = counted_line(*range(length))
    for number in range(length, length + 20_000):
        assert not line.has(number, int)
        assert line.has(number - 1, int)
        line = line.joined(number).left()

    assert is_counted(line)
    assert below.tally[0] <= 5 * 20_000 + 4 * length
    assert len(line._places) <= 2 * length + 2, "who has left is forgotten"


def test_who_has_left_is_forgotten() -> None:
    line: Fila[int] = Fila()
    for number in range(10_000):
        line = line.joined(number, number).left(2)
    assert len(line._items) <= 4

    line = Fila.of(range(10_000)).left(9_000)
    assert len(line._items) <= 2 * len(line)


def test_a_longer_line_is_seen_to_be_another_one_without_a_look_at_those_who_wait() -> None:
    line, below = counted_line(*range(1_000))
    longer, shorter = line.joined(1_000), line.left()
    below.tally[0] = 0

    assert line != longer
    assert line != shorter
    assert below.tally[0] <= 4


def test_the_list_that_counts_does_count() -> None:
    tally: list[int] = [0]
    items: Any = CountingList("abcd", tally)
    assert items[1:3][0] == "b"
    assert list(items) == ["a", "b", "c", "d"]
    assert tally == [2 + 1 + 4]
