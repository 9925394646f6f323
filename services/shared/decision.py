"""What a domain answers, and the one kind of row that needs care: a line of those who wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Generic, Self, TypeVar

from msgspec import Meta, Struct
from pydantic.alias_generators import to_camel

from broker.messages import Message
from broker.services import Service

Row = TypeVar("Row", bound=Struct)
Item = TypeVar("Item")


class Decision(Struct, Generic[Row], frozen=True):
    """The row as it is now (None: there still is none), and the facts to tell."""

    row: Row | None
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Listing:
    """A list whose lines are messages of the service's own: it can be asked for by these fields, which are numbers."""

    message: type[Message]
    fields: tuple[str, ...]
    # A line as it stands in the readable file beside the books, of the message as JSON; None: there is no such file.
    public: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None

    @cached_property
    def json_fields(self) -> tuple[str, ...]:
        """The fields as they are called on the wire."""
        return tuple(map(to_camel, self.fields))


def never(row: object) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Domain(Generic[Row]):
    """What the loop and the store need to know of a service's business. Each `domain.py` ends with one."""

    name: Service
    # The classes that its rows are of.
    rows: tuple[type[Row], ...]
    decide: Callable[[Row | None, Message], Decision[Row]]
    # Which row a message is about.
    key: Callable[[Message], str]
    # A row that will hardly change again, and in whose lines nobody waits, leaves memory; it is read from the journal
    # when it is asked for.
    finished: Callable[[Row], bool] = never
    # The service's list, in the order in which it was said: of purchases, of sales.
    listing: Listing | None = None
    # Whether the record of this message keeps it whole: what only compras' book would know else.
    keeps: Callable[[Message], bool] = lambda message: False
    # What the public sees of a row, whose key is its number then; None: nothing.
    shown: Callable[[Row], Mapping[str, Any] | None] = lambda row: None
    # By which rules such a message is decided, where older versions had others (0): its record says it, for the audit.
    rules: Callable[[Message], int] = lambda message: 0

    @property
    def followed(self) -> bool:
        """Whether rows are listed and on their way to an end, as the front door's: then its processes know at any time
        what is unfinished, and hear of each record, whoever made it."""
        return self.listing is not None and self.finished is not never


@dataclass(frozen=True, slots=True, eq=False)
class Fila(Generic[Item]):
    """A first-in, first-out line that is a value: `joined` and `left` give a new one, and cost the same at any length.

    It is a window on a list that only ever grows at its end; a line that is joined twice from the same point copies,
    so that no older value ever changes. Places are numbered from the line's beginning and never again, so that
    `since` can tell what changed without looking at those who wait.
    """

    _items: list[Item] = field(default_factory=list)
    _start: int = 0
    _end: int = 0
    # The number of the place of `_items[0]`.
    _base: int = 0
    # The last place in `_items` of each who was looked for in them, in the order of the places. It is shared with them.
    _places: dict[Any, int] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Iterable[Item]) -> Self:
        """A line with these in it, in this order."""
        return cls().joined(*items)

    @classmethod
    def numbered(cls, first: int, items: Iterable[Item]) -> Self:
        """The same, and the first of them has this number."""
        return cls(line := list(items), 0, len(line), first)

    @property
    def numbers(self) -> tuple[int, int]:
        """The number of the first place, and of the next one that will be taken."""
        return self._base + self._start, self._base + self._end

    def __len__(self) -> int:
        return self._end - self._start

    def __iter__(self) -> Iterator[Item]:
        return (self._items[position] for position in range(self._start, self._end))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fila) and len(self) == len(other) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def first(self) -> Item:
        """Whose turn it is. Raises IndexError when nobody waits."""
        if not self:
            raise IndexError("nobody waits in this line")
        return self._items[self._start]

    def has(self, who: Any, by: Callable[[Item], Any]) -> bool:
        """Whether `by`, always the same function, gives this for somebody in it. It costs the same at any length."""
        places = self._places
        for place in range(next(reversed(places.values()), -1) + 1, len(self._items)):
            name = by(self._items[place])
            places.pop(name, None)
            places[name] = place
        place = places.get(who, -1)
        if place >= self._end:
            # This is an older line, and others joined since.
            return any(by(item) == who for item in self)
        return place >= self._start

    def joined(self, *items: Item) -> Self:
        """The line with these at its end."""
        own = self._end == len(self._items)
        line, places = (self._items, self._places) if own else (self._items[: self._end], {})
        line.extend(items)
        return type(self)(line, self._start, len(line), self._base, places)

    def left(self, count: int = 1) -> Self:
        """The line without its first `count`."""
        start = min(self._start + count, self._end)
        if start <= len(self._items) // 2:
            return type(self)(self._items, start, self._end, self._base, self._places)
        return type(self)(self._items[start : self._end], 0, self._end - start, self._base + start)

    def since(self, older: Fila[Item]) -> tuple[int, list[Item]]:
        """How many left at the front and who joined at the end since `older`, of which this line was made."""
        gone = self.numbers[0] - older.numbers[0]
        first_new = older.numbers[1] - self._base
        return gone, self._items[max(first_new, self._start) : self._end]


# A field that a later version brought: a row that has nothing in it is written as it was before.
Since = Annotated[int, Meta(extra={"since": 2})]


class Lista(Fila[Item]):
    """Those who wait for one and the same thing, and all go when it comes: in a journal a plain list, until more
    join it."""

    __slots__ = ()
