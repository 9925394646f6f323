"""A service's list, in order: what was bought, what was sold. Three numbers a line; the rest is on the disk."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Final

from services.shared.journal.position import Position

# Ids may be larger; where none is, 4 bytes hold each.
NARROW_LIMIT: Final = 2**32
# A snapshot has so many columns beside the places, also of a service that has no list.
COLUMNS: Final = 2


class ListIndex:
    """Lines numbered from 1, each with its values (one to a column) and where its message stands in the journal."""

    def __init__(self, columns: Sequence[bytes] = (b"",) * COLUMNS, places: bytes = b"") -> None:
        self._columns = [_column(array("Q", column)) for column in columns]
        self._places = array("Q", places)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, values: Sequence[int], at: Position) -> None:
        for number, value in enumerate(values):
            self._columns[number] = _appended(self._columns[number], value)
        self._places.append(at)

    def extend(self, other: ListIndex) -> None:
        self._columns = [_joined(mine, more) for mine, more in zip(self._columns, other._columns, strict=True)]
        self._places.extend(other._places)

    def since(self, line: int) -> ListIndex:
        """A copy of the lines behind this one."""
        return ListIndex(
            [array("Q", column[line:]).tobytes() for column in self._columns], self._places[line:].tobytes()
        )

    def parts(self) -> tuple[bytes, ...]:
        """The columns and the places, 8 bytes a value."""
        return *(array("Q", column).tobytes() for column in self._columns), self._places.tobytes()

    def place(self, line: int) -> Position:
        """Where the message of this line stands. Raises IndexError when there is no such line."""
        if not 1 <= line <= len(self):
            raise IndexError(line)
        return Position(self._places[line - 1])

    def lines(self, *, after: int = 0, upto: int | None = None, where: Sequence[int | None] = ()) -> Iterator[int]:
        """The numbers above `after`, `upto` this one, of the lines that have these values (None: any), in order."""
        end = len(self) if upto is None else min(upto, len(self))
        wanted = [(column, value) for column, value in zip(self._columns, where, strict=False) if value is not None]
        line = after
        while line < end:
            if wanted:
                column, value = wanted[0]
                try:
                    line = column.index(value, line, end)
                except ValueError:
                    return
            if all(column[line] == value for column, value in wanted[1:]):
                yield line + 1
            line += 1


def _column(ids: Sequence[int]) -> array[int]:
    return array("I" if max(ids, default=0) < NARROW_LIMIT else "Q", ids)


def _appended(column: array[int], number: int) -> array[int]:
    """The column, or a wider copy if it needs to be wider, with one more behind it."""
    if number >= NARROW_LIMIT:
        return _joined(column, array("Q", (number,)))
    column.append(number)
    return column


def _joined(column: array[int], more: array[int]) -> array[int]:
    """The column, or a wider copy if it needs to be wider, with more behind it."""
    if column.typecode < more.typecode:
        column = array("Q", column)
    elif more.typecode < column.typecode:
        more = array("Q", more)
    column.extend(more)
    return column
