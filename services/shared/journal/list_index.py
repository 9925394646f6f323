"""A service's list, in order: what was bought, what was sold. Three numbers a line; the rest is on the disk."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Final

# Ids may be larger; where none is, 4 bytes hold each.
NARROW_LIMIT: Final = 2**32


class Book:
    """Lines numbered from 1, each with its user, its token and where its word stands in the journal."""

    def __init__(self, users: bytes = b"", tokens: bytes = b"", places: bytes = b"") -> None:
        self._users, self._tokens = _column(array("Q", users)), _column(array("Q", tokens))
        self._places = array("Q", places)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, user: int, token: int, place: int) -> None:
        self._users, self._tokens = _appended(self._users, user), _appended(self._tokens, token)
        self._places.append(place)

    def extend(self, other: Book) -> None:
        self._users = _joined(self._users, other._users)
        self._tokens = _joined(self._tokens, other._tokens)
        self._places.extend(other._places)

    def since(self, line: int) -> Book:
        """A copy of the lines behind this one."""
        return Book(*(array("Q", column[line:]).tobytes() for column in (self._users, self._tokens, self._places)))

    def columns(self) -> tuple[bytes, bytes, bytes]:
        """Users, tokens and places, 8 bytes each."""
        return array("Q", self._users).tobytes(), array("Q", self._tokens).tobytes(), self._places.tobytes()

    def place(self, line: int) -> int:
        """Where the word of this line stands. Raises IndexError when there is no such line."""
        if not 1 <= line <= len(self):
            raise IndexError(line)
        return self._places[line - 1]

    def lines(self, *, after: int = 0, user: int | None = None, token: int | None = None) -> Iterator[int]:
        """The numbers above `after` of the lines of this user and this token (None: of any), in order."""
        column, wanted = (self._users, user) if user is not None else (self._tokens, token)
        line = after
        while line < len(self):
            if wanted is not None:
                try:
                    line = column.index(wanted, line)
                except ValueError:
                    return
            if token is None or self._tokens[line] == token:
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
