"""A record's text, as docs/journal.md has it: what changed of a row, and whether a line is as it was written."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Annotated, Any, Final, Generic, TypeVar, get_args, get_origin

from msgspec import Struct, convert
from msgspec.json import encode
from msgspec.structs import fields, replace

from broker.heights import sender
from broker.messages import Message, encode_word
from services.shared.decision import Domain, Fila, Lista

Row = TypeVar("Row", bound=Struct)
# What stands before the two parts of a record that are found again by their place.
CHANGE: Final = b',"change":'
WORDS: Final = b',"words":['
# A line as it begins.
NOBODY: Final = {"left": 0, "joined": []}
# What a checksum adds to a line.
SEAL_BYTES: Final = len(b',"crc":"00000000"}\n')


def with_checksum(body: bytes) -> bytes:
    """A JSON object without its closing brace, made into a line that tells when it was changed."""
    return b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def has_checksum(raw: bytes) -> bool:
    """Whether this is a whole line, with its end, as it was written."""
    return raw[-SEAL_BYTES:] == b',"crc":"%08x"}\n' % zlib.crc32(raw[:-SEAL_BYTES])


def origin_of(domain: Domain[Any], message: Message, heard: str | None, generation: int) -> bytes:
    """Whose record the message came from, by which rules it is decided, what is known of all books now (`heard`, where
    that is to be noted), what of the message nobody else keeps, and as which generation it is written again."""
    known = sender(origin := message.heights.partition(" ")[0]) is not None
    parts = b',"from":"%s"' % origin.encode() if known else b""
    if rules := domain.rules(message):
        parts += b',"rules":%d' % rules
    if heard is not None:
        parts += b',"heard":"%s"' % heard.encode()
    if known and domain.keeps(message):
        parts += b',"message":' + encode_word(message)
    if generation:
        parts += b',"generation":%d' % generation
    return parts


class RowCodec(Generic[Row]):
    """For rows of these frozen structs. A change is a dict of the fields that have a new value.

    A line (`Fila`) changes by `{"left": how many left at its front, "joined": who joined at its end}`; a `Lista` does
    so while it only grows, and is a plain list otherwise.
    """

    def __init__(self, classes: tuple[type[Row], ...]) -> None:
        self._shapes = {cls: _Shape(cls) for cls in classes}

    def change(self, old: Row | None, new: Row) -> dict[str, Any]:
        """What makes `new` of `old`, without what is the same in both."""
        if old is None:
            shape = self._shapes[type(new)]
            values = {name: getattr(new, name) for name in shape.hints}
            for name, nothing in shape.later.items():
                if values[name] == nothing:
                    del values[name]
            return values | {name: _whole(values[name]) for name in shape.lines}
        changed: dict[str, Any] = {}
        for name in self._shapes[type(new)].hints:
            before, after = getattr(old, name), getattr(new, name)
            if after is before:
                continue
            if not isinstance(after, Fila):
                if after != before:
                    changed[name] = after
            elif (moved := after.since(before)) != (0, []):
                whole = isinstance(after, Lista) and (moved[0] or not before)
                changed[name] = list(after) if whole else _line(*moved)
        return changed

    def recorded(self, old: Row | None, new: Row | None, finished: Callable[[Row], bool]) -> dict[str, Any] | None:
        """What a record says of its row, of a book in which a `finished` row leaves memory."""
        if new is None or new is old:
            return None
        change = self.change(old, new)
        # A row that leaves stands whole in its record; and who left a line that is empty now.
        return ({**self.change(None, new), **change} if change and finished(new) else change) or None

    def text(self, row: Row) -> bytes:
        """All of a row, as JSON of which `changed` makes it again. It costs a fifth of what `change` does."""
        lines = {name: _whole(getattr(row, name)) for name in self._shapes[type(row)].lines}
        return encode(replace(row, **lines) if lines else row)

    def whole(self, change: dict[str, Any]) -> bool:
        """Whether this change makes a row by itself."""
        return any(shape.required <= change.keys() <= shape.hints.keys() for shape in self._shapes.values())

    def changed(self, old: Row | None, change: dict[str, Any]) -> Row:
        """The row that `change` makes of `old`. Raises ValueError when it makes none."""
        if old is not None:
            read = self._shapes[type(old)].read
            return replace(old, **{name: read(name, value, old) for name, value in change.items()})
        for cls, shape in self._shapes.items():
            if shape.required <= change.keys() <= shape.hints.keys():
                # In one go, as a start reads a million rows. A line is empty unless told.
                row = convert({name: value for name, value in change.items() if name not in shape.lines}, cls)
                given = {name: line for name in shape.lines if (line := change.get(name)) and line != NOBODY}
                if not given:
                    return row
                return replace(row, **{name: shape.read(name, line, None) for name, line in given.items()})
        raise ValueError(f"no row has just the fields {', '.join(change)}")


class _Shape:
    def __init__(self, cls: type[Struct]) -> None:
        self.hints = {field.name: field.type for field in fields(cls)}
        self.required = {field.name for field in fields(cls) if field.required}
        # Written only where there is something in them.
        self.later = {field.name: field.default for field in fields(cls) if get_origin(field.type) is Annotated}
        self.lines = {
            name: (get_origin(hint), get_args(hint)[0])
            for name, hint in self.hints.items()
            if get_origin(hint) in (Fila, Lista)
        }

    def read(self, name: str, value: Any, old: Any) -> Any:
        if name not in self.lines:
            return convert(value, self.hints[name])
        kind, item = self.lines[name]
        line: Fila[Any] = kind() if old is None else getattr(old, name)
        if isinstance(value, list):
            value = _line(len(line), value)
        return line.left(value["left"]).joined(*convert(value["joined"], list[item]))  # type: ignore[valid-type]


def _whole(line: Fila[Any]) -> Any:
    return list(line) if isinstance(line, Lista) else _line(0, list(line))


def _line(left: int, joined: list[Any]) -> dict[str, Any]:
    return {"left": left, "joined": joined}
