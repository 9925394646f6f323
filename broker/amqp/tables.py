"""A header table as the bytes it came in, cut into its entries without looking into their values.

Strangers put into it whatever the broker takes: doubles that are no float, tables in tables 500 deep, names that are no
UTF-8, years that no calendar has. Read and written again by pamqp, each of these raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from pamqp import decode

# The bytes of a value behind the letter of its type, as RabbitMQ has them; the others begin with their length.
_FIXED: Final = {
    ord(letter): size
    for letters, size in (("V", 0), ("tbB", 1), ("sUu", 2), ("Iif", 4), ("D", 5), ("lLdT", 8))
    for letter in letters
}
_SIZED: Final = frozenset(b"SAFx")


class Entry(NamedTuple):
    """One header: its name, and all its bytes, the name among them."""

    name: bytes
    raw: bytes


def entries(table: bytes) -> Iterator[Entry]:
    """The entries of a table without its length. From where it cannot be cut it is one entry without a name."""
    at = 0
    while at < len(table):
        end = _end(table, at)
        if end is None:
            yield Entry(b"", table[at:])
            return
        yield Entry(table[at + 1 : at + 1 + table[at]], table[at:end])
        at = end


def _end(table: bytes, at: int) -> int | None:
    """Where the entry that begins here ends; None when it does not."""
    kind_at = at + 1 + table[at]
    if kind_at >= len(table):
        return None
    kind = table[kind_at]
    if kind in _SIZED:
        end = kind_at + 5 + int.from_bytes(table[kind_at + 1 : kind_at + 5], "big")
    elif kind in _FIXED:
        end = kind_at + 1 + _FIXED[kind]
    else:
        return None
    return end if end <= len(table) else None


def readable(table: bytes) -> dict[str, str | int]:
    """For an operator: whatever is in it, it can be shown."""
    return {entry.name.decode(errors="replace"): _readable(entry) for entry in entries(table)}


def _readable(entry: Entry) -> str | int:
    value = entry.raw[1 + len(entry.name) :]
    try:
        _, found = decode.embedded_value(value)
        return found if isinstance(found, str | int) else str(found)
    except Exception:  # pamqp raises what it likes, and a stranger chose what it reads
        return f"{len(value)} bytes that cannot be shown"
