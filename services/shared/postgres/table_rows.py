"""Rows as tables hold them: one row, and each who waits in its line apart, so that a long line costs what changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar, get_args, get_origin

import msgspec
from msgspec.structs import fields, replace

from services.shared.decision import Fila
from services.shared.records import RowCodec

Row = TypeVar("Row", bound=msgspec.Struct)


class Place(msgspec.Struct, frozen=True):
    """Who waits, and the number of their place."""

    number: int
    data: bytes


class TableRows(Generic[Row]):
    """Of one service's classes, each of which has one line at the most."""

    def __init__(self, classes: tuple[type[Row], ...]) -> None:
        self._classes = classes
        self._codec = RowCodec(classes)
        self._lines = {cls: _line_of(cls) for cls in classes}

    def kind(self, row: Row | None) -> int:
        return 0 if row is None else self._classes.index(type(row))

    def data(self, row: Row | None) -> bytes | None:
        """All of a row but its line, of which it has the first number and the next."""
        if row is None:
            return None
        if (line := self._lines[type(row)]) is None:
            return msgspec.json.encode(row)
        name, _, none = line
        values = self._codec.change(None, replace(row, **{name: none}))
        values[name] = getattr(row, name).numbers
        return msgspec.json.encode(values)

    def row(self, kind: int, data: bytes, known: Row | None, joined: Sequence[Place]) -> Row:
        """The row, of its data and an older version of it, or none; `joined`: all behind the line of that one."""
        cls = self._classes[kind]
        if (line := self._lines[cls]) is None:
            return msgspec.json.decode(data, type=cls)
        name, item, none = line
        values: dict[str, Any] = msgspec.json.decode(data)
        first, _ = values.pop(name)
        before: Fila[Any] = none if known is None else getattr(known, name)
        new = [msgspec.json.decode(place.data, type=item) for place in joined if place.number >= first]
        gone = first - before.numbers[0]
        own = known is not None and 0 <= gone <= len(before)
        now = before.left(gone).joined(*new) if own else type(none).numbered(first, new)
        return replace(self._codec.changed(None, {**values, name: []}), **{name: now})

    def next_number(self, row: Row | None) -> int:
        """Who waits from this place on is news."""
        line = None if row is None else self._lines[type(row)]
        return 0 if line is None else getattr(row, line[0]).numbers[1]

    def moved(self, old: Row | None, new: Row) -> tuple[int | None, Sequence[Place]]:
        """The first number that is left, if any went, and who joined."""
        if (line := self._lines[type(new)]) is None:
            return None, ()
        name, _, none = line
        before, after = none if old is None else getattr(old, name), getattr(new, name)
        if before is after:
            return None, ()
        gone, joined = after.since(before)
        start = after.numbers[1] - len(joined)
        places = [Place(start + number, msgspec.json.encode(item)) for number, item in enumerate(joined)]
        return after.numbers[0] if gone else None, places


def _line_of(cls: type[msgspec.Struct]) -> tuple[str, Any, Fila[Any]] | None:
    """The name of its line, what stands in it, and one in which nobody waits."""
    lines = [field for field in fields(cls) if isinstance(get_origin(field.type), type)]
    lines = [field for field in lines if issubclass(get_origin(field.type) or object, Fila)]
    assert len(lines) <= 1, f"{cls.__name__} has more than one line"
    if not lines:
        return None
    kind = get_origin(lines[0].type)
    assert kind is not None
    return lines[0].name, get_args(lines[0].type)[0], kind()
