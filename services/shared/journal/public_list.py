"""What the public sees of a service's rows: one JSON array, kept encoded, that every change is written into.

So neither a reader nor a snapshot encodes all rows again, and a row that has left memory is still on the list. It costs
a row's own JSON, with room for a balance of more digits, and three numbers.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from services.shared.journal.position import NOWHERE, Position

# A line that grows by more moves all behind it: 0.1 s where there are a million.
ROOM: Final = b"   "
BETWEEN: Final = b",\n "
END: Final = b"]\n"


class PublicList:
    """A line of JSON for each row, in the order in which they came, found by the number of the row."""

    def __init__(self) -> None:
        self._text = bytearray(b"[" + END)
        # By number: where each line begins in the text, and the place of a row that has left memory (or 0).
        self._numbers, self._starts, self._places = array("Q"), array("Q"), array("Q")
        # Whose line is not in a snapshot yet.
        self._fresh: dict[int, None] = {}
        self._fresh_before: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def put(self, number: int, line: bytes, place: Position = NOWHERE) -> None:
        """Show this line for a row, instead of the one that it had. `place`: where the whole row stands, if it left."""
        at = bisect_left(self._numbers, number)
        if at < len(self) and self._numbers[at] == number:
            self._replace(at, line)
            self._places[at] = place
        else:
            del self._text[-len(END) :]
            if self._numbers:
                self._text += BETWEEN
            self._numbers.insert(at, number)
            self._starts.insert(at, len(self._text))
            self._places.insert(at, place)
            self._text += line + ROOM + END
        self._fresh[number] = None

    def place(self, key: str) -> Position:
        """Where the row of this key stands in the journal; NOWHERE if it is in memory, or unknown."""
        if not self._numbers or not key.isdecimal():
            return NOWHERE
        at = bisect_left(self._numbers, number := int(key))
        return Position(self._places[at]) if at < len(self) and self._numbers[at] == number else NOWHERE

    def body(self) -> bytes:
        """All lines, as a JSON array."""
        return bytes(self._text)

    def behind(self, after: int, count: int) -> list[tuple[int, bytes]]:
        """So many numbers above `after`, in order, each with its line."""
        at = bisect_right(self._numbers, after)
        return [(self._numbers[one], self._line(one)) for one in range(at, min(at + count, len(self)))]

    def changes(self) -> tuple[bytes, bytes, bytes]:
        """What `extend` needs to know of all since `saved`: numbers and places, 8 bytes each, and lines."""
        fresh = self._fresh_before | self._fresh
        found = [bisect_left(self._numbers, number) for number in fresh]
        places = array("Q", (self._places[at] for at in found))
        return array("Q", fresh).tobytes(), places.tobytes(), b"\n".join(map(self._line, found))

    def saved(self) -> None:
        """What `changes` told is in a snapshot now."""
        self._fresh, self._fresh_before = {}, {}

    def segment_ends(self, *, saved: bool) -> None:
        """`saved`: all that was told before the segment that ends is in a snapshot."""
        self._fresh, self._fresh_before = {}, self._fresh if saved else self._fresh_before | self._fresh

    def extend(self, numbers: bytes, places: bytes, lines: bytes) -> None:
        """Take in what `changes` told, which is in a snapshot. Raises ValueError when it does not fit together."""
        for number, place, line in zip(array("Q", numbers), array("Q", places), _split(lines), strict=True):
            self.put(number, line, Position(place))
        self.saved()

    def _line(self, at: int) -> bytes:
        return bytes(self._text[self._starts[at] : self._end(at)]).rstrip()

    def _end(self, at: int) -> int:
        # Encoded JSON holds no end of line: the next one is behind this line's comma, or the array's bracket.
        return self._text.index(b"\n", self._starts[at]) - 1

    def _replace(self, at: int, line: bytes) -> None:
        """In the room of the old line; one that is longer moves all behind it, which few changes need."""
        start, end = self._starts[at], self._end(at)
        if len(line) > end - start:
            line += ROOM
        self._text[start:end] = line.ljust(end - start)
        if (longer := len(line) - (end - start)) > 0:
            for other, where in enumerate(self._starts):
                if where > start:
                    self._starts[other] = where + longer


def _split(lines: bytes) -> Iterator[bytes]:
    return iter(lines.split(b"\n") if lines else ())
