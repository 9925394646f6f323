"""A client's journal on its way through the check: what was asked and not answered yet, and what was known by then."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from loadgen.audit.books import Record
from loadgen.audit.keys import TOO_LATE, Body, Place
from loadgen.audit.operators import Entry
from loadgen.audit.text import NotAShop
from loadgen.audit.told import BITS

SOLD: Final = BITS["confirmada"] | BITS["registrada"]


@dataclass(slots=True)
class Request:
    """A request that has no answer yet: where it stands, what was asked, and what was known of its purchase then."""

    place: Place
    about: str
    body: Body
    known: int


@dataclass(slots=True)
class Reading:
    """One journal on its way through the check."""

    file: Path
    asked: dict[int, Request] = field(default_factory=dict)
    bad: dict[int, int] = field(default_factory=dict)
    # The states of a purchase that this client knows of (BITS).
    known: dict[str, int] = field(default_factory=dict)
    # Purchases whose end was seen before anything was told of them, and tokens that are known to be sold.
    seen: dict[str, int] = field(default_factory=dict)
    sold: set[int] = field(default_factory=set)
    # Entries that have no answer yet, and those of which this client was told that they are in force.
    entered: dict[int, Entry] = field(default_factory=dict)
    applied: set[str] = field(default_factory=set)
    requests: int = 0
    entries: int = 0
    closed: bool = False

    def check_shop(self, shop: dict[str, Any], first: Record | None, book: str) -> None:
        """Raises NotAShop: it is not of the shop with this book of compras, or with this record 1 in it."""
        if book and shop.get("book") == book:
            return
        if first is not None and (shop["seq"], shop["time"], shop["crc"]) != (first.seq, first.time, first.crc):
            says = "{file} is of another shop: its first record is of {first}, and here of {here}"
            raise NotAShop(says, self.file, shop["time"], first.time)

    def over(self) -> Reading:
        """Of a journal that was read only what it was is needed."""
        return Reading(self.file, requests=self.requests, entries=self.entries, closed=self.closed)

    def place(self, line: int) -> Place:
        return Place(self.file, line)

    def learns(self, about: str, known: int, token: Any, motivo: str | None) -> None:
        self.known[about] = self.known.get(about, 0) | known
        if isinstance(token, int) and (known & SOLD or motivo == TOO_LATE):
            self.sold.add(token)

    def foresees(self, about: str, line: int) -> None:
        """It is seen, and nothing was told of it yet: who asks for it from now on was not the first."""
        if about not in self.known:
            self.seen.setdefault(about, line)
