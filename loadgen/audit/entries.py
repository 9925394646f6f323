"""Which of two entries about one user or token is in force: that with the higher `orden`, which compras gives it."""

from __future__ import annotations

from typing import Any, Final

from loadgen.audit.books import Record
from loadgen.audit.clocks import Dates, entered
from loadgen.audit.findings import Message

# What a generation's numbers begin at, times those before it.
RECORDS: Final = 1 << 40
WHOSE: Final = {"usuario.registrado": "usuarioId", "token.publicado": "tokenId"}


class Entries:
    """`wrong` for what came to compras by HTTP, in its order."""

    def __init__(self, generation: int | None) -> None:
        """Of the book; None: that is not known."""
        self._generation = generation
        # Those of one hour: whose, and what decides which of them is in force.
        self._hour = ""
        self._known: set[tuple[str, Any, tuple[int, str]]] = set()

    def wrong(self, record: Record, entry: Message, dates: Dates) -> tuple[str, Any] | None:
        """Why this cannot be its number, and what the rules say. A version before these gave none."""
        kind, orden = entry["type"], entry.get("orden")
        if kind not in WHOSE or not isinstance(orden, int) or record.generation:
            return None
        generation, last = divmod(orden, RECORDS)
        if last >= record.seq:
            why = "it counts records that were not there when it was entered"
            return why, record.seq - 1
        if self._generation is not None and generation >= self._generation:
            why = "it counts records of a generation that there is not"
            return why, self._generation - 1
        if last < (surely := dates.before(entry["fecha"])):
            why = "it does not count records that were there long before it was entered"
            return why, surely
        if self._hour != entry["fecha"][:13]:
            self._hour, self._known = entry["fecha"][:13], set()
        which = kind, entry[WHOSE[kind]], entered(entry)
        if which in self._known:
            why = "two entries about the same have one number and one date"
            return why, orden
        self._known.add(which)
        return None
