"""A service's list, in order: what was bought, what was sold. Three numbers a line; the rest is on the disk."""

from __future__ import annotations

from array import array
from collections.abc import Iterator


class Book:
    """Lines numbered from 1, each with its user, its token and where its word stands in the journal."""

    def __init__(self, users: bytes = b"", tokens: bytes = b"", places: bytes = b"") -> None:
        self._users, self._tokens, self._places = array("Q", users), array("Q", tokens), array("Q", places)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, user: int, token: int, place: int) -> None:
        self._users.append(user)
        self._tokens.append(token)
        self._places.append(place)

    def extend(self, other: Book) -> None:
        self._users.extend(other._users)
        self._tokens.extend(other._tokens)
        self._places.extend(other._places)

    def since(self, line: int) -> Book:
        """A copy of the lines behind this one."""
        return Book(*(column[line:].tobytes() for column in (self._users, self._tokens, self._places)))

    def columns(self) -> tuple[bytes, bytes, bytes]:
        return self._users.tobytes(), self._tokens.tobytes(), self._places.tobytes()

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
